"""The verbs of webhooks: endpoints, deliveries, attempts. A part of `SqlVerbs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import deliveries, lifecycle
from ..core.change import Change
from ..core.ids import is_id
from ..core.job import Job, State
from ..core.options import DAY
from ..errors import Conflict
from ..ports import Hint, NewJob, Now, Statement, Verb
from ..ports import webhooks as ports
from ..ports.webhooks import AttemptRow, DeliveryRow, DeliveryState, EndpointRow, NewAttempt, NewDelivery, Work
from . import rows
from .shared import SharedVerbs

NOW = Now()
KEEP = 30 * DAY  # deliveries and their attempts, where operations are kept for ever


class WebhookVerbs(SharedVerbs):
    """See `ports.webhooks.WebhookVerbs`."""

    # ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────

    def add_endpoint(self, row: EndpointRow, most: int) -> Verb[bool]:
        whose = {"tenant": row.tenant, "owner": row.owner}
        yield Statement(self.sql["endpoint.alone"], whose, rows.nothing)
        if (yield Statement(self.sql["endpoint.count"], whose, rows.value)) >= most:
            return False
        yield Statement(self.sql["endpoint.insert"], _columns(row), rows.nothing)
        return True

    def endpoint(self, id: str, tenant: str, owner: str) -> Verb[EndpointRow | None]:
        found: list[EndpointRow] = yield from self._endpoints("get", id, tenant, owner)
        return found[0] if found else None

    def endpoints(self, tenant: str, owner: str, after: str | None, limit: int) -> Verb[list[EndpointRow]]:
        params = {"tenant": tenant, "owner": owner, "after": after, "limit": limit}
        page: list[EndpointRow] = yield Statement(self.sql["endpoint.list"], params, _endpoints)
        return page

    def any_endpoint(self, id: str) -> Verb[EndpointRow | None]:
        if not is_id(id):
            return None
        found: list[EndpointRow] = yield Statement(self.sql["endpoint.seen"], {"id": id}, _endpoints)
        return found[0] if found else None

    def all_endpoints(
        self, tenant: str | None, enabled: bool | None, after: str | None, limit: int
    ) -> Verb[list[EndpointRow]]:
        which = {"tenant": tenant, "enabled": None if enabled is None else int(enabled)}
        params = {**which, "after": after, "limit": limit}
        page: list[EndpointRow] = yield Statement(self.sql["endpoint.all"], params, _endpoints)
        return page

    def change_endpoint(self, id: str, tenant: str, owner: str, change: ports.Change) -> Verb[EndpointRow | None]:
        found = yield from self._endpoints("held", id, tenant, owner)
        if not found:
            return None
        now = yield NOW
        return (yield from self._write(found[0], change(found[0], now), now))

    def drop_endpoint(self, id: str, tenant: str, owner: str) -> Verb[bool]:
        if not (yield from self._endpoints("held", id, tenant, owner)):
            return False
        now = yield NOW
        yield from self._stop(id, "the endpoint has been deleted", now)
        for part in ("drop_attempts", "drop"):
            yield Statement(self.sql[f"delivery.{part}"], {"endpoint": id}, rows.nothing)
        yield Statement(self.sql["endpoint.delete"], {"id": id}, rows.nothing)
        return True

    def _endpoints(self, how: str, id: str, tenant: str | None, owner: str | None) -> Verb[list[EndpointRow]]:
        if not is_id(id):
            return []
        params = {"id": id, "tenant": tenant, "owner": owner}
        found: list[EndpointRow] = yield Statement(self.sql[f"endpoint.{how}"], params, _endpoints)
        return found

    def _write(self, old: EndpointRow, new: EndpointRow, now: int) -> Verb[EndpointRow]:
        if new != old:
            yield Statement(self.sql["endpoint.write"], _columns(new), rows.nothing)
        if old.enabled and not new.enabled:
            yield from self._stop(old.id, new.reason or "the endpoint has been disabled", now)
            yield from self._tell_owner(new, now)
        return new

    def _stop(self, endpoint: str, reason: str, now: int) -> Verb[None]:
        """No queued delivery of it is sent any more. One that is under way finds out by itself."""
        queued: list[Job] = yield Statement(self.sql["delivery.queued"], {"endpoint": endpoint}, rows.jobs)
        changes = [(job, change) for job in queued if (change := lifecycle.cancel(job, reason, self.kept(job), now))]
        yield from self.apply(changes, now)
        yield Statement(self.sql["delivery.stop"], {"endpoint": endpoint}, rows.nothing)

    def _tell_owner(self, row: EndpointRow, now: int) -> Verb[None]:
        event = deliveries.DISABLED
        params = {"tenant": row.tenant, "owner": row.owner, "id": row.id, "event": event}
        others: list[str] = yield Statement(self.sql["delivery.told"], params, rows.column)
        body = rows.dumps({"endpoint": row.id, "url": row.url, "reason": row.reason})
        news = [NewDelivery(deliveries.again(row.id + e, now, now), e, None, event, 0, body) for e in others]
        yield from self._send(news, now)

    # ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────

    def announce(self, changes: Sequence[Change], now: int, endpoints: bool = True) -> Verb[None]:
        """Of watched jobs, in the transaction that ends them: a delivery for each endpoint that is to hear of it, and
        for each callback URL. `endpoints` False: there are none, as somebody has seen in this transaction.

        It runs whenever watched jobs end, so it looks for somebody to tell before it does anything."""
        over = [change for change in changes if change.state > State.RUNNING]
        called = any([change.callback for change in over])  # noqa: C419 (a list is quicker than a generator)
        if not over or not (called or (endpoints and (yield Statement(self.sql["delivery.anyone"], {}, rows.value)))):
            return
        ended = [(c.id, deliveries.OPERATION + c.events[-1].type, c.callback) for c in over]
        params = {
            "rows": rows.dumps([(id, event) for id, event, _ in ended]),
            "callbacks": rows.dumps([(id, event) for id, event, back in ended if back]),
        }
        audience: list[Any] = yield Statement(self.sql["delivery.audience"], params, rows.plain)
        if audience:
            news = [
                NewDelivery(deliveries.derived(id, seq, endpoint), endpoint, id, event, seq, None)
                for id, seq, event, endpoint in audience
            ]
            yield from self._send(news, now)

    def send(self, deliveries: Sequence[NewDelivery]) -> Verb[None]:
        now = yield NOW
        yield from self._send(deliveries, now)

    def _send(self, news: Sequence[NewDelivery], now: int) -> Verb[None]:
        if not news:
            return
        params = {"rows": rows.dumps(news), "now": now}
        yield Statement(self.sql["delivery.insert"], params, rows.nothing)
        yield from self._enqueue([(new.id, new.id, new.endpoint, None) for new in news], now)

    def _enqueue(self, wanted: Sequence[tuple[str, str, str | None, str | None]], now: int) -> Verb[None]:
        """Jobs, of (job, delivery, endpoint, the job before it)."""
        yield from self._insert([NewJob(*deliveries.job(*one, now), None) for one in wanted])
        yield Hint("work", (deliveries.QUEUE,))

    def send_again(self, id: str, tenant: str, owner: str, which: ports.Again, limit: int) -> Verb[list[str] | None]:
        found = yield from self._endpoints("held", id, tenant, owner)
        if not found:
            return None
        if not found[0].enabled:
            raise Conflict(f"endpoint {id} is disabled")
        if any(given is not None and not is_id(given) for given in (which.delivery, which.operation)):
            return []
        params = {"endpoint": id, "limit": limit, **which._asdict()}
        ended: list[DeliveryRow] = yield Statement(self.sql["delivery.again"], params, _deliveries)
        if ended:
            now = yield NOW
            jobs = [(deliveries.again(row.job, row.attempts, now), row.id, row.endpoint, row.job) for row in ended]
            restarted = {"rows": rows.dumps([(delivery, job) for job, delivery, _, _ in jobs])}
            yield Statement(self.sql["delivery.restart"], restarted, rows.nothing)
            yield from self._enqueue(jobs, now)
            yield from self.mark([(before, job) for job, _, _, before in jobs])
        return [row.id for row in ended]

    def work(self, delivery: str) -> Verb[Work | None]:
        found: list[DeliveryRow] = yield Statement(self.sql["delivery.get"], {"id": delivery}, _deliveries)
        if not found:
            return None
        one = found[0]
        endpoint: EndpointRow | None = None
        if one.endpoint is not None:
            endpoint = next(iter((yield Statement(self.sql["endpoint.seen"], {"id": one.endpoint}, _endpoints))), None)
        operation = None if one.operation is None else (yield from self.operation(one.operation))
        signer: str | None = None
        if one.endpoint is None and operation is not None:
            signer = yield Statement(self.sql["endpoint.signed"], {"tenant": operation.tenant}, rows.value)
        return Work(one, endpoint, operation, signer)

    def record(self, delivery: str, attempt: NewAttempt, decide: ports.Decide) -> Verb[DeliveryRow | None]:
        now = yield NOW
        found: list[DeliveryRow] = yield Statement(self.sql["delivery.get"], {"id": delivery}, _deliveries)
        if not found:
            return None
        # The endpoint before its delivery, as whoever disables it locks them.
        id = found[0].endpoint
        endpoints: list[EndpointRow] = [] if id is None else (yield from self._endpoints("held", id, None, None))
        found = yield Statement(self.sql["delivery.held"], {"id": delivery}, _deliveries)
        if not found:
            return None
        old = endpoints[0] if endpoints else None
        made, new = decide(found[0], old, now)
        params = {**attempt._asdict(), "delivery": delivery, "endpoint": id, "number": found[0].attempts + 1}
        yield Statement(self.sql["delivery.attempt"], params, rows.nothing)
        state = {"id": delivery, "state": int(made.state), "attempts": made.attempts, "next_at": made.next_at}
        yield Statement(self.sql["delivery.write"], state, rows.nothing)
        if old is not None and new is not None:
            yield from self._write(old, new, now)
        return made

    def close_delivery(self, delivery: str, state: DeliveryState) -> Verb[None]:
        yield Statement(self.sql["delivery.close"], {"id": delivery, "state": int(state)}, rows.nothing)

    def attempts(
        self, endpoint: str | None, operation: str | None, after: str | None, limit: int
    ) -> Verb[list[AttemptRow]]:
        of = {"operation": operation} if endpoint is None else {"endpoint": endpoint}
        name = "delivery.attempts_back" if endpoint is None else "delivery.attempts"
        page: list[AttemptRow] = yield Statement(self.sql[name], {**of, "after": after, "limit": limit}, _attempts)
        return page

    def forget_deliveries(self, limit: int, now: int) -> Verb[int]:
        """Those that are older than the operations they tell of are kept, whatever has become of them."""
        longest = self.terms.longest_operation()
        before = now - (KEEP if longest is None else max(DAY, longest))
        params = {"before": before, "limit": limit}
        yield Statement(self.sql["delivery.old_attempts"], params, rows.nothing)
        gone: int = yield Statement(self.sql["delivery.old"], params, rows.value)
        return gone

    # ── default secrets ──────────────────────────────────────────────────────────────────────────────────────────

    def signer(self, tenant: str, fresh: str) -> Verb[str]:
        yield Statement(self.sql["endpoint.sign_first"], {"tenant": tenant, "secrets": fresh}, rows.nothing)
        secrets: str = yield Statement(self.sql["endpoint.signer"], {"tenant": tenant}, rows.value)
        return secrets

    def show_signer(self, tenant: str, change: Callable[[str | None, int], str], again: bool) -> Verb[str | None]:
        now = yield NOW
        first = change(None, now)  # before it is looked for: of two who ask at once one must find the other's
        yield Statement(self.sql["endpoint.sign_first"], {"tenant": tenant, "secrets": first}, rows.nothing)
        ((secrets, shown),) = yield Statement(self.sql["endpoint.signer"], {"tenant": tenant}, rows.plain)
        if shown and not again:
            return None
        made = first if secrets == first else change(secrets, now)
        yield Statement(self.sql["endpoint.sign"], {"tenant": tenant, "secrets": made, "shown": 1}, rows.nothing)
        return made


def _columns(row: EndpointRow) -> dict[str, Any]:
    return {**row._asdict(), "enabled": int(row.enabled)}


def _endpoints(found: list[Any]) -> list[EndpointRow]:
    made = [EndpointRow(*row) for row in found]
    return [row._replace(enabled=bool(row.enabled)) for row in made]


def _deliveries(found: list[Any]) -> list[DeliveryRow]:
    made = [DeliveryRow(*row) for row in found]
    return [row._replace(state=DeliveryState(row.state)) for row in made]


def _attempts(found: list[Any]) -> list[AttemptRow]:
    made = [AttemptRow(*row) for row in found]
    return [row._replace(state=DeliveryState(row.state)) for row in made]
