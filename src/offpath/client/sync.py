"""The blocking client: drives the flows over httpx2. It makes no event loop."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Literal, TypeVar, overload

import httpx2

from . import flows, following
from .decisions import Event, Pace
from .face import Face, Filter, Shown, answer_of, key_for, moment, ours, query, start_body, streams
from .steps import Close, Flow, Look, Open, Pause, Read, Send, Step, Story

R = TypeVar("R")
T = TypeVar("T")


class _Line:
    """Carries out the steps of one flow; holds the stream that it has open."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stream: tuple[httpx2.Response, Iterator[bytes]] | None = None

    def do(self, step: Step) -> Any:
        match step:
            case Send():
                request = self._client.http.build_request(**self._client._request(step))
                with ours():
                    response = self._client.http.send(request, follow_redirects=False)
                return answer_of(response, response.content)
            case Open():
                self.close()
                request = self._client.http.build_request(**self._client._request(step))
                with ours():
                    response = self._client.http.send(request, stream=True, follow_redirects=False)
                    self._stream = response, response.iter_bytes()
                    return answer_of(response, b"" if streams(response) else response.read())
            case Read():
                if self._stream is None:
                    return None
                with ours():
                    return next(self._stream[1], None)
            case Close():
                self.close()
            case Pause():
                time.sleep(step.seconds)
            case Look():
                return moment()

    def close(self) -> None:
        if self._stream is not None:
            response, self._stream = self._stream[0], None
            response.close()


class RemoteOperation(Shown[R]):
    """An operation on a server, as `Client.start` gives it."""

    def __init__(self, client: Client, record: flows.Record, wanted: type[R] | None) -> None:
        super().__init__(record, wanted)
        self._client = client

    def refresh(self) -> RemoteOperation[R]:
        """Look at it now."""
        self._client._drive(flows.refresh(self._client._kit, self._state))
        return self

    def result(self, timeout: float | None = None) -> R:
        """Wait until it has ended, at most `timeout` s; its result.

        OperationFailed and OperationCanceled say why there is none; ResultTimeout: not yet, it goes on.
        """
        value: R = self._read(self._client._drive(flows.result(self._client._kit, self._state, timeout)))
        return value

    def events(self, *, after: str = "") -> Generator[Event]:
        """Its history as it happens, to the end; `after`: the `id` of the last event already seen."""
        return self._client._tell(following.events(self._client._kit, self._state, after))

    def cancel(self, reason: str | None = None) -> RemoteOperation[R]:
        """Ask it to stop. Best effort, and harmless when it has ended."""
        self._client._drive(flows.cancel(self._client._kit, self._state, reason))
        return self

    def delete(self) -> None:
        """Erase it with its input and result, once it has ended."""
        self._client._drive(flows.delete(self._client._kit, self._state))


class Client(Face):
    """Starts and follows operations of one application.

    base_url    its root; links are followed on this origin only
    headers     sent with every request; `auth` as httpx2 takes it
    operations  path of the collection ("/operations")
    pace        how long to wait for what (`Pace`)
    timeout     for one answer, s; a held one may take so much longer
    http        a client of your own, which stays yours to close; its `base_url` is not used
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: httpx2.Auth | tuple[str, str] | None = None,
        operations: str = "/operations",
        pace: Pace | None = None,
        timeout: float = 30.0,
        http: httpx2.Client | None = None,
    ) -> None:
        super().__init__(base_url, headers, operations, pace, timeout)
        self._own = http is None
        self.http = httpx2.Client(auth=auth) if http is None else http

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._own:
            self.http.close()

    @overload
    def start(
        self,
        method: str,
        url: str,
        *,
        json: Any = ...,
        content: bytes | str | None = ...,
        headers: Mapping[str, str] | None = ...,
        key: str | Literal[False] | None = ...,
        prefer_wait: float | None = ...,
    ) -> RemoteOperation[Any]: ...

    @overload
    def start(
        self,
        method: str,
        url: str,
        *,
        result: type[R],
        json: Any = ...,
        content: bytes | str | None = ...,
        headers: Mapping[str, str] | None = ...,
        key: str | Literal[False] | None = ...,
        prefer_wait: float | None = ...,
    ) -> RemoteOperation[R]: ...

    def start(
        self,
        method: str,
        url: str,
        *,
        result: type[Any] | None = None,
        json: Any = None,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | Literal[False] | None = None,
        prefer_wait: float | None = None,
    ) -> RemoteOperation[Any]:
        """Start an operation. A POST or PATCH carries an Idempotency-Key of its own making, and is repeated with it
        when its answer is lost: the work is done once.

        json         JSON data, or a pydantic model
        result       what the result is to be read as: a pydantic model, a dataclass, `list[int]`, `bytes`, …
        key          an idempotency key of yours instead; False: none, and then nothing is repeated
        prefer_wait  s that the server may take to answer with the result itself (`Prefer: wait`)

        RequestRefused when the server will not; Unreachable when it cannot be reached.
        """
        sent, body = start_body(headers, json, content)
        flow = flows.start(self._kit, method, url, sent, body, key_for(method, key), prefer_wait)
        return RemoteOperation(self, self._drive(flow), result)

    @overload
    def operation(self, name: str) -> RemoteOperation[Any]: ...

    @overload
    def operation(self, name: str, *, result: type[R]) -> RemoteOperation[R]: ...

    def operation(self, name: str, *, result: type[Any] | None = None) -> RemoteOperation[Any]:
        """The operation of this id or URL; asks nothing yet."""
        return RemoteOperation(self, self._record(name), result)

    def operations(self, **filters: Filter) -> Iterator[RemoteOperation[Any]]:
        """The caller's operations, newest first, from all pages. Filters: status, kind, label, created_after,
        created_before; limit is the size of a page."""
        cursor = ""
        while True:
            records, cursor = self._drive(flows.page(self._kit, query(filters), cursor))
            for record in records:
                yield RemoteOperation(self, record, None)
            if not cursor:
                return

    def _drive(self, flow: Flow[T]) -> T:
        """A flow to its end; it opens no stream. What a step raises is raised in it, since it may know what to do."""
        line = _Line(self)
        try:
            step = next(flow)
            while True:
                try:
                    brought = line.do(step)
                except Exception as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(brought)
        except StopIteration as stop:
            end: T = stop.value
            return end

    def _tell(self, story: Story) -> Generator[Event]:
        """The same, handing on the events."""
        line = _Line(self)
        try:
            step = next(story)
            while True:
                if isinstance(step, Event):
                    yield step
                    step = story.send(None)
                    continue
                try:
                    brought = line.do(step)
                except Exception as error:
                    step = story.throw(error)
                else:
                    step = story.send(brought)
        except StopIteration:
            return
        finally:
            line.close()
