"""Who may come in, before any page: pure decisions over what a request says of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from ..http.messages import Caller

Scope = MutableMapping[str, Any]
Ask = Callable[[Scope], Awaitable[Caller]]
"""The application's own answer to who is asking, by a request's headers. Unknown: nobody it knows."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
ALWAYS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),  # with no-referrer, a form of ours would be sent with `Origin: null`
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""On every answer."""

KNOCKS, SPELL, PEERS = 10, 60.0, 1_024  # failed sign-ins of a peer, in so many seconds, of so many peers


class Knocks:
    """Who has tried to sign in too often. A peer that has failed `KNOCKS` times waits until the first of them is
    `SPELL` seconds old, whatever it says meanwhile. Peers beyond `PEERS` push out who failed longest ago."""

    def __init__(self) -> None:
        self._failed: dict[str, list[float]] = {}

    def wait(self, peer: str, now: float) -> float:
        """Seconds until this peer may try again; 0: now. `now` is any clock that only goes on."""
        recent = self._recent(peer, now)
        return recent[0] + SPELL - now if len(recent) >= KNOCKS else 0.0

    def failed(self, peer: str, now: float) -> None:
        self._failed[peer] = [*self._recent(peer, now), now]
        while len(self._failed) > PEERS:
            self._failed.pop(next(iter(self._failed)))

    def _recent(self, peer: str, now: float) -> list[float]:
        """Takes it out; whoever fails again goes to the end."""
        recent = [at for at in self._failed.pop(peer, ()) if at > now - SPELL][-KNOCKS:]
        if recent:
            self._failed[peer] = recent
        return recent


class Unknown(Exception):
    """Nobody the application knows: `status` is what it would have answered."""

    def __init__(self, status: int = 401) -> None:
        super().__init__(status)
        self.status = status


def headers_of(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def same_origin(headers: Mapping[str, list[str]], known: Collection[str] = ()) -> bool:
    """Was this sent by a page of ours? Browsers say so in `Sec-Fetch-Site`; over plain http only in `Origin`, which is
    held against the Host, or against what a proxy says it was: no foreign page can set either. `known`: where the
    application says that it is (`base_url`), whatever a proxy has made of the Host."""
    sites, origins = headers.get("sec-fetch-site", []), headers.get("origin", [])
    if sites:
        return sites == ["same-origin"]
    if len(origins) != 1:
        return False
    if origins[0].lower() in known:
        return True
    hosts = {host.strip().lower() for name in ("host", "x-forwarded-host") for host in headers.get(name, [])}
    try:
        return urlsplit(origins[0].lower()).netloc in hosts - {""}
    except ValueError:
        return False


def crosses(headers: Mapping[str, list[str]]) -> bool:
    """Does this come from somebody else's page?"""
    return bool(set(headers.get("sec-fetch-site", [])) & {"cross-site", "same-site"})


def cookies(lines: Iterable[str]) -> dict[str, str]:
    """Name → value; the first of a name counts, as browsers send the most specific path first."""
    found: dict[str, str] = {}
    for part in "; ".join(lines).split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found
