"""What an endpoint is given to start operations with, and the 202 it returns."""

from __future__ import annotations

from asyncio import _get_running_loop
from collections.abc import Coroutine
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, get_args, overload

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...core.checks import check_name
from ...core.options import AcceptGiven, CallOptions, check_names
from ...errors import ConfigurationError
from ...http.accept import BLOCKING, Acceptance, accept, accept_sync, check_words
from ...http.asked import Asked
from ...http.face import Face
from ...http.hold import Preferred, Promise
from ...http.idempotency import Verbatim
from ...http.messages import Caller
from ...http.operations import dumps
from ...http.schema import Operation
from ...http.unit import UNIT
from ...http.works import bound_args
from ...tasks import Linked, Task
from .routing import STACK

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Accepted(Response, Generic[T]):
    """A 202 for an operation whose result is a T. In the OpenAPI document: `Operation[T]`.

    id        of the operation
    location  its absolute URL
    replayed  an earlier request with the same Idempotency-Key started it

    With `Prefer: wait=N` the client gets the result instead, when it is ready in time; the wait begins when the handler
    and its dependencies have ended.
    """

    def __init__(self, acceptance: Acceptance, location: str, preferred: Preferred | None = None) -> None:
        self.id = acceptance.job
        self.location = location
        self.status_code = 202
        self.background: BackgroundTask | None = None
        self.body = acceptance.body
        self.raw_headers = acceptance.headers
        self.replayed = acceptance.replayed
        self._acceptance = acceptance
        self._preferred = preferred
        self._extra: dict[str, Any] = {}

    def adding(self, **members: Any) -> Accepted[T]:
        """The same with further members in its body, for clients that know older names. The body is then no longer
        the representation that a GET gives, so the headers that say so go."""
        if not members:
            return self
        self._extra |= members
        self.body = bytes(self.body)[:-1] + b"," + dumps(members).encode()[1:]
        length = b"%d" % len(self.body)
        self.raw_headers = [
            (name, length if name == b"content-length" else value)
            for name, value in self.raw_headers
            if name not in (b"etag", b"content-location")
        ]
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._acceptance.bond is not None and UNIT not in scope:
            await self._acceptance.check()
        if self._preferred is None:
            await super().__call__(scope, receive, send)
            return
        if (unit := scope.get(UNIT)) is not None:  # what is remembered is the 202
            await unit.finish(Verbatim(self.status_code, self.raw_headers, bytes(self.body), self.id))

        async def release() -> None:
            if (stack := scope.get(STACK)) is not None:  # FastAPI would end the dependencies after the last byte
                await stack.aclose()

        made = Promise(self.id, self.status_code, self.raw_headers, bytes(self.body), self._extra)
        await self._preferred.answer(made, release, scope, receive, send)
        if self.background is not None:
            await self.background()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return handler.generate_schema(Operation[(get_args(source) or (Any,))[0]])  # type: ignore[misc]


class Acceptor:
    """Starts operations for one request: `await accept(task, …)` or `await accept(flow)`; `accept.sync(…)` in a plain
    function.

    A request with an Idempotency-Key starts one operation, however often it is sent: its first `accept` has the key.
    When that one is known, `accept` gives the answer that was given before (`Accepted.replayed`); with `tx=`, where
    something may have been written that must not stay, it leaves your handler with an exception that becomes that
    answer. Let that pass.
    """

    __slots__ = ("_asked", "_face", "_preferred", "_start", "_unit")

    def __init__(self, face: Face, asked: Asked) -> None:
        self._face = face
        self._asked = asked
        self._start, self._preferred, self._unit = asked

    @property
    def caller(self) -> Caller:
        return self._start.caller

    @property
    def prefers_async(self) -> bool:
        """Whether the client asked for an operation (`respond-async`), or to wait for one (`wait=N`): for routes that
        offer both ways."""
        return self._preferred is not None and self._preferred.wish.wants_operation

    @overload
    async def __call__(self, flow: Linked[R], /) -> Accepted[R]: ...
    @overload
    async def __call__(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Accepted[R]: ...
    def __call__(self, work: Any, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Accepted[Any]]:
        """Enqueue a task with its arguments, or a flow, and give the 202 to return. ArgumentError (422) when an
        argument cannot be stored, StoreUnavailable (503) when the database cannot take it; nothing is left behind
        then. ConfigurationError in a `def` endpoint, which cannot await: that is what `sync` is for."""
        if _get_running_loop() is None:
            raise ConfigurationError(BLOCKING)
        return self._accept(work, args, kwargs)

    async def _accept(self, work: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Accepted[Any]:
        bound = bound_args(work, args, kwargs)
        if self._unit is None:
            made = await accept(self._face.service, work, bound, self._start)
        else:
            with self._unit.accepting(self._start.tx):
                made = await accept(self._face.service, work, bound, self._start)
        return Accepted(made, f"{self._start.base}/{made.job}", self._preferred)

    @overload
    def sync(self, flow: Linked[R], /) -> Accepted[R]: ...
    @overload
    def sync(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Accepted[R]: ...
    def sync(self, work: Any, /, *args: Any, **kwargs: Any) -> Accepted[Any]:
        """The same, blocking, for `def` endpoints."""
        bound = bound_args(work, args, kwargs)
        if self._unit is None:
            made = accept_sync(self._face.service, work, bound, self._start)
        else:
            with self._unit.accepting(self._start.tx):
                made = accept_sync(self._face.service, work, bound, self._start)
        return Accepted(made, f"{self._start.base}/{made.job}", self._preferred)

    def using(
        self,
        *,
        tx: object | None = None,
        label: str = "",
        **options: Unpack[AcceptGiven],
    ) -> Acceptor:
        """With options for this call (see `Task.using`).

        tx     your open transaction; commit it before the handler returns: a 202 never precedes its commit, and one
               that would becomes a 500 and a line in the log (an answer of your own making is held to that as well,
               in applications with `install_problem_handlers`)
        key    unique among the task's live jobs: a live operation of this caller comes back instead of a second one
        label  the client's own word for it, shown as `metadata.label`, and a filter of the list
        callback   a URL that is sent a signed webhook when the operation ends; see `Webhooks(callbacks=…)`

        A key, label or callback URL that cannot be one is a 422 to the client, from whom such texts come.
        """
        check_words(options.get("key"), label, options.get("callback"))
        if label:
            check_name(label, "label")
        try:
            given = CallOptions(owner=self._start.options.owner, **options)
        except TypeError:
            check_names(options, AcceptGiven, "tx", "label")
            raise
        start = self._start._replace(tx=tx, label=label, options=given)
        return Acceptor(self._face, self._asked._replace(start=start))
