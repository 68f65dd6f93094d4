"""One delivery: what is sent, and what follows from an attempt. The task is `Courier.deliver`; the rest is pure.

A delivery comes again by being put back with a delay (`Snooze`), so its schedule lives in the database and survives
every restart; what an attempt said is in `offpath_attempt` by then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..app import Offpath
from ..core.ids import uuid7
from ..core.options import SECOND
from ..core.policy import callback_of
from ..core.trace import Trace, attempt_of, started_in
from ..errors import Cancel, OffpathError, Snooze
from ..http.operations import Shape, document
from ..http.reply import Reply
from ..observe import signal
from ..ports import OperationRow
from ..ports.webhooks import DeliveryRow, DeliveryState, EndpointRow, NewAttempt, Work
from ..tracing import calling, trace_headers, within
from . import policy, rotation
from .body import payload
from .guard import Blocked, Policy, check_url
from .lines import Lines
from .sender import Sender, Sent
from .signing import new_secret, signatures
from .vault import Vault

DEFAULT_ATTEMPTS = 3
SLACK = SECOND // 20  # µs; a delivery that comes so much too early is not put back once more


class Undelivered(OffpathError):
    """No further attempt will be made: the job of the delivery ends `failed`."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an application has said of its deliveries; see `Webhooks`."""

    schedule: tuple[float, ...]
    width: int
    keys: tuple[str, ...]  # whsk_…, newest first: they sign everything, besides the endpoint's own secrets
    default_secret: Callable[[str], str | None]  # tenant → the secret for its callbacks, where it is configured
    callbacks: Policy | None  # which callback URLs may be called; None: none


@dataclass(slots=True)
class Courier:
    """Carries deliveries out, in a worker."""

    jobs: Offpath
    sender: Sender
    vault: Vault
    shape: Shape
    terms: Terms
    random: Callable[[], float]
    entropy: Callable[[int], bytes]
    lines: Lines

    async def deliver(self, delivery: str, endpoint: str | None) -> None:
        """One attempt, if it is time for one and there is a place in the endpoint's line."""
        store = self.jobs.store
        if endpoint is not None:
            return await self._in_line(endpoint, delivery, None)
        work = await store.read(store.verbs.work(delivery))
        operation = None if work is None else work.operation
        host = urlsplit((operation and callback_of(operation.options)) or "").netloc
        # One line for each owner and host: nobody waits behind somebody else's slow receiver.
        line = f"{operation.tenant} {operation.owner} {host}" if operation is not None and host else delivery
        return await self._in_line(line, delivery, work)

    async def _in_line(self, line: str, delivery: str, work: Work | None) -> None:
        delay = self.lines.enter(line, time.monotonic())
        if delay is not None:
            raise Snooze(delay)
        took: float | None = None
        try:
            store = self.jobs.store
            work = work or await store.read(store.verbs.work(delivery))
            if work is None:
                raise Cancel("the delivery has been deleted")
            if work.delivery.state is not DeliveryState.PENDING:
                return  # by an attempt whose job was interrupted before it could say so
            url = await self._may(work)
            wait = due(work, store.now())
            if wait > SLACK:
                raise Snooze(wait / SECOND)
            if work.endpoint is not None:
                self.lines.widen(line, work.endpoint.width)
            sent, made = await self._attempt(work, url)
            took = sent.latency
        finally:
            self.lines.leave(line, took)
        self._say(work, sent, made)

    async def _may(self, work: Work) -> str:
        """Where to send it. Cancel when it is not to be sent at all."""
        one, why = work.delivery, None
        url = work.endpoint.url if work.endpoint is not None else None
        if one.endpoint is not None and work.endpoint is None:
            why = "the endpoint has been deleted"
        elif work.endpoint is not None and not work.endpoint.enabled:
            why = work.endpoint.reason or "the endpoint is disabled"
        elif one.operation is not None and (work.operation is None or work.operation.expired):
            why = "the operation has been deleted"
        elif one.endpoint is None and work.operation is not None:
            url, why = self._allowed(callback_of(work.operation.options))
        if why is None and url is not None:
            return url
        verbs = self.jobs.store.verbs
        await self.jobs.store.perform(lambda: verbs.close_delivery(one.id, DeliveryState.CANCELED))
        raise Cancel(why or "there is nowhere to send it")

    def _allowed(self, url: str | None) -> tuple[str | None, str | None]:
        """A callback URL is held against what is allowed today; (where, why not)."""
        if self.terms.callbacks is None:
            return None, "callback URLs are off"
        try:
            check_url(url, self.terms.callbacks)
        except Blocked as error:
            return None, str(error)
        return url, None

    async def _attempt(self, work: Work, url: str) -> tuple[Sent, DeliveryRow | None]:
        store = self.jobs.store
        one, at = work.delivery, store.now()
        body = render(self.jobs, work, self.shape)
        secrets = [*(await self._secrets(work, at)), *self.terms.keys]
        stamp = at // SECOND
        headers = {
            "webhook-id": one.message,
            "webhook-timestamp": str(stamp),
            "webhook-signature": signatures(secrets, one.message, stamp, body),
        }
        sealed = work.endpoint.headers if work.endpoint is not None else None
        extra = None if sealed is None else json.loads(self.vault.open(sealed))
        sent = await self._sent(work, url, headers, body, extra)
        note = NewAttempt(
            uuid7(at, self.entropy(10)), at, sent.status, round(sent.latency * SECOND), sent.error, sent.snippet
        )
        u, disabled = self.random(), ""

        def decide(row: DeliveryRow, endpoint: EndpointRow | None, now: int) -> tuple[DeliveryRow, EndpointRow | None]:
            nonlocal disabled
            made, new = settle(row, endpoint, sent, now, u, self.terms)
            disabled = new.reason or "" if endpoint and new and endpoint.enabled and not new.enabled else ""
            return made, new

        row = await store.perform(lambda: store.verbs.record(one.id, note, decide))
        if disabled:
            signal("webhooks.disabled", endpoint=one.endpoint or "", reason=disabled)
        return sent, row

    async def _sent(
        self, work: Work, url: str, headers: dict[str, str], body: bytes, extra: dict[str, str] | None
    ) -> Sent:
        """In the trace of the request that started the operation (OBS-04), where it is recorded too."""
        call = calling("POST", _about(work, url), None if work.operation is None else _begun(work.operation))
        if call is None:
            return await self.sender.send(url, headers | _trace(work.operation), body, extra)
        headers["traceparent"] = call.trace.traceparent
        if call.trace.state:
            headers["tracestate"] = call.trace.state
        status: int | None = None
        error: str | None = "interrupted"
        try:
            sent = await self.sender.send(url, headers, body, extra)
            status, error = sent.status, None if sent.error is None else sent.error.partition(":")[0]
            return sent
        finally:
            call.end(status, error)

    async def _secrets(self, work: Work, now: int) -> Sequence[str]:
        if work.endpoint is not None:
            return rotation.current(work.endpoint.secrets, self.vault, now)
        tenant = work.operation.tenant if work.operation is not None else ""
        if (given := self.terms.default_secret(tenant)) is not None:
            return [given]
        store, kept = self.jobs.store, work.signer
        if kept is None:
            fresh = rotation.sealed(new_secret(), self.vault)
            kept = await store.perform(lambda: store.verbs.signer(tenant, fresh))
        return rotation.current(kept, self.vault, now)

    def _say(self, work: Work, sent: Sent, made: DeliveryRow | None) -> None:
        """To the job: it is done, comes again, or ends without having been delivered."""
        one, now = work.delivery, self.jobs.store.now()
        status, endpoint, took = sent.status or 0, one.endpoint or "callback", sent.latency
        if made is None:
            raise Cancel("the delivery has been deleted")
        match made.state:
            case DeliveryState.DELIVERED:
                signal("webhooks.delivered", delivery=one.id, endpoint=endpoint, status=status, duration=took)
            case DeliveryState.PENDING:
                wait = max(0, (made.next_at or now) - now) / SECOND
                signal("webhooks.refused", delivery=one.id, endpoint=endpoint, status=status, delay=wait, duration=took)
                raise Snooze(wait)
            case DeliveryState.CANCELED:
                raise Cancel("the endpoint is disabled")
            case DeliveryState.FAILED:
                tries = made.attempts
                signal(
                    "webhooks.failed", delivery=one.id, endpoint=endpoint, status=status, attempts=tries, duration=took
                )
                raise Undelivered(f"not delivered after {made.attempts} attempts: {sent.error or sent.status}")


def due(work: Work, now: int) -> int:
    """µs until an attempt may be made: its own time, and the pause its receiver has asked for."""
    pause = work.endpoint.not_before if work.endpoint is not None else None
    return max(work.delivery.next_at or 0, pause or 0) - now


def _about(work: Work, url: str) -> dict[str, str | int]:
    """Of a span. Not the URL: there are secrets in some."""
    parts = urlsplit(url)
    said: dict[str, str | int] = {
        "http.request.method": "POST",
        "url.scheme": parts.scheme,
        "server.address": parts.hostname or "",
        "messaging.system": "offpath",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "send",
        "messaging.destination.name": work.delivery.endpoint or "callback",
        "messaging.message.id": work.delivery.message,
    }
    if (port := parts.port or {"https": 443, "http": 80}.get(parts.scheme)) is not None:
        said["server.port"] = port
    return said


def _begun(operation: OperationRow) -> Trace:
    """The part of a trace in which an operation was started."""
    return started_in(operation.options) or attempt_of(operation.id, 0, operation.options)


def _trace(operation: OperationRow | None) -> dict[str, str]:
    """Of the request that started the operation, whatever has happened to the delivery since; this attempt's own where
    there is no operation (OBS-04)."""
    if operation is None:
        return trace_headers()
    with within(attempt_of(operation.id, 0, operation.options)):
        return trace_headers()


def render(jobs: Offpath, work: Work, shape: Shape) -> bytes:
    """The bytes that are signed and sent. An operation is shown as its routes show it now that it has ended, with its
    result unless the body would be too large (WHK-22)."""
    one, row = work.delivery, work.operation
    if row is None:
        return payload(one.event, one.created_at, one.body or "{}")
    task = jobs.registry.get(row.kind)
    attempts = DEFAULT_ATTEMPTS if task is None else task.policy(row.queue, row.options).max_attempts
    inline = task is None or task.returns is not Reply

    def data(with_result: bool) -> str:
        return f'{{"sequence":{one.sequence},{document(row, attempts, shape, with_result=with_result)[1:]}'

    return payload(one.event, happened(one, row), data(inline), lambda: data(False))


def happened(one: DeliveryRow, row: OperationRow) -> int:
    """When, µs: what orders events at the receiver, together with `sequence` (WHK-21)."""
    return one.created_at if row.finished_at is None else row.finished_at


def settle(
    row: DeliveryRow, endpoint: EndpointRow | None, sent: Sent, now: int, u: float, terms: Terms
) -> tuple[DeliveryRow, EndpointRow | None]:
    """What an attempt that has just ended makes of its delivery and its endpoint. Pure."""
    since = endpoint.failing_since if endpoint is not None else None
    number = row.attempts + 1 - row.round
    verdict = policy.next_attempt(number, sent, now, u, terms.schedule, since)
    if row.state is not DeliveryState.PENDING and verdict.kind != "delivered":
        made = row._replace(next_at=None)  # stopped meanwhile: it stays so
    else:
        made = row._replace(state=_STATES[verdict.kind], next_at=verdict.at)
    made = made._replace(attempts=row.attempts + 1)
    if endpoint is None:
        # Nobody to be disabled: a callback URL that is gone has simply failed.
        return (made._replace(state=DeliveryState.FAILED) if verdict.kind == "disable" else made), None
    new = endpoint._replace(
        failing_since=policy.failing(since, sent, now),
        width=policy.concurrency(endpoint.width, terms.width, sent),
        not_before=max(filter(None, (verdict.not_before, endpoint.not_before)), default=None),
    )
    if new.not_before is not None and new.not_before <= now:
        new = new._replace(not_before=None)
    if verdict.kind == "disable" and endpoint.enabled:
        new = new._replace(enabled=False, reason=verdict.reason, updated_at=now)
    return made, new


_STATES = {
    "delivered": DeliveryState.DELIVERED,
    "retry": DeliveryState.PENDING,
    "give_up": DeliveryState.FAILED,
    "disable": DeliveryState.CANCELED,
}
