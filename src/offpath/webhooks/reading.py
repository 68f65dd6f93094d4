"""Reading what a client sent to the routes of webhooks. What does not fit is refused by name."""

from __future__ import annotations

import json
from typing import Any

from ..core.checks import check_name
from ..core.deliveries import ENDS, EVENTS
from ..errors import ConfigurationError
from ..http.reading import wrong
from ..http.service import Service
from .headers import check_headers
from .signing import SECRET, check_secret


def events_of(service: Service, body: dict[str, Any]) -> str:
    """As JSON text, in a fixed order; by default an operation's three ends."""
    said = body.get("events", list(ENDS))
    if not isinstance(said, list) or not said or any(not isinstance(one, str) for one in said):
        wrong(service, "events", f"must be a list of one or more of {', '.join(EVENTS)}")
    if unknown := [one for one in said if one not in EVENTS]:
        wrong(service, "events", f"{ascii(unknown[0])[:80]} is none of {', '.join(EVENTS)}")
    return json.dumps([one for one in EVENTS if one in said])


def text_of(service: Service, body: dict[str, Any], member: str, most: int) -> str:
    said = body.get(member, "")
    if said == "":
        return ""
    try:
        return check_name(said, member, most)
    except ConfigurationError as error:
        wrong(service, member, str(error))


def headers_of(service: Service, body: dict[str, Any]) -> str | None:
    """As JSON text, not sealed yet; None for none."""
    said = body.get("headers")
    if said is None or said == {}:
        return None
    if not isinstance(said, dict):
        wrong(service, "headers", "must be an object: name → value")
    try:
        return json.dumps(check_headers(said))
    except ConfigurationError as error:
        wrong(service, "headers", str(error))


def secret_of(service: Service, body: dict[str, Any]) -> str | None:
    said = body.get("secret")
    if said is None:
        return None
    try:
        if check_secret(said).startswith(SECRET):
            return str(said)
    except ConfigurationError as error:
        wrong(service, "secret", str(error))
    wrong(service, "secret", f"must be a {SECRET}… secret")
