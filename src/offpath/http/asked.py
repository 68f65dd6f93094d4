"""What a request that starts work says of how: its `Prefer` and its Idempotency-Key, read once for every framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from .accept import Start
from .asgi import Scope
from .hold import PREFER, Preferred, wanted
from .idempotency import FIELD
from .keys import lines_of, ticket_for
from .prefer import wish
from .service import Service
from .unit import Unit

ASKS = frozenset({PREFER, FIELD})


class Asked(NamedTuple):
    """How to accept, how to answer, and the `once` route around it, if there is one."""

    start: Start
    preferred: Preferred | None
    unit: Unit | None


async def as_asked(
    service: Service,
    plain: Asked,
    scope: Scope,
    read: Callable[[], Awaitable[bytes]],
    refuse_unknown: Callable[[], Awaitable[bool]],
) -> Asked:
    """Of a request that `speaks` one of `ASKS`. `read` gives the whole body; `refuse_unknown` refuses members of it
    that nobody knows, or says that it cannot tell. Refused (400) for an Idempotency-Key that is none."""
    start, made = plain.start, plain
    if (asked := wish(wanted(scope), service.wait)) is not None:
        asked = asked._replace(strict=asked.strict and await refuse_unknown())
        made = made._replace(preferred=Preferred(service, asked, start.caller, start.base))
    if made.unit is None and (lines := lines_of(scope)):  # a `once` route sees to its key itself
        ticket = await ticket_for(service.keys, service.problems, start.caller, scope, lines, read)
        made = made._replace(start=start._replace(ticket=ticket))
    return made
