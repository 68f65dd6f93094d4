"""Secrets that come and go: what lies sealed in the database, and which of it signs now. Pure, but for the seal.

A sealed text is the JSON `[[secret, until], …]`, newest first; `until` (µs) is when it stops signing, null for the
newest (WHK-06).
"""

from __future__ import annotations

import json
from typing import Any

from ..core.options import SECOND
from .vault import Vault


def sealed(secret: str, vault: Vault) -> str:
    return vault.seal(json.dumps([[secret, None]]))


def current(text: str, vault: Vault, now: int) -> list[str]:
    """What signs at this moment (µs), newest first."""
    return [secret for secret, until in _read(text, vault) if until is None or now < until]


def rotated(text: str, new: str, vault: Vault, now: int, overlap: float) -> str:
    """`new` in front; those that sign now go on for `overlap` seconds at most."""
    last = now + round(overlap * SECOND)
    kept = [
        (secret, last if until is None else min(until, last))
        for secret, until in _read(text, vault)
        if until is None or now < until
    ]
    return vault.seal(json.dumps([(new, None), *(one for one in kept if one[1] > now)]))


def _read(text: str, vault: Vault) -> list[Any]:
    found: list[Any] = json.loads(vault.open(text))
    return found
