"""What is kept of a response: a little text for the endpoint's owner, and no secret in it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ..core import redact

LARGEST = 1024  # bytes, as UTF-8
CUT = "[cut]"
_SHORTEST = 6  # a value of fewer characters is no secret, and its cutting would tell more than it hides
_BASE64 = r"(?:[A-Za-z0-9+/=_\-]|\\/|\\u00[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}|&#[xX]?[0-9a-fA-F]+;)+"
_SECRET = re.compile(
    rf"whs(?:ec|k)_{_BASE64}|v1a?,{_BASE64}|(?:bearer|basic)\s+[A-Za-z0-9._~+/=\-]{{6,}}", re.IGNORECASE
)
_UNSEEN = re.compile(r"[^\S ]+|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def snippet(body: bytes, sent: Iterable[str]) -> str:
    """The beginning of a response body as one line of text.

    sent   values that went out with the request: an endpoint that echoes them does not get them into our records
    """
    text = body.decode("utf-8", "replace")
    for value in sorted(_spellings(sent), key=len, reverse=True):
        text = text.replace(value, CUT)
    text = _UNSEEN.sub(" ", redact.scrubbed(_SECRET.sub(CUT, text))).strip()
    return text.encode()[:LARGEST].decode("utf-8", "ignore")


def _spellings(values: Iterable[str]) -> set[str]:
    """Each value, and as JSON writers escape it."""
    plain = {value for value in values if len(value) >= _SHORTEST}
    quoted = plain | {json.dumps(value)[1:-1] for value in plain}
    return quoted | {value.replace("/", "\\/") for value in quoted}
