"""Secrets as they lie in the database: sealed with a key that is not there (Fernet: AES-128-CBC and HMAC-SHA256)."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from ..errors import ConfigurationError, MissingExtraError

SMALLEST = 16  # bytes of a key's text
_PURPOSE = b"offpath webhook secrets"


class Vault:
    """Seals and opens short texts.

    key   text or bytes of 16 or more, better 32 random ones; several: the first seals, all of them open. To change
          the key, put the new one in front, and drop the old one once everything has been sealed anew
    """

    def __init__(self, key: str | bytes | Sequence[str | bytes]) -> None:
        try:
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet
        except ImportError as e:
            raise MissingExtraError("storing webhook secrets", "webhooks") from e
        keys = [key] if isinstance(key, str | bytes) else list(key)
        if not keys:
            raise ConfigurationError("a vault needs a key")
        self._fernet = MultiFernet([Fernet(_derived(one)) for one in keys])
        self._invalid = InvalidToken

    def seal(self, text: str) -> str:
        """ASCII text that only this vault's keys open; never the same twice."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def open(self, text: str) -> str:
        """What was sealed; ConfigurationError when none of the keys did it, or it was changed since."""
        try:
            return self._fernet.decrypt(text).decode()
        except (self._invalid, ValueError):
            raise ConfigurationError("a stored webhook secret opens with none of the keys given") from None


def _derived(key: object) -> bytes:
    """Any long enough text → a Fernet key (HKDF-SHA256, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    data = key.encode() if isinstance(key, str) else key
    if not isinstance(data, bytes) or len(data) < SMALLEST:
        raise ConfigurationError(f"a key for webhook secrets is text or bytes, {SMALLEST} bytes or more")
    return base64.urlsafe_b64encode(HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(data))
