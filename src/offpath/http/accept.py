"""A call → an operation and the bytes of its 202. The hot path of this face: one write, nothing read back.

Work accepted in the caller's transaction is looked up once more before its 202 leaves: only a commit lets it be found.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from ..app.desk import at_once
from ..core.checks import MAX_NAME, check_name
from ..core.job import Job, State
from ..core.options import MAX_URL, SECOND, CallOptions
from ..errors import ArgumentError, ConfigurationError, UncommittedError
from ..observe import meters, signal
from ..ports import Enqueued, OperationRow, Verb
from ..tasks import Linked, Task
from .idempotency import Verbatim, pack
from .keys import Ticket, known
from .messages import Caller, Refused, Replayed
from .operations import created_at, dumps, moment, spread
from .service import Service
from .works import OneJob, WholeFlow, first_options, work_of

Headers = list[tuple[bytes, bytes]]
_FIXED: Headers = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"private, no-store"),
    (b"vary", b"Prefer"),
]
BLOCKING = "accept(…) is for `async def` endpoints, which await it; in a `def` endpoint write accept.sync(…)"
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


DUE = "offpath.due"
"""Member of an ASGI scope: what the request has accepted in its own transactions (see `asgi.CommitFirst`)."""


class Start(NamedTuple):
    """Everything about one acceptance that is not the task's arguments. `due` is where one with a `tx` is noted,
    `ticket` the request's Idempotency-Key."""

    caller: Caller
    base: str
    options: CallOptions
    label: str
    tx: object | None
    due: list[Acceptance] | None = None
    ticket: Ticket | None = None


class Bond(NamedTuple):
    """The caller's transaction: whether it is open yet, and whether others see what it carries."""

    still_open: Callable[[], bool]
    seen: Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Acceptance:
    """A 202 ready to be sent; `check` says whether it may be."""

    job: str
    body: bytes
    headers: Headers
    bond: Bond | None  # None: it is durable already, or has been seen to be
    replayed: bool = False  # it was given to an earlier request with the same key

    async def check(self, status: int = 202) -> None:
        """UncommittedError, and a line in the log, when the transaction that carries the job has not been committed.

        Any other `status` than 202 promises nothing of work that was rolled back; that is left alone.
        """
        if self.bond is None:
            return
        if await self.bond.seen():
            self.bond = None
            return
        if self.bond.still_open():
            self._withhold(
                "is still open: commit before the handler returns, for instance with `async with session.begin():` "
                "around the work. (FastAPI runs the end of a `yield` dependency only after the response has been "
                "sent, so it must not be what commits.)"
            )
        if status == 202:
            self._withhold(
                "was never committed: it was rolled back, to a savepoint perhaps, or closed as it was. Commit before "
                "the handler returns, for instance with `async with session.begin():` around the work."
            )

    def _withhold(self, why: str) -> NoReturn:
        error = UncommittedError(
            f"the 202 for job {self.job} was about to leave although the transaction given as tx= {why}"
        )
        signal("http.uncommitted", job=self.job, exc_info=error)
        raise error


async def accept(service: Service, work: Task[..., Any] | Linked[Any], args: str, start: Start) -> Acceptance:
    """Enqueue and render; returns once the job is durable, or written to `start.tx`.

    StoreUnavailable when the database cannot take it; Refused (409) when its key is held by an operation that the
    caller cannot see, or (409, 422) for the sake of its Idempotency-Key. Replayed when that one is known and there is
    a `start.tx`, in which something may have been done that must not stay.
    """
    desk = service.jobs.desk
    if (look := service.admit(start.caller, start.options.queue or first_options(work, desk).queue)) is not None:
        await look
    if start.options.callback is not None:
        await _callback(service, start.options.callback)
    new = work_of(desk, work, args, start.caller, start.label, start.options)
    if desk.instead is not None:  # offpath.testing.run_inline: it has been done when we answer, and no row is written
        return _render(service, new.task, new.job._replace(id=await new.instead(start.tx)), start, None)
    if start.ticket is not None and _free(start.ticket):
        keyed = _Keyed(service, new, start, start.ticket)
        if start.tx is None:
            await service.store.perform(keyed.work)
        elif inspect.isawaitable(writing := service.store.run_on(start.tx, keyed.work())):
            await writing
        return keyed.end()
    writing = new.write(start.tx)
    made = _render(service, new.task, new.job, start, None)  # while it is being committed
    (said,) = await writing
    bond = None if start.tx is None else _bond(service, said.id, start.tx)
    if not said.existing:
        _count(new.task)
        made.bond = bond
        return made if bond is None else _noted(made, start)
    verb = service.store.verbs.operation(said.id)
    if start.tx is None:
        return _known(service, await service.store.read(verb), start, None)
    row: Any = service.store.run_on(start.tx, verb)  # there it may have been accepted a moment ago
    return _known(service, await row if inspect.isawaitable(row) else row, start, bond)


def accept_sync(service: Service, work: Task[..., Any] | Linked[Any], args: str, start: Start) -> Acceptance:
    """The same, blocking: for handlers that are plain functions."""
    desk = service.jobs.desk
    if (look := service.admit(start.caller, start.options.queue or first_options(work, desk).queue)) is not None:
        look.result()
    if start.options.callback is not None:
        asyncio.run(_callback(service, start.options.callback))
    new = work_of(desk, work, args, start.caller, start.label, start.options)
    if desk.instead is not None:
        return _render(service, new.task, new.job._replace(id=new.instead_sync(start.tx)), start, None)
    if start.ticket is not None and _free(start.ticket):
        keyed = _Keyed(service, new, start, start.ticket)
        if start.tx is None:
            service.store.perform(keyed.work).result()
        else:
            at_once(service.store.run_on(start.tx, keyed.work()), start.tx)
        return keyed.end()
    (said,) = new.write_sync(start.tx)
    bond = None if start.tx is None else _bond(service, said.id, start.tx)
    if not said.existing:
        _count(new.task)
        return _render(service, new.task, new.job, start, bond)
    verb = service.store.verbs.operation(said.id)
    if start.tx is None:
        return _known(service, service.store.read(verb).result(), start, None)
    return _known(service, service.store.run_on(start.tx, verb), start, bond)


def _count(task: Task[..., Any]) -> None:
    if meters.on is not None:
        meters.on.add("offpath_operations_accepted_total", (task.name,))


def _free(ticket: Ticket) -> bool:
    """A request has one answer, so its first acceptance has the key. Replayed when that one was known before: a second
    one would be new."""
    if ticket.answer is not None:
        raise Replayed(ticket.answer)
    return not ticket.used


class _Keyed:
    """An acceptance under an Idempotency-Key: reserved, enqueued and remembered in one transaction."""

    def __init__(self, service: Service, new: OneJob | WholeFlow, start: Start, ticket: Ticket) -> None:
        self.service, self.new, self.start, self.ticket = service, new, start, ticket
        self.made: Acceptance | None = None
        self.said: Enqueued | None = None

    def work(self) -> Verb[list[Enqueued]]:
        verbs, ticket = self.service.store.verbs, self.ticket
        mine = ticket.reservation()
        reserved = yield from verbs.reserve(mine)
        if not reserved.fence:
            ticket.answer = known(self.service.problems, reserved.found, ticket.fingerprint, self.service.soon())
            return []
        said = yield from self.new.verb(verbs)
        self.said = said[0]
        try:
            made = self.made = yield from self._made(said[0])
        except Refused:
            yield from verbs.release(mine, reserved.fence)  # the transaction may be the caller's, and go on
            raise
        yield from verbs.remember(mine, reserved.fence, *pack(Verbatim(202, made.headers, made.body, made.job)))
        return said

    def _made(self, said: Enqueued) -> Verb[Acceptance]:
        if not said.existing:
            return _render(self.service, self.new.task, self.new.job, self.start, None)
        row = yield from self.service.store.verbs.operation(said.id)
        return _known(self.service, row, self.start, None)

    def end(self) -> Acceptance:
        """The acceptance, once the work is done; in the caller's transaction, Replayed instead of a known one."""
        answer, made = self.ticket.answer, self.made
        if made is not None:
            self.ticket.used = True
            if self.said is not None:
                self.new.counted(self.said)
                if not self.said.existing:
                    _count(self.new.task)
            if self.start.tx is not None:
                made.bond = _bond(self.service, made.job, self.start.tx)
            return _noted(made, self.start)
        assert answer is not None  # noqa: S101 - work() ends with one of the two
        if self.start.tx is not None or answer.operation is None:
            raise Replayed(answer)
        headers = [*answer.replay, (b"content-length", b"%d" % len(answer.body))]
        return Acceptance(answer.operation, answer.body, headers, None, True)


async def _callback(service: Service, url: str) -> None:
    """WHK-27: what may not be called is refused at the start. ArgumentError."""
    if service.callbacks is None:
        raise ConfigurationError("callback= needs Operations(…, webhooks=Webhooks(…, callbacks=…))")
    await service.callbacks(url)


def _render(service: Service, task: Task[..., Any], job: Job, start: Start, bond: Bond | None) -> Acceptance:
    attempts = task.policy(job.queue, job.options).max_attempts
    body = _body(job.id, _quoted(task.name), attempts, start.label, start.base).encode()
    wait = 1.0
    if job.state is State.SCHEDULED:
        wait = min(50.0, max(1.0, (job.run_at - created_at(job.id)) / SECOND))
    made = Acceptance(job.id, body, _headers(service, job.id, start.base, b'"1"', wait, body), bond)
    return made if bond is None else _noted(made, start)


def _noted(made: Acceptance, start: Start) -> Acceptance:
    """Of work in the caller's transaction: remembered until its 202 leaves."""
    if made.bond is not None and start.due is not None:
        start.due.append(made)
    return made


@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return dumps(name)


def _known(service: Service, row: OperationRow | None, start: Start, bond: Bond | None) -> Acceptance:
    """The key is held by a live job: its operation, if it is this caller's."""
    if row is None or (row.tenant, row.owner) != (start.caller.tenant, start.caller.id):
        raise Refused(service.problems.problem("held"), service.soon(5))
    body = service.document(row, start.base).encode()
    headers = _headers(service, row.id, start.base, f'"{row.seq}"'.encode(), 1.0, body)
    return _noted(Acceptance(row.id, body, headers, bond), start)


def _body(id: str, kind: str, max_attempts: int, label: str, base: str) -> str:
    """The body of a 202: what `operations.document` gives for an operation that has just been accepted, without
    reading it back.

    `kind` is a task's name as JSON text; the hot path of a 202, so it is one string.
    """
    at = moment(created_at(id))
    metadata = f'{{"label":{dumps(label)}}}' if label else "{}"
    own = f"{base}/{id}"
    return (
        f'{{"id":"{id}","kind":{kind},"status":"queued","done":false,"created_at":"{at}","updated_at":"{at}",'
        f'"started_at":null,"finished_at":null,"expires_at":null,"attempt":1,"max_attempts":{max_attempts},'
        f'"metadata":{metadata},"links":{{"self":"{own}","result":"{own}/result","events":"{own}/events",'
        f'"cancel":"{own}/cancel"}}}}'
    )


def _headers(service: Service, id: str, base: str, tag: bytes, wait: float, body: bytes) -> Headers:
    url = f"{base}/{id}".encode("latin-1")
    headers = [
        *_FIXED,
        (b"content-length", b"%d" % len(body)),
        (b"location", url),
        (b"content-location", url),
        (b"retry-after", b"%d" % spread(wait, service.random())),
        (b"etag", tag),
    ]
    if service.operation_location:
        headers.append((b"operation-location", url))
    return headers


def _bond(service: Service, id: str, tx: object) -> Bond:
    async def seen() -> bool:
        return await service.store.read(service.store.verbs.operation(id)) is not None

    return Bond(transaction_of(tx), seen)


def transaction_of(tx: Any) -> Callable[[], bool]:
    """Whether the transaction in which `tx` is now is still open, to be asked later.

    A SQLAlchemy session knows its transaction as an object: another one begun after the commit does not count.
    """
    inner: Any = getattr(tx, "sync_session", None) or getattr(tx, "sync_connection", None) or tx
    if hasattr(inner, "registry") and callable(inner):  # scoped_session
        inner = inner()
    transaction: Callable[[], object] | None = getattr(inner, "get_transaction", None)
    if transaction is None:
        return lambda: _begun(inner)
    mine, now = transaction(), transaction
    return lambda: mine is not None and now() is mine


def _begun(connection: Any) -> bool:
    """A driver's connection: sqlite3's `in_transaction`, Django's `in_atomic_block`, asyncpg's `is_in_transaction()`,
    psycopg's `info.transaction_status` (0 = idle)."""
    try:
        for name in ("in_transaction", "in_atomic_block"):
            if hasattr(connection, name):
                return bool(getattr(connection, name))
        if hasattr(connection, "is_in_transaction"):
            return bool(connection.is_in_transaction())
        return bool(connection.info.transaction_status)
    except Exception:  # it has been closed, or given back to its pool
        return False


def check_words(key: object, label: object, callback: object = None) -> None:
    """ArgumentError (422) for a text that cannot be a key, a label or a callback URL: it comes from the client as a
    rule. What is no text at all is left to `CallOptions` and is a ConfigurationError, the programmer's."""
    for value, name, most in ((key, "key", MAX_NAME), (label, "label", MAX_NAME), (callback, "callback", MAX_URL)):
        if isinstance(value, str) and not (name == "label" and value == ""):
            try:
                check_name(value, name, most)
            except ConfigurationError as error:
                raise ArgumentError(name, str(error)) from None


def refuse_safe(method: str) -> None:
    """ACC-12: a safe method never starts an operation."""
    if method in SAFE:
        raise ConfigurationError(f"a {method} request must not start an operation: use POST, PUT, PATCH or DELETE")
