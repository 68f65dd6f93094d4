"""The receiver's side: is this request what a sender with our secret sent a moment ago? The standard library alone.

Source: Standard Webhooks, "Verifying webhook authenticity". Keys of version v1a need cryptography.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ConfigurationError, OffpathError
from .signing import ID, PRIVATE, PUBLIC, SECRET, decode, load_public, mac, signed

TOLERANCE = 300  # s between the sender's clock and ours
MOST = 64  # signatures in one request that are looked at; a rotation needs two
_STAMP = re.compile(r"[0-9]{1,12}")

Check = Callable[[bytes, Sequence[str]], bool]


class VerificationError(OffpathError):
    """The request is not to be believed: a header is missing or malformed, too old, or no signature matches.

    Answer 400 or 401, and do nothing else. Which of them it was is for your log, not for the sender.
    """


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Sequence[str],
    *,
    tolerance: int = TOLERANCE,
    now: float | None = None,
) -> Any:
    """The parsed JSON of a webhook that is authentic; VerificationError for every other.

    body       the raw bytes as they came in, before any JSON parser
    headers    of the request, in any case of letters; what your framework has will do
    secrets    one or several: `whsec_…` (or its base64 alone) for v1, the sender's public key `whpk_…` for v1a;
               give both the old and the new one while you exchange them
    tolerance  seconds that webhook-timestamp may differ from now, either way (default 300)
    now        Unix seconds; default: this machine's clock

    The comparison takes the same time wherever a signature differs. A secret that is none is a ConfigurationError.
    """
    checks = [_check(secret) for secret in _several(secrets)]
    if not isinstance(body, bytes | bytearray | memoryview):
        raise ConfigurationError(f"verify takes the raw bytes of the body, not a {type(body).__name__}")
    body = bytes(body)
    id, stamp, signature = _fields(headers)
    if not ID.fullmatch(id):
        raise VerificationError("malformed webhook-id")
    if not _STAMP.fullmatch(stamp):
        raise VerificationError("malformed webhook-timestamp")
    if not abs((time.time() if now is None else now) - int(stamp)) <= tolerance:
        raise VerificationError("webhook-timestamp is too old or too new")
    given = signature.split(" ")
    if len(given) > MOST:
        raise VerificationError("too many signatures")
    content = signed(id, stamp, body)
    matches = [check(content, given) for check in checks]  # every one is made, whatever the others say
    if not any(matches):
        raise VerificationError("no signature matches")
    return _parsed(body)


def _several(secrets: object) -> list[str]:
    found = [secrets] if isinstance(secrets, str) else list(secrets) if isinstance(secrets, Sequence) else []
    texts = [secret for secret in found if isinstance(secret, str)]
    if not texts or len(texts) != len(found):
        raise ConfigurationError("verify needs a webhook secret, or a list of them")
    return texts


def _check(secret: str) -> Check:
    """A secret → whether any of the signatures is made with it."""
    if secret.startswith(PRIVATE):
        raise ConfigurationError(f"a {PRIVATE} key signs and never leaves the sender; a receiver has the {PUBLIC} key")
    if secret.startswith(PUBLIC):
        return _check_v1a(decode(secret[len(PUBLIC) :]))
    key = decode(secret.removeprefix(SECRET))
    if not key:
        raise ConfigurationError("a webhook secret must not be empty")

    def check(content: bytes, given: Sequence[str]) -> bool:
        wanted = f"v1,{mac(key, content)}".encode()
        equal = [hmac.compare_digest(one.encode("utf-8", "replace"), wanted) for one in given]
        return any(equal)

    return check


def _check_v1a(data: bytes) -> Check:
    key = load_public(data)
    from cryptography.exceptions import InvalidSignature  # it is installed: the key has been loaded

    def check(content: bytes, given: Sequence[str]) -> bool:
        for one in given:
            version, _, text = one.partition(",")
            if version != "v1a":
                continue
            try:
                key.verify(decode(text), content)
            except (InvalidSignature, ConfigurationError):
                continue
            return True
        return False

    return check


def _fields(headers: Mapping[str, Any]) -> tuple[str, str, str]:
    """(id, timestamp, signature): each exactly once, as text."""
    found: dict[str, list[object]] = {}
    for name, value in headers.items():
        found.setdefault(str(name).lower(), []).append(value)
    texts = []
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        match found.get(name, []):
            case [str(value)]:
                texts.append(value)
            case []:
                raise VerificationError(f"{name} is missing")
            case _:
                raise VerificationError(f"malformed {name}")
    return texts[0], texts[1], texts[2]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise VerificationError("the body is no JSON, although its signature matches") from None


def _refuse(word: str) -> Any:
    raise ValueError(word)
