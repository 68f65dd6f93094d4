"""Attribute values in HTTP headers (HTTP Protocol Binding 3.1.3.2)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from ..core.checks import shown
from ..errors import Unreadable

_UNSAFE = re.compile(r"[^\x21\x23\x24\x26-\x7e]")  # space, ", %, and what is not printable ASCII
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def encoded(value: str) -> str:
    """Percent-encoded where it must be, and only there."""
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), value)


def decoded(value: str, header: str) -> str:
    """The value of a header: out of quotation marks first, then one round of percent-decoding. What need not have been
    encoded is taken; bytes that are not UTF-8, an overlong form too, are Unreadable."""
    value = value.strip(" \t")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    try:
        raw = value.encode("latin-1")  # as servers hand headers on
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "surrogatepass")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Unreadable(f"its header {shown(header)} is not UTF-8: {shown(value)}") from None
