"""Page marks: opaque, URL-safe, tamper-checked, bound to what was asked and to who asked. Pure.

33 bytes as 44 characters: a version, the 16 bytes of the last row's mark, and 16 bytes of HMAC-SHA256 over both, the
filters and the caller. (Where the mark is a text, a queue's name, it is as long as that.) A cursor carries no
authority: every page reads only rows of the caller. The HMAC is there so that a mark is either ours for this very
question or refused, instead of quietly giving a wrong page.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256

_VERSION = b"\x01"
_TEXT = re.compile(r"[A-Za-z0-9_-]{44}")
_TEXT_VERSION = b"\x02"
_ANY = re.compile(r"[A-Za-z0-9_-]+={0,2}")
MAX_TEXT = 2_048  # characters of a cursor whose mark is a text


class BadCursor(Exception):
    """Altered, foreign, or made for other filters."""


class Cursors:
    """`secret` must be the same on every replica and after a restart, or clients start their lists again."""

    def __init__(self, secret: bytes) -> None:
        self._key = sha256(b"offpath cursor\x00" + secret).digest()

    def seal(self, mark: int, bound: Iterable[str]) -> str:
        """`mark`: 0 to 2^128 - 1; `bound`: the question and the caller, in a fixed order."""
        head = _VERSION + mark.to_bytes(16, "big")
        return urlsafe_b64encode(head + self._mac(head, bound)).decode("ascii")

    def open(self, text: str, bound: Iterable[str]) -> int:
        """The mark of a cursor this secret sealed for the same question; BadCursor otherwise."""
        if _TEXT.fullmatch(text) is None:
            raise BadCursor
        raw = urlsafe_b64decode(text)
        head, mac = raw[:17], raw[17:]
        if head[:1] != _VERSION or not hmac.compare_digest(mac, self._mac(head, bound)):
            raise BadCursor
        return int.from_bytes(head[1:], "big")

    def seal_text(self, mark: str, bound: Iterable[str]) -> str:
        """The same of a page whose mark is a text."""
        head = _TEXT_VERSION + mark.encode()
        return urlsafe_b64encode(head + self._mac(head, bound)).decode("ascii")

    def open_text(self, text: str, bound: Iterable[str]) -> str:
        """As `open`."""
        if len(text) > MAX_TEXT or _ANY.fullmatch(text) is None or len(text) % 4:
            raise BadCursor
        raw = urlsafe_b64decode(text)
        head, mac = raw[:-16], raw[-16:]
        if head[:1] != _TEXT_VERSION or not hmac.compare_digest(mac, self._mac(head, bound)):
            raise BadCursor
        return head[1:].decode()

    def _mac(self, head: bytes, bound: Iterable[str]) -> bytes:
        mac = hmac.new(self._key, head, sha256)
        for part in bound:
            raw = part.encode("utf-8", "surrogatepass")
            mac.update(len(raw).to_bytes(8, "big") + raw)
        return mac.digest()[:16]
