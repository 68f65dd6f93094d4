"""Tickets: what opens one operation's stream once, for clients that cannot send a header (an EventSource of another
origin, say). Pure; the two routes that give and take them are in `handlers.py`.

A ticket is 256 random bits as text in the URL. The store has its SHA-256 only, so its rows open nothing, and whoever
finds the URL in a log finds one that has been used, or will not work a minute later.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256

LONGEST = 60.0  # s; wire.md SEC-05
BYTES = 32
PARAMETER = "ticket"
_TICKET = re.compile(r"[A-Za-z0-9_-]{43}")


def ticket(random: bytes) -> str:
    """`random`: BYTES of them, from the system's CSPRNG."""
    return urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def hashed(text: str) -> str | None:
    """What the store knows of it; None of a text that is no ticket."""
    return sha256(text.encode("ascii")).hexdigest() if _TICKET.fullmatch(text) else None


def offered(query: bytes) -> bool:
    """Does this query string offer a ticket? Such a request is judged by it alone, and nobody asks who is asking."""
    return query.startswith(b"ticket=") or b"&ticket=" in query
