"""The pages of a web process about itself, which every framework's `Operations` has."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .face import Face

if TYPE_CHECKING:
    from ..metrics import Health, Metrics


class Pages:
    """ASGI applications, to be mounted anywhere; nothing of them is loaded before that."""

    _face: Face

    @cached_property
    def metrics(self) -> Metrics:
        """The page for Prometheus: `app.mount("/metrics", operations.metrics)`, or for exactly that path
        `app.add_route("/metrics", operations.metrics)`. For this machine only, or for whoever has the token in
        OFFPATH_METRICS_TOKEN; `offpath.metrics.Metrics(jobs, …)` has other ways. The process counts what it does from
        when this is first asked for. MissingExtraError without prometheus-client."""
        from ..metrics import Metrics

        return Metrics(self._face.service.jobs)

    @cached_property
    def health(self) -> Health:
        """`app.mount("/health", operations.health)`: /health/livez and /health/readyz, for everyone."""
        from ..metrics import Health

        return Health(self._face.service.jobs)
