"""Does somebody on this very machine ask? What no token and no caller guards is shown to nobody else."""

from __future__ import annotations

from collections.abc import MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

_PROXIES = frozenset({b"forwarded", b"via", b"x-real-ip"})
_FORWARDED = b"x-forwarded-"


def at_home(scope: MutableMapping[str, Any]) -> bool:
    """Does this machine ask, and for itself by its own name? By the ASGI scope of a request.

    The name too: a page of anybody's may point its own name at 127.0.0.1 (DNS rebinding). And nothing that says that
    a proxy passed it on: who is behind one cannot be known. (HTTP/1.0 is what proxies speak by default, nginx among
    them; browsers and Prometheus do not.)
    """
    peer = (scope.get("client") or ("",))[0]
    if not loopback(peer) or scope.get("http_version") == "1.0":
        return False
    hosts = []
    for field, value in scope["headers"]:
        name = field.lower()
        if name in _PROXIES or name.startswith(_FORWARDED):
            return False
        if name == b"host":
            hosts.append(value.decode("latin-1"))
    if len(hosts) != 1:
        return False
    try:
        asked = urlsplit(f"//{hosts[0]}").hostname or ""
    except ValueError:
        return False
    return asked == "localhost" or loopback(asked)


def loopback(host: str) -> bool:
    """Is this an address of the machine's own, such as 127.0.0.1? Names are none."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
