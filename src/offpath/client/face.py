"""What both clients share: their options, what they send, what an operation shows, and errors of httpx2 as ours."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Literal, TypeVar

import httpx2

from ..errors import ArgumentError, ConfigurationError
from .decisions import Answer, Pace, is_done, operation_url, origin, status_of
from .errors import Unreachable
from .flows import Kit, Record
from .steps import Moment, Open, Send
from .values import Progress, Reader, reader

R = TypeVar("R")
Filter = str | int | None


class Face:
    """`base_url` is the application's root: paths are below it, and links are followed only on its origin."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str] | None,
        operations: str,
        pace: Pace | None,
        timeout: float,
    ) -> None:
        origin(base_url)
        if timeout <= 0:
            raise ConfigurationError("timeout must be above 0 s")
        self._kit = Kit(base_url.rstrip("/"), operations, pace or Pace(), timeout)
        self._headers = lower(headers)

    def _record(self, name: str) -> Record:
        return Record(operation_url(self._kit.base, self._kit.operations, name), {})

    def _request(self, step: Send | Open) -> dict[str, Any]:
        """Keyword arguments for httpx2's `build_request`. Header values are bytes: ids of events may be any text."""
        texts = dict(self._headers)
        texts.update(step.headers)
        headers = {name: text.encode() for name, text in texts.items()}
        if isinstance(step, Open):
            timeout = httpx2.Timeout(self._kit.timeout, read=step.quiet)
            return {"method": "GET", "url": step.url, "headers": headers, "timeout": timeout}
        timeout = httpx2.Timeout(step.timeout)
        return {"method": step.method, "url": step.url, "headers": headers, "timeout": timeout, "content": step.body}


def moment() -> Moment:
    return Moment(time.monotonic(), time.time(), random.random())


def lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Header fields by lower-case name, so that one takes the place of another."""
    return {name.lower(): value for name, value in (headers or {}).items()}


def start_body(
    headers: Mapping[str, str] | None, body: Any, content: bytes | str | None
) -> tuple[dict[str, str], bytes]:
    """Headers and bytes of a start, from `json=` or `content=`."""
    sent = lower(headers)
    if "idempotency-key" in sent:
        raise ConfigurationError("the idempotency key of a start is given as key=")
    if content is not None:
        if body is not None:
            raise ConfigurationError("start takes json= or content=, not both")
        return sent, content.encode() if isinstance(content, str) else content
    if body is None:
        return sent, b""
    dump: Any = getattr(body, "model_dump_json", None)  # of a pydantic model
    try:
        text = dump(by_alias=True) if callable(dump) else json.dumps(body, ensure_ascii=False, allow_nan=False)
        return {"content-type": "application/json", **sent}, str(text).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError("json", str(error)) from error


def key_for(method: str, key: str | Literal[False] | None) -> str:
    """The idempotency key of a start: the caller's, a new one, or none. Only POST and PATCH carry one (IDK-14)."""
    if key is False or method.upper() not in ("POST", "PATCH"):
        return ""
    if key is None:
        return str(uuid.uuid4())
    if not (0 < len(key) <= 255 and key.isascii() and key.isprintable() and not set(key) & {'"', "\\", " "}):
        raise ConfigurationError("an idempotency key is 1 to 255 printable ASCII characters without space, quote or \\")
    return key


def query(filters: Mapping[str, Filter]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in filters.items() if value is not None)


def answer_of(response: httpx2.Response, body: bytes) -> Answer:
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def streams(response: httpx2.Response) -> bool:
    """Whether the body is to be read piece by piece."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return response.status_code == 200 and kind == "text/event-stream"


@contextmanager
def ours() -> Iterator[None]:
    """Failures of the transport, as Unreachable."""
    try:
        yield
    except httpx2.ReadTimeout as error:
        raise Unreachable(f"silent for too long: {error!r}", quiet=True) from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise Unreachable(f"{type(error).__name__}: {error}") from error


class Shown(Generic[R]):
    """What an operation shows without asking the server: as of the last answer or event."""

    def __init__(self, record: Record, wanted: type[R] | None) -> None:
        self._state = record
        self._read: Reader = reader(wanted)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id or '(answered at once)'} {self.status}>"

    @property
    def url(self) -> str:
        """Its URL; "" when a start with `prefer_wait` was answered with the result itself."""
        return self._state.url

    @property
    def id(self) -> str:
        return str(self._state.document.get("id") or self._state.url.rsplit("/", 1)[-1])

    @property
    def document(self) -> Mapping[str, Any]:
        """The whole resource, members that this client does not know included; {} before the first look."""
        return self._state.document

    @property
    def status(self) -> str:
        """queued, running, canceling, succeeded, failed or canceled; a newer server may say something else."""
        return status_of(self._state.document)

    @property
    def done(self) -> bool:
        return is_done(self._state.document)

    @property
    def progress(self) -> Progress | None:
        return Progress.of(self._state.document)
