"""What to do after each answer. Pure: answers, times and random numbers in, decisions out; both faces share it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from ..errors import ConfigurationError
from .errors import ForeignLink

TERMINAL = ("succeeded", "failed", "canceled")
_DIGITS = re.compile(r"[0-9]+")
_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-\[\]-~]+")  # no backslash, space or non-ASCII: what parsers of URLs disagree about
_AGAIN = frozenset({408, 425, 500, 502, 503, 504})
"""Of a GET: nothing was wrong with the question."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a client waits. All of it in seconds.

    first       the pause after the first failure; each further one doubles it, less up to a half by chance
    longest     no pause is longer, whatever `Retry-After` says (and after that none is shorter than 1)
    patience    how long failures in a row are borne before they are raised
    hold        what a poll asks the server to hold its answer for (`Prefer: wait`); whole seconds
    heartbeat   the longest silence the server leaves on an event stream; after two without a byte it counts as dead
    """

    first: float = 0.5
    longest: float = 60.0
    patience: float = 300.0
    hold: int = 25
    heartbeat: float = 15.0

    def __post_init__(self) -> None:
        if min(self.first, self.longest, self.heartbeat) <= 0 or self.patience < 0 or self.hold < 0:
            raise ConfigurationError("a Pace needs times above 0 (patience and hold: 0 or more)")


class Answer(NamedTuple):
    """One response. `headers` by lower-case name; `body` is empty for a stream that is still to be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def kind(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def problem(self) -> dict[str, Any]:
        said = self.json()
        return said if isinstance(said, dict) else {"type": "about:blank", "title": "Refused", "status": self.status}


# ── pauses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds from now, of either form (RFC 9110 section 10.2.3); `now` in seconds since 1970. None: not said, or not
    understood."""
    text = (value or "").strip()
    if _DIGITS.fullmatch(text):
        return float(text[:12])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now)


def told(answer: Answer, now: float, pace: Pace) -> float | None:
    """The pause that an answer asks for, between 1 s and `longest`; None when it asks for none."""
    seconds = retry_after(answer.headers.get("retry-after"), now)
    return None if seconds is None else max(1.0, min(seconds, pace.longest))


def backoff(failures: int, u: float, pace: Pace) -> float:
    """The pause after so many failures in a row; `u` is uniform in [0, 1)."""
    return min(pace.longest, pace.first * 2.0 ** min(failures - 1, 30)) * (1 - u / 2)


def between_polls(answer: Answer, took: float, now: float, pace: Pace) -> float:
    """The pause before the next poll of what has not ended. A poll that was held has waited already."""
    if took >= 1 and "wait" in answer.headers.get("preference-applied", ""):
        return 0.0
    return told(answer, now, pace) or 1.0


# ── what an answer means ─────────────────────────────────────────────────────────────────────────────────────────────


def start_again(answer: Answer) -> bool:
    """Whether a start that carried an idempotency key is sent once more with the same key.

    A 409 that says when to come again means: the first one with this key is still at work (IDK-05). Not so the one that
    names another operation as the holder of what was asked for.
    """
    if answer.status in (502, 503, 504):
        return True
    if answer.status not in (409, 429) or "retry-after" not in answer.headers:
        return False
    return answer.status == 429 or not str(answer.problem().get("type")).endswith("/held")


def ask_again(answer: Answer) -> bool:
    """Whether a question that changes nothing is asked once more: the asking failed, not the operation."""
    return answer.status in _AGAIN or answer.status == 429


class Stream(Enum):
    """What the answer to a request for an event stream means."""

    READ = "read"
    ENDED = "ended"
    AGAIN = "again"
    POLL = "poll"
    REFUSED = "refused"


def stream_of(answer: Answer) -> Stream:
    """503, 406, or anything else instead of a stream where one was asked for: there is none to be had, poll."""
    match answer.status:
        case 200:
            return Stream.READ if answer.kind() == "text/event-stream" else Stream.POLL
        case 204:
            return Stream.ENDED
        case 406 | 429 | 501 | 503:
            return Stream.POLL
        case status if status >= 500 or status in _AGAIN:
            return Stream.AGAIN
        case status if status >= 400:
            return Stream.REFUSED
        case _:
            return Stream.POLL


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host, port. ConfigurationError when it is no http(s) URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, parts, port = None, None, None
    plain = _PLAIN.fullmatch(url) is not None
    if parts is None or not plain or parts.scheme not in _PORTS or not host or parts.username is not None:
        raise ConfigurationError(f"{url!r} is no absolute http or https URL without a user name")
    return parts.scheme, host, port if port is not None else _PORTS[parts.scheme]


def resolve(base: str, target: str) -> str:
    """A path or URL as an absolute URL on the origin of `base`; ForeignLink when it is none.

    A path belongs below `base`, whose own path stays: "/api/reports" under "https://a.example/v1" is /v1/api/reports.
    """
    if "://" in target or target.startswith("//"):
        url = urljoin(base, target)
        try:
            same = origin(url) == origin(base)
        except ConfigurationError:
            same = False
        if not same:
            parts = urlsplit(base)
            raise ForeignLink(target, f"{parts.scheme}://{parts.netloc}")
        return url
    return f"{base.rstrip('/')}/{target.lstrip('/')}"


def link(base: str, document: Mapping[str, Any], name: str, fallback: str) -> str:
    """A link of an operation, as an absolute URL; `fallback` when it has none of this name."""
    links = document.get("links")
    said = links.get(name) if isinstance(links, Mapping) else None
    if not isinstance(said, str) or not said:
        return fallback
    return follow(base, said)


def follow(base: str, said: str) -> str:
    """A link that the server gave: absolute, or relative to its root (RFC 3986 section 5)."""
    return resolve(base, urljoin(base, said))


def operation_url(base: str, operations: str, name: str) -> str:
    """Of an operation's id, path or URL."""
    if "/" in name:
        return resolve(base, name)
    return resolve(base, f"{operations.strip('/')}/{quote(name, safe='')}")


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def status_of(document: Mapping[str, Any]) -> str:
    return str(document.get("status") or "queued")


def is_done(document: Mapping[str, Any]) -> bool:
    """`done` says so; without it, a terminal status. A status we do not know is one more way of not having ended."""
    said = document.get("done")
    return said if isinstance(said, bool) else status_of(document) in TERMINAL


class Event(NamedTuple):
    """One line of an operation's history.

    type    "operation.progress" and so on; names that we do not know are passed on
    id      its number as text; "" for what polling found
    data    a JSON value; for "operation.snapshot" and the last event the whole operation
    reset   the history has a gap before this snapshot
    """

    type: str
    id: str
    data: Any

    @property
    def last(self) -> bool:
        """Nothing comes after it."""
        return self.type.removeprefix("operation.") in TERMINAL and self.type.startswith("operation.")

    @property
    def reset(self) -> bool:
        return isinstance(self.data, dict) and self.data.get("reset") is True


_STATUS = {
    "operation.started": "running",
    "operation.retrying": "queued",
    "operation.requeued": "queued",
    "operation.canceling": "canceling",
}
_PROGRESS = ("percent", "current", "total", "unit", "message")


def fold(document: Mapping[str, Any], event: Event) -> dict[str, Any]:
    """The operation after an event."""
    if not isinstance(event.data, dict):
        return dict(document)
    if event.type == "operation.snapshot" or event.last:
        return {name: value for name, value in event.data.items() if name != "reset"}
    after = dict(document)
    if event.type in _STATUS:
        after["status"] = _STATUS[event.type]
    if event.type == "operation.progress":
        after["status"] = "canceling" if document.get("status") == "canceling" else "running"
        after["progress"] = {name: event.data[name] for name in _PROGRESS if name in event.data}
    if isinstance(event.data.get("attempt"), int):
        after["attempt"] = event.data["attempt"]
    return after
