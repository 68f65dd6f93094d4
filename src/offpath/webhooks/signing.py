"""Secrets, keys and signatures of Standard Webhooks: v1 (HMAC-SHA256) and v1a (ed25519). No network, no clock.

    whsec_…  base64 of 24 to 64 random bytes; both sides have it
    whsk_…   base64 of a 32-byte seed and its 32-byte public key; ours alone (layout of Svix)
    whpk_…   base64 of that public key; anybody may have it

v1a needs cryptography, from the extra `webhooks`.
Source: https://github.com/standard-webhooks/standard-webhooks, "Signature scheme" and "Webhook headers".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets as random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.checks import whole
from ..errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SECRET, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
SMALLEST, LARGEST = 24, 64  # bytes of a secret, as the specification has it
ID = re.compile(r"[!-\-/-~]{1,256}")
"""A webhook-id: visible ASCII without a dot, which separates the parts of what is signed."""


def new_secret() -> str:
    """A new `whsec_…` of 32 random bytes."""
    return SECRET + _text(random.token_bytes(32))


def new_key_pair() -> tuple[str, str]:
    """(`whsk_…`, `whpk_…`): keep the first, publish the second."""
    seed = random.token_bytes(32)
    public = _private(seed).public_key().public_bytes_raw()
    return PRIVATE + _text(seed + public), PUBLIC + _text(public)


def public_key(key: str) -> str:
    """The `whpk_…` that belongs to a `whsk_…`."""
    return PUBLIC + _text(_pair(key)[1])


def check_secret(text: object) -> str:
    """What can sign: a `whsec_…` of 24 to 64 bytes, or a `whsk_…`. ConfigurationError, which never shows the secret."""
    if not isinstance(text, str):
        raise ConfigurationError(f"a webhook secret is text, not a {type(text).__name__}")
    if text.startswith(PRIVATE):
        _pair(text)
    else:
        _shared(text)
    return text


def sign(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """One signature of one attempt: "v1,…" for a `whsec_…`, "v1a,…" for a `whsk_…`.

    id         the webhook-id: the same for every attempt; visible ASCII without "."
    timestamp  the attempt's time in Unix seconds, as in webhook-timestamp
    body       exactly the bytes that are sent
    """
    if not ID.fullmatch(id):
        raise ConfigurationError("a webhook-id is 1 to 256 characters of visible ASCII, without a dot")
    whole(timestamp, 0, 10**12, "a webhook-timestamp, in Unix seconds,")
    content = signed(id, str(timestamp), body)
    if secret.startswith(PRIVATE):
        return "v1a," + _text(_pair(secret)[0].sign(content))
    return "v1," + mac(_shared(secret), content)


def signatures(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> str:
    """The value of webhook-signature: one signature for each secret, in the order given (newest first)."""
    if isinstance(secrets, str) or not secrets:
        raise ConfigurationError("at least one webhook secret is needed, in a list")
    return " ".join(sign(secret, id, timestamp, body) for secret in secrets)


def signed(id: str, timestamp: str, body: bytes) -> bytes:
    """What a signature covers."""
    return f"{id}.{timestamp}.".encode() + body


def mac(key: bytes, content: bytes) -> str:
    return _text(hmac.digest(key, content, hashlib.sha256))


def decode(text: str) -> bytes:
    """Strict base64; ConfigurationError, which shows nothing of it."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one, and so is what is not ASCII
        raise ConfigurationError("a webhook secret or key is base64 behind its prefix") from None


def load_public(data: bytes) -> Ed25519PublicKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as e:
        raise MissingExtraError("a webhook key of version v1a", "webhooks") from e
    if len(data) != 32:
        raise ConfigurationError(f"32 bytes stand behind {PUBLIC}")
    return Ed25519PublicKey.from_public_bytes(data)


def _private(seed: bytes) -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as e:
        raise MissingExtraError("a webhook key of version v1a", "webhooks") from e
    return Ed25519PrivateKey.from_private_bytes(seed)


def _shared(secret: str) -> bytes:
    """The bytes of a `whsec_…`."""
    if not secret.startswith(SECRET):
        raise ConfigurationError(f"a webhook secret begins with {SECRET} or {PRIVATE}")
    data = decode(secret[len(SECRET) :])
    if not SMALLEST <= len(data) <= LARGEST:
        raise ConfigurationError(f"a webhook secret has {SMALLEST} to {LARGEST} bytes behind {SECRET}")
    return data


def _pair(key: str) -> tuple[Ed25519PrivateKey, bytes]:
    """(what signs, public half) of a `whsk_…`."""
    data = decode(key[len(PRIVATE) :])
    if len(data) != 64:
        raise ConfigurationError(f"a 32-byte seed and its 32-byte public key stand behind {PRIVATE}")
    private, public = _private(data[:32]), data[32:]
    if not hmac.compare_digest(private.public_key().public_bytes_raw(), public):
        raise ConfigurationError(f"the two halves behind {PRIVATE} do not belong together")
    return private, public


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
