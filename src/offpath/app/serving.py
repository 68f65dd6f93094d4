"""Which queues a worker serves, as people write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.checks import shown
from ..core.options import Queue
from ..errors import ConfigurationError
from ..tasks import Registry

Queues = str | Sequence[str] | Mapping[str, int]
"""`"critical:6,low"`, `["critical:6", "low"]` or `{"critical": 6, "low": 1}`: a name and, if need be, its weight."""


def weights(queues: Queues, registry: Registry) -> dict[str, int]:
    """Name → weight; a weight that is not said is the declared queue's, or 1. ConfigurationError when it is no list."""
    given: dict[str, int | None] = {}
    if isinstance(queues, Mapping):
        given.update(queues)
    else:
        for part in queues.split(",") if isinstance(queues, str) else queues:
            name, colon, share = part.strip().partition(":")
            if colon and not share.isdecimal():
                raise ConfigurationError(
                    f"queues look like critical:6,low (names, weights if need be), not {shown(part)}"
                )
            if name:
                given[name] = int(share) if colon else None
    if not given:
        raise ConfigurationError("a worker needs at least one queue to serve")
    served: dict[str, int] = {}
    for name, weight in given.items():
        declared = registry.queues.get(name)
        served[name] = Queue(name, weight=weight if weight is not None else declared.weight if declared else 1).weight
    return served
