"""All the rows of the admin API. A part is a module with `ROWS`; their order is that of the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http.routes import Route
from . import doing, endpoints, following, health, jobs, log, overview, queues, schedules, workers
from .table import Row, bound

if TYPE_CHECKING:
    from .facade import Admin

PARTS: tuple[tuple[Row, ...], ...] = (
    *(overview.ROWS, jobs.ROWS, following.ROWS, doing.ROWS, queues.ROWS, schedules.ROWS, workers.ROWS),
    *(endpoints.ROWS, health.ROWS, log.ROWS),
)


def routes(admin: Admin) -> tuple[Route, ...]:
    """One row each, bound to what the application has said."""
    return tuple(bound(admin, row) for part in PARTS for row in part)
