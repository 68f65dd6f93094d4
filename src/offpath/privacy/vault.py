"""Texts as they lie in the database: sealed with a key that is not there (Fernet: AES-128-CBC and HMAC-SHA256)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from ..errors import ConfigurationError, MissingExtraError

SMALLEST = 16  # bytes of a key's text


class Unsealable(Exception):
    """None of the keys has sealed it, or it was changed since."""


class Vault:
    """Seals and opens short texts.

    key      text or bytes of 16 or more, better 32 random ones; several: the first seals, all of them open. To change
             the key, put the new one in front, and drop the old one once everything has been sealed anew
    purpose  what it is for: what one purpose has sealed, another does not open, though the key be the same
    extra    which extra of offpath brings what it needs

    ConfigurationError for a key that is none; MissingExtraError without `cryptography`.
    """

    def __init__(
        self, key: str | bytes | Sequence[str | bytes], purpose: str = "secrets", extra: str = "secrets"
    ) -> None:
        try:
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet
        except ImportError as e:
            raise MissingExtraError(f"sealing {purpose}", extra) from e
        keys = [key] if isinstance(key, str | bytes) else list(key)
        if not keys:
            raise ConfigurationError("a vault needs a key")
        self._digest = _derived(keys[0], purpose + " digest")
        self._fernet = MultiFernet([Fernet(_derived(one, purpose)) for one in keys])
        self._invalid = InvalidToken

    def __repr__(self) -> str:
        return "<Vault>"

    def seal(self, text: str) -> str:
        """ASCII text that only this vault's keys open; never the same twice."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def open(self, text: str) -> str:
        """What was sealed; Unsealable."""
        try:
            return self._fernet.decrypt(text).decode()
        except (self._invalid, ValueError, TypeError):
            raise Unsealable("it opens with none of the keys given") from None

    def digest(self, text: str) -> str:
        """The same for the same text, under the same first key; it tells nobody else anything (HMAC-SHA256)."""
        return hmac.new(self._digest, text.encode(), hashlib.sha256).hexdigest()


def _derived(key: object, purpose: str) -> bytes:
    """Any long enough text → a Fernet key (HKDF-SHA256, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    data = key.encode() if isinstance(key, str) else key
    if not isinstance(data, bytes) or len(data) < SMALLEST:
        raise ConfigurationError(f"a key for {purpose} is text or bytes, {SMALLEST} bytes or more")
    info = b"offpath " + purpose.encode()
    return base64.urlsafe_b64encode(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(data))
