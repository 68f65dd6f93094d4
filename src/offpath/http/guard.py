"""Who may do what: the one decision behind every route, stream, page and, elsewhere, webhook. Pure.

Two things are looked at before anybody knows who is asking: tokens in the URL, and requests that a browser makes with
its cookies for somebody else's page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args
from urllib.parse import parse_qsl, urlsplit

from ..ports import OperationRow
from .messages import Caller

Action = Literal[
    "start", "read", "cancel", "delete", "webhooks", "default_secret", "admin.read", "admin.write", "admin.arguments"
]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""read is everything that shows an operation: the resource, lists, its result, its events, a ticket for them; webhooks
is everything about endpoints and their deliveries, default_secret what signs for a whole tenant. Of everybody's jobs:
admin.read sees them, without their values; admin.arguments sees those too; admin.write changes them."""

Needs = Mapping[str, str]
"""Action → the permission it takes besides ownership; an action that is not in it takes none."""

ADMIN: Needs = {
    "admin.read": "offpath.read",
    "admin.write": "offpath.write",
    "admin.arguments": "offpath.arguments",
}
"""What the admin's actions take unless the application says another: there is no ownership to fall back on."""

_TOKENS = frozenset(
    {"access_token", "api_key", "apikey", "api-key", "auth", "auth_token", "authorization", "bearer", "id_token"}
    | {"jwt", "refresh_token", "session", "sessionid", "token"}
)


def refusal(action: Action, caller: Caller, row: OperationRow | None, needs: Needs) -> str | None:
    """The type of the problem with which `caller` is kept from this operation; None: go on.

    Someone else's operation is refused exactly as one that does not exist, whatever the caller's permissions. Expired
    ones are told to their owner only (OPR-12).
    """
    if row is None or (row.tenant, row.owner) != (caller.tenant, caller.id):
        return "not-found"
    if lacks(action, caller, needs):
        return "forbidden"
    return "gone" if row.expired else None


def lacks(action: Action, caller: Caller, needs: Needs) -> bool:
    """Does the action take a permission that the caller does not have? Who comes with none at all has none."""
    needed = needs.get(action, ADMIN.get(action))
    return needed is not None and needed not in (caller.permissions or ())


def token_in(query: bytes) -> str | None:
    """The parameter of a query string in which, by its name, a long-lived token travels.

    URLs are kept in logs, histories and Referer headers; a token in one is everybody's in time (RFC 6750 section 5.3).
    """
    if not query:
        return None
    names = (name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    return next((name for name in names if name.lower() in _TOKENS), None)


def foreign(headers: Iterable[tuple[bytes, bytes]], trusted: frozenset[str]) -> bool:
    """Does a browser send this with its cookies for a page of another origin?

    What carries an Authorization header, or no cookie, cannot be forged that way. Of the rest the browser says itself
    where it comes from: `Sec-Fetch-Site` (Fetch Metadata), or `Origin` against Host. What has neither is no browser
    of this decade. `trusted` are origins that may: "https://app.example.org". (The order of questions is that of Go's
    net/http CrossOriginProtection.)
    """
    origins: list[str] = []
    site = host = ""
    cookie = False
    for name, value in headers:
        if name == b"authorization":
            return False
        if name == b"cookie":
            cookie = True
        elif name == b"origin":
            origins.append(value.decode("latin-1").lower())
        elif name == b"sec-fetch-site":
            site = value.decode("latin-1").lower()
        elif name == b"host":
            host = value.decode("latin-1").lower()
    if not cookie or (origins and trusted.issuperset(origins)):
        return False
    if site:
        return site not in ("same-origin", "none")
    return any(_netloc(origin) != host for origin in origins)


def _netloc(origin: str) -> str | None:
    """`host:port` of an origin; None of "null" and of what is no origin."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
