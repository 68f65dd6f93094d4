"""The Idempotency-Key request field (draft-ietf-httpapi-idempotency-key-header-07), without I/O: what a key is, which
requests are the same, what becomes of one whose key is known, and how an answer is kept."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from ..ports import Remembered

Headers = list[tuple[bytes, bytes]]

FIELD = b"idempotency-key"
METHODS = frozenset({"POST", "PATCH"})
"""The others are idempotent by themselves: the field means nothing there."""

MAX = 255  # characters of a key

NEVER = frozenset(
    {b"connection", b"content-length", b"date", b"keep-alive", b"server", b"set-cookie", b"traceparent", b"tracestate"}
    | {b"trailer", b"transfer-encoding", b"upgrade", b"idempotency-replayed"}
)
"""Fields of an answer that are about that one transmission, or for that one client's jar: never replayed."""

REPLAYED = (b"idempotency-replayed", b"?1")

# RFC 9651: an Item (section 3.3) that is a String (3.3.3), with the parameters (3.1.2) that any Item may have.
_STRING = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_BARE = (
    rf"{_STRING}|-?[0-9]{{1,12}}\.[0-9]{{1,3}}|-?[0-9]{{1,15}}|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"
    r"|:[A-Za-z0-9+/]*={0,2}:|\?[01]|@-?[0-9]{1,15}"
    r'|%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"'
)
_PARAMETERS = rf"(?:; *[a-z*][a-z0-9_\-.*]*(?:=(?:{_BARE}))?)*"
_ITEM = re.compile(rf" *({_STRING}){_PARAMETERS} *")
_PLAIN = re.compile(r"[!-~]+")  # what clients send that know no structured fields: a token, a UUID


class BadKey(ValueError):
    """The field cannot be read; says why."""


def parse(lines: Sequence[str], *, strict: bool = False) -> str:
    """The key in the field's lines; BadKey for anything that is not exactly one.

    `strict` takes a String of RFC 9651 only; otherwise the same characters without quotes mean the same.
    """
    if len(lines) != 1:
        raise BadKey("Idempotency-Key was sent more than once")
    (line,) = lines
    match = _ITEM.fullmatch(line)
    if match is not None:
        key = re.sub(r"\\(.)", r"\1", match[1][1:-1])
    elif strict or '"' in line or "," in line or _PLAIN.fullmatch(line.strip(" \t")) is None:
        raise BadKey('Idempotency-Key must be one text in double quotes: "8e03978e-40d5-43dd-bc93-6894a57f9324"')
    else:
        key = line.strip(" \t")
    if not 1 <= len(key) <= MAX:
        raise BadKey(f"Idempotency-Key must have 1 to {MAX} characters, not {len(key)}")
    return key


def scope_of(tenant: str, caller: str) -> str:
    """Whose key it is; in ASCII, whatever their names are made of."""
    return json.dumps([tenant, caller], separators=(",", ":"))


def fingerprint(method: str, path: str, query: bytes, content_type: bytes, body: bytes) -> str:
    """Of all that makes a request this one: `path` is the route's with its values in their places, `body` the SHA-256
    of the body. Who asks is not in it (that is the scope), nor is what only this transmission is about."""
    made = hashlib.sha256()
    for part in (method.encode(), path.encode("utf-8", "surrogatepass"), query, content_type, body):
        made.update(b"%d:" % len(part))
        made.update(part)
    return made.hexdigest()


def decide(found: Remembered | None, fingerprint: str) -> Literal["replay", "mismatch", "busy"]:
    """What becomes of a request whose key is not free."""
    if found is None:
        return "busy"
    if found.fingerprint != fingerprint:
        return "mismatch"
    return "busy" if found.status is None else "replay"


class Verbatim(NamedTuple):
    """An answer that is remembered, or replayed. `operation` is the id of the one it is about, if it is about one."""

    status: int
    headers: Headers
    body: bytes
    operation: str | None = None

    @property
    def replay(self) -> Headers:
        """The fields with which it is sent again; Content-Length is the sender's."""
        return [*self.headers, REPLAYED]


def kept(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The fields of an answer that are remembered."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in NEVER]


def pack(answer: Verbatim) -> tuple[int, str, str, str | None]:
    """As the store keeps it: status, headers, body, operation."""
    named = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in kept(answer.headers)]
    return answer.status, json.dumps(named), base64.b64encode(answer.body).decode(), answer.operation


def unpack(found: Remembered) -> Verbatim:
    """Of a finished one."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(found.headers or "[]")]
    return Verbatim(found.status or 200, headers, base64.b64decode(found.body or ""), found.operation)
