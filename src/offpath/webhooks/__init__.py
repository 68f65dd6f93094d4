"""Webhooks: what leaves, and how a receiver knows that it came from us (Standard Webhooks).

    verify      a receiver's check of one request         dedup    webhook-ids a receiver has seen
    signing     secrets, keys and signatures              vault    secrets as they lie in the database
    guard       which URLs and addresses may be called    sender   one request to somebody else's server
    policy      what an attempt's end means               body     the bytes that are signed and sent
    facade      what an application configures            deliveries   the task that sends one
    routes      endpoints over HTTP: `handlers` `reading` rotation   secrets that come and go
    lines       how many go to one endpoint at once

`verify`, `VerificationError` and `Deduplicator` need the standard library alone, so a receiver may use them without the
rest. What needs more, `pip install "offpath[webhooks]"` brings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .dedup import Deduplicator
from .verify import VerificationError, verify

if TYPE_CHECKING:
    from .facade import Webhooks
    from .guard import Blocked, Policy
    from .sender import Sender
    from .signing import new_key_pair, new_secret, sign
    from .vault import Vault

_ELSEWHERE = {
    "Blocked": "guard",
    "Policy": "guard",
    "Sender": "sender",
    "Vault": "vault",
    "Webhooks": "facade",
    "new_key_pair": "signing",
    "new_secret": "signing",
    "sign": "signing",
}

__all__ = [
    "Blocked",
    "Deduplicator",
    "Policy",
    "Sender",
    "Vault",
    "VerificationError",
    "Webhooks",
    "new_key_pair",
    "new_secret",
    "sign",
    "verify",
]


def __getattr__(name: str) -> Any:
    """The rest, on first use."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_ELSEWHERE[name]}", __name__), name)
    globals()[name] = value
    return value
