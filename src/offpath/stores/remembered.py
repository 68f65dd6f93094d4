"""The verbs of requests with an Idempotency-Key: reserve the key, remember the answer, or let go of it.

They run in the transaction of the work that the answer is about (the reservation is then seen by others together with
the answer, or not at all), or each in one of its own, with a lease.
"""

from __future__ import annotations

from typing import Any

from ..ports import Now, Remembered, Reservation, Reserved, Statement, Verb
from . import rows
from .shared import SharedVerbs

NOW = Now()


class RememberedVerbs(SharedVerbs):
    """A part of `verbs.SqlVerbs`."""

    def reserve(self, key: Reservation) -> Verb[Reserved]:
        alone = self.sql.get("idempotency.alone")
        if alone is not None and not (yield Statement(alone, {"scope": key.scope, "key": key.key}, rows.value)):
            return Reserved(0, None)
        params = yield from self._now("idempotency.reserve", key._asdict())
        fence: int | None = yield Statement(self.sql["idempotency.reserve"], params, rows.value)
        if fence is not None:
            return Reserved(fence, None)
        where = {"scope": key.scope, "key": key.key}
        found: list[Any] = yield Statement(self.sql["idempotency.found"], where, rows.plain)
        return Reserved(0, Remembered(*found[0]) if found else None)

    def remember(
        self, key: Reservation, fence: int, status: int, headers: str, body: str, operation: str | None
    ) -> Verb[bool]:
        params = {**_guard(key, fence), "status": status, "headers": headers, "body": body, "operation": operation}
        written: int = yield Statement(self.sql["idempotency.remember"], params, rows.value)
        return written > 0

    def renew_reservation(self, key: Reservation, fence: int) -> Verb[bool]:
        params = yield from self._now("idempotency.renew", {**_guard(key, fence), "lease": key.lease})
        written: int = yield Statement(self.sql["idempotency.renew"], params, rows.value)
        return written > 0

    def release(self, key: Reservation, fence: int) -> Verb[None]:
        yield Statement(self.sql["idempotency.release"], _guard(key, fence), rows.nothing)

    def forget_answers(self, now: int, limit: int) -> Verb[int]:
        """Part of `prune`."""
        gone: int = yield Statement(self.sql["idempotency.forget"], {"now": now, "limit": limit}, rows.value)
        return gone

    def _now(self, name: str, params: dict[str, Any]) -> Verb[dict[str, Any]]:
        """A server's text asks its own clock."""
        return {**params, "now": (yield NOW)} if ":now" in self.sql[name] else params


def _guard(key: Reservation, fence: int) -> dict[str, Any]:
    return {"scope": key.scope, "key": key.key, "holder": key.holder, "fence": fence}
