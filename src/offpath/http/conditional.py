"""Conditional requests (RFC 9110 §13): preconditions, entity tags, and the order in which they count. Pure.

The check belongs where the version cannot change any more: in the transaction of the write, after the row was read with
a lock (`SELECT … FOR UPDATE`; on SQLite `BEGIN IMMEDIATE`). Two requests with the same `If-Match` then never both pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import Any, Literal, NamedTuple

from ..errors import ConfigurationError, Problem
from .messages import Declined
from .problems import TYPES

FIELDS = ("if-match", "if-unmodified-since", "if-none-match", "if-modified-since")

_OPAQUE = r'"[\x21\x23-\x7e\x80-\xff]*"'
_TAG = re.compile(rf"(W/)?({_OPAQUE})")
_BETWEEN = re.compile(r"[ \t]*(,[ \t]*)+|[ \t]+$")
_STRONG = re.compile(_OPAQUE)
_DATE = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT"  # the three forms of §5.6.7
    r"|[A-Z][a-z]{5,8}, [0-9]{2}-[A-Z][a-z]{2}-[0-9]{2} [0-9:]{8} GMT"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [0-9 ][0-9] [0-9:]{8} [0-9]{4}"
)


class Tag(NamedTuple):
    """`opaque` with its quotes."""

    opaque: str
    weak: bool = False


Tags = Literal["*"] | tuple[Tag, ...]


class PreconditionFailed(Problem):
    """The version is not the one that the client named: 412. Raised in a request, or by `recheck` in a task."""

    def __init__(self) -> None:
        super().__init__(
            title=TYPES["precondition-failed"].title,
            status=412,
            detail="It has changed since you read it. Nothing was done: read it again, and decide again.",
            type="precondition-failed",
        )


def strong(version: int | str) -> str:
    """The strong entity tag of a version: 3 → `"3"`. ConfigurationError for what no tag can hold."""
    tag = f'"{version}"'
    if isinstance(version, bool) or _STRONG.fullmatch(tag) is None:
        raise ConfigurationError(f"no entity tag can be made from {version!r}")
    return tag


def tags(lines: Sequence[str], field: str) -> Tags:
    """An `If-Match` or `If-None-Match` field from its lines; Declined (400) for what is neither `*` nor a list."""
    text = ",".join(lines).strip(" \t")
    if text == "*":
        return "*"
    found: list[Tag] = []
    at, apart = 0, True
    while at < len(text):
        if between := _BETWEEN.match(text, at):
            at, apart = between.end(), True
            continue
        match = _TAG.match(text, at) if apart else None
        if match is None:
            raise Declined("malformed-precondition", f'{field}: must be `*`, or a list of quoted tags as in "3", W/"a"')
        found.append(Tag(match[2], match[1] is not None))
        at, apart = match.end(), False
    return tuple(found)


def among(tag: str | None, listed: Tags, *, weakly: bool) -> bool:
    """Whether the current `tag` (None: there is nothing yet) is one of these, by strong or weak comparison
    (§8.8.3.2)."""
    if tag is None:
        return False
    if listed == "*":
        return True
    weak, opaque = tag.startswith("W/"), tag.removeprefix("W/")
    if weakly:
        return any(one.opaque == opaque for one in listed)
    return not weak and any(one == Tag(opaque) for one in listed)


def http_date(lines: Sequence[str]) -> datetime | None:
    """An HTTP-date in any of its three forms; None, to be ignored, for anything else (§13.1.3)."""
    if len(lines) != 1 or _DATE.fullmatch(lines[0].strip(" \t")) is None:
        return None
    try:
        parts = parsedate_tz(lines[0])
        return None if parts is None else datetime(*parts[:6], tzinfo=UTC)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of one request, not looked at before they are asked: a 404 or a 415 comes first (§13.2.1).

    lines     lower-case name of a field → its lines, for those of `FIELDS` that were sent
    required  without `If-Match`, `check` answers 428
    """

    lines: Mapping[str, Sequence[str]]
    required: bool = False

    @classmethod
    def of(cls, scope: Mapping[str, Any], require_if_match: bool | None) -> Conditions:
        """Of an ASGI request. Without `If-Match`: 428 when it is required, and the last write wins when it is not;
        None: it is required for PATCH, which changes what the client has read, and for no other method."""
        lines: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            if (field := name.decode("latin-1").lower()) in FIELDS:
                lines.setdefault(field, []).append(value.decode("latin-1"))
        return cls(lines, scope["method"] == "PATCH" if require_if_match is None else require_if_match)

    @property
    def if_match(self) -> str | None:
        """What `If-Match` said, as one text, for work that is done later (see `recheck`); None when it was not sent."""
        sent = self.lines.get("if-match")
        return None if sent is None else ", ".join(sent)

    def check(self, etag: str | None, modified: datetime | None = None) -> None:
        """Before a write: PreconditionFailed (412) unless the request is meant for this version.

        `etag` is the current representation's (None: there is none yet), `modified` the moment of its last
        change, if that is known.
        Declined: 428 when `If-Match` must be sent and was not, 400 when a field cannot be read.
        """
        if self.required and "if-match" not in self.lines:
            raise Declined("precondition-required")
        if self._verdict(etag, modified, reading=False) != "go":
            raise PreconditionFailed

    def unmodified(self, etag: str, modified: datetime | None = None) -> bool:
        """For GET and HEAD: whether the client has this already, so that the answer is 304 with the headers of a 200
        (`ETag`, `Cache-Control`, `Vary`) and no body. PreconditionFailed and Declined as in `check`."""
        verdict = self._verdict(etag, modified, reading=True)
        if verdict == "failed":
            raise PreconditionFailed
        return verdict == "unmodified"

    def _verdict(
        self, etag: str | None, modified: datetime | None, *, reading: bool
    ) -> Literal["go", "unmodified", "failed"]:
        """The order of §13.2.2; a date counts only where no tag was sent, and only where a date is known."""
        if not self.lines:
            return "go"
        lines = self.lines
        if modified is not None:
            modified = modified.astimezone(UTC).replace(microsecond=0)
        if (sent := lines.get("if-match")) is not None:
            if not among(etag, tags(sent, "If-Match"), weakly=False):
                return "failed"
        elif modified is not None:
            since = http_date(lines.get("if-unmodified-since", ()))
            if since is not None and modified > since:
                return "failed"
        if (sent := lines.get("if-none-match")) is not None:
            if among(etag, tags(sent, "If-None-Match"), weakly=True):
                return "unmodified" if reading else "failed"
        elif reading and modified is not None and (since := http_date(lines.get("if-modified-since", ()))) is not None:
            return "unmodified" if modified <= since else "go"
        return "go"


def recheck(if_match: str | None, etag: str | None) -> None:
    """In a task that writes what a 202 promised, in the transaction of the write: PreconditionFailed when the version
    is no longer one that `if_match` (`Conditions.if_match`, an argument of the task) names; None names any.

    Put PreconditionFailed into the task's `Retry(give_up_on=…)`: what is stale stays so.
    """
    if if_match is not None and not among(etag, tags((if_match,), "If-Match"), weakly=False):
        raise PreconditionFailed


def stored_as_sent(sent: bytes, stored: Mapping[str, Any]) -> bool:
    """Whether each member of a PUT's body was stored exactly as it was sent, and none was left out. Only then may the
    answer carry a validator (§9.3.4): a client may take the tag to be that of its own copy."""
    try:
        members = json.loads(sent)
    except (ValueError, RecursionError):
        return False
    return isinstance(members, dict) and all(
        name in stored and equal(value, stored[name]) for name, value in members.items()
    )


def equal(one: Any, other: Any) -> bool:
    """Equality of JSON values: `true` is not 1, 1 is 1.0, at any depth (RFC 6902 §4.6)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and bool(one == other)
