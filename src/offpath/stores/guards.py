"""Verbs of the HTTP face's guard: tickets, and how full things are."""

from __future__ import annotations

from typing import Any

from ..core.options import SECOND
from ..ports import Now, Pressure, Statement, Ticket, Verb
from . import rows
from .shared import SharedVerbs


class GuardVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def issue_ticket(self, ticket: Ticket, seconds: float) -> Verb[int]:
        now: int = yield Now()
        expires_at = now + round(seconds * SECOND)
        params = {**ticket._asdict(), "expires_at": expires_at}
        yield Statement(self.sql["ticket.issue"], params, rows.nothing)
        return expires_at

    def take_ticket(self, hash: str, operation: str) -> Verb[Ticket | None]:
        now: int = yield Now()
        params = {"hash": hash, "operation": operation}
        found: list[tuple[Any, ...]] = yield Statement(self.sql["ticket.take"], params, rows.plain)
        if not found:
            return None
        ((tenant, owner, expires_at),) = found
        return Ticket(hash, operation, tenant, owner) if expires_at > now else None

    def forget_tickets(self, now: int, limit: int) -> Verb[int]:
        """Those whose time is up: how many."""
        params = {"now": now, "limit": limit}
        forgotten: int = yield Statement(self.sql["ticket.forget"], params, rows.value)
        return forgotten

    def pressure(self, queue: str, limit: int, tenants: int) -> Verb[Pressure]:
        now: int = yield Now()
        here = {"queue": queue, "limit": limit}
        depth: int = yield Statement(self.sql["pressure.depth"], here, rows.value)
        oldest: int | None = yield Statement(self.sql["pressure.oldest"], {"queue": queue}, rows.value)
        by: list[tuple[str, int]] = []
        if tenants:
            by = yield Statement(self.sql["pressure.tenants"], {"queue": queue, "limit": tenants}, rows.plain)
        return Pressure(depth, 0.0 if oldest is None else max(0.0, (now - oldest) / SECOND), dict(by))

    def live_operations(self, tenant: str, owner: str, limit: int) -> Verb[int]:
        params = {"tenant": tenant, "owner": owner, "limit": limit}
        live: int = yield Statement(self.sql["pressure.live"], params, rows.value)
        return live
