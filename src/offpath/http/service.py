"""What the routes need of an application: its store, its hints, its tasks' budgets, and the rules of this face."""

from __future__ import annotations

import hashlib
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..app import Offpath
from ..ports import EventRow, OperationRow, Store
from . import operations
from .cursor import Cursors
from .gate import Gate, Look
from .guard import Action, Needs, refusal
from .keys import Keys
from .limits import Left, Seats, Windows, rate_limit
from .messages import Caller, Refused
from .operations import INLINE, Shape
from .problems import Problems
from .reply import Reply
from .watch import Watcher

DEFAULT_ATTEMPTS = 3


@dataclass(slots=True)
class Service:
    """One face of one application. Nothing of the application is opened before it is asked for something.

    secret        of the cursors: the same on every replica, or clients start their lists again; None: made from the
                  database's URL (see `default_secret`)
    inline        bytes of a result that go into the Operation (64 KiB)
    wait          longest held poll, seconds
    heartbeat     longest silence on a stream, seconds
    poll          longest time between two looks at the log without a hint, seconds (at most 1)
    patience      how long a stream waits for a reader that takes nothing, before it is closed, seconds
    streams       how many requests may be waiting at once; beyond it streams are refused and polls answered at once
    each          how many of them may be one caller's; beyond it both are refused
    needs         permissions (see `guard.Needs`)
    recheck       is this caller still who may look? Asked while a stream is open, and after a held poll
    recheck_every seconds between two times that a stream asks, at most 60
    ticket        how long a ticket opens a stream, seconds, at most 60
    gate          before every start; None: everything may pass
    polls         how often each caller may ask; None: as often as they like
    redirect      a succeeded operation answers 303 to its result instead of 200
    keys          of requests that may be sent again: see `Keys`
    operation_location   send `Operation-Location` as well (Azure's clients poll there)
    callbacks     says whether a callback URL may be called (ArgumentError: no); None: this face takes none
    """

    jobs: Offpath
    watcher: Watcher
    secret: bytes | None = None
    problems: Problems = field(default_factory=Problems)
    inline: int = INLINE
    wait: float = 30.0
    heartbeat: float = 15.0
    poll: float = 1.0
    patience: float = 30.0
    streams: int = 1_000
    redirect: bool = False
    operation_location: bool = True
    random: Callable[[], float] = random.random
    keys: Keys = field(default_factory=Keys)
    each: int = 100
    needs: Needs = field(default_factory=dict)
    recheck: Callable[[Caller], bool | Awaitable[bool]] | None = None
    recheck_every: float = 30.0
    ticket: float = 30.0
    gate: Gate | None = None
    polls: Windows | None = None
    clock: Callable[[], float] = time.monotonic
    seats: Seats = field(default_factory=Seats)
    callbacks: Callable[[str], Awaitable[None]] | None = None

    @property
    def store(self) -> Store:
        return self.jobs.store

    @property
    def cursors(self) -> Cursors:
        return Cursors(default_secret(self.jobs.settings.url) if self.secret is None else self.secret)

    def key(self, purpose: str) -> bytes:
        """To sign with, of its own for each purpose; the same on every replica, as the cursors' secret is."""
        secret = default_secret(self.jobs.settings.url) if self.secret is None else self.secret
        return hashlib.sha256(purpose.encode() + b"\x00" + secret).digest()

    def admit(self, caller: Caller, queue: str) -> Look | None:
        """Before a start: None, or what has to be read before it may go on. Refused: 403, 429 or 503."""
        desk = self.jobs.desk
        if self.gate is None or desk.instead is not None:  # nothing is stored under `run_inline`
            return None
        return self.gate.admit(caller, queue, desk.store)

    async def demand(self, id: str, caller: Caller, action: Action) -> OperationRow:
        """The operation, for a caller who may do that to it; else Refused, see `guard.refusal`. One that is not there
        and one that is someone else's were looked up alike."""
        row = await self.store.read(self.store.verbs.operation(id))
        slug = refusal(action, caller, row, self.needs)
        if slug is not None or row is None:
            self.refuse(slug or "not-found")
        return row

    async def sight(self, id: str, caller: Caller) -> OperationRow | None:
        """The operation, for a caller who may read it; None in any other case."""
        row = await self.store.read(self.store.verbs.operation(id))
        return row if refusal("read", caller, row, self.needs) is None else None

    async def trusts(self, caller: Caller) -> bool:
        """Is the caller still one who may look? For what goes on after the request that said who it is."""
        if self.recheck is None:
            return True
        said = self.recheck(caller)
        return bool(await said if inspect.isawaitable(said) else said)

    def seat(self, caller: Caller) -> Callable[[], None] | None:
        """A place to wait, given back by calling it; None: all are taken. Refused: this caller has enough."""
        taken = self.seats.take(caller, self.each, self.streams)
        if taken == "caller":
            self.refuse("too-many-waiting", None, self.soon(5))
        return taken if callable(taken) else None

    def free_seat(self, caller: Caller) -> Callable[[], None] | None:
        """The same for who can do without: None also when this caller has enough."""
        taken = self.seats.take(caller, self.each, self.streams)
        return taken if callable(taken) else None

    def polled(self, caller: Caller) -> list[tuple[str, str]]:
        """One poll more: the fields that tell what is left of the quota. Refused: nothing is."""
        if self.polls is None:
            return []
        left: Left = self.polls.count(caller, self.clock())
        fields = rate_limit("polls", self.polls.quota, left)
        if left.refused:
            self.refuse("polled-too-fast", None, ("Retry-After", str(left.seconds)), *fields)
        return fields

    async def events(self, id: str, after: int, limit: int) -> list[EventRow]:
        return await self.store.read(self.store.verbs.events(id, after, limit))

    def document(self, row: OperationRow, base: str, *, with_result: bool = True, **more: Any) -> str:
        """The Operation resource as JSON text."""
        with_result = with_result and not self._replies(row)
        shape = Shape(base, self.problems, self.inline)
        return operations.document(row, self.max_attempts(row), shape, with_result=with_result, **more)

    def reply(self, row: OperationRow) -> Reply | None:
        """The result as its task made it, when that is an answer of its own; None: it is JSON."""
        task = self.jobs.registry.get(row.kind)
        if row.result is None or task is None or not self._replies(row):
            return None
        reply: Reply = task.decode_result(row.result)
        return reply

    def _replies(self, row: OperationRow) -> bool:
        task = self.jobs.registry.get(row.kind)
        return task is not None and task.returns is Reply

    def max_attempts(self, row: OperationRow) -> int:
        task = self.jobs.registry.get(row.kind)
        return DEFAULT_ATTEMPTS if task is None else task.policy(row.queue, row.options).max_attempts

    def retry_after(self, row: OperationRow) -> tuple[str, str]:
        return "Retry-After", str(operations.retry_after(row, self.store.now(), self.random()))

    def soon(self, seconds: float = 1.0) -> tuple[str, str]:
        return "Retry-After", str(operations.spread(seconds, self.random()))

    def refuse(self, slug: str, detail: str | None = None, *headers: tuple[str, str], **more: Any) -> NoReturn:
        raise Refused(self.problems.problem(slug, detail, **more), *headers)


def default_secret(url: str) -> bytes:
    """Made from the database's URL, which every replica shares. It need not be secret for safety (a cursor carries no
    authority), only stable: set one when replicas spell the URL differently."""
    return hashlib.sha256(b"offpath http\x00" + url.encode("utf-8", "surrogatepass")).digest()


class Tied:
    """One operation for one caller, as a stream asks for it (`sse.Source`)."""

    def __init__(self, service: Service, id: str, caller: Caller, base: str) -> None:
        self.watcher = service.watcher
        self.recheck = service.recheck_every
        self.problems = service.problems
        self._service = service
        self._id = id
        self._caller = caller
        self._base = base

    async def row(self) -> OperationRow | None:
        return await self._service.sight(self._id, self._caller)

    async def trusted(self) -> bool:
        return await self._service.trusts(self._caller)

    async def events(self, after: int, limit: int) -> list[EventRow]:
        return await self._service.events(self._id, after, limit)

    def document(self, row: OperationRow, **more: Any) -> str:
        return self._service.document(row, self._base, **more)
