"""Reading what a client sent: query parameters, cursors, bodies. What does not fit is refused by name."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, NoReturn

from ..core.checks import check_name
from ..core.options import moment as micros
from ..errors import ConfigurationError
from .cursor import BadCursor
from .messages import Refused, Request
from .problems import plain
from .service import Service

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
JSON = ("application/json",)
MERGE = (*JSON, "application/merge-patch+json")
CANCELED = "requested by its owner"
_WHOLE = re.compile(r"(-?)0*([0-9]+)")


async def members(
    service: Service, request: Request, known: str | None = None, *, optional: bool, types: tuple[str, ...] = JSON
) -> dict[str, Any]:
    """The body: a JSON object. `known`: its members, by name; None: any. `optional`: or none at all."""
    raw = await request.body()
    if optional and not raw.strip():
        return {}
    if (request.header("content-type") or "").partition(";")[0].strip().lower() not in types:
        raise Refused(plain(415, f"the body is sent as {types[0]}"))
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        service.refuse("malformed-body")
    if not isinstance(body, dict):
        wrong(service, "", "must be an object")
    if known is not None and (unknown := [name for name in body if name not in known.split()]):
        wrong(
            service,
            "",
            f"has a member that is {'none of ' + known if known else 'not known here'}: {ascii(unknown[0])[:80]}",
        )
    return body


def wrong(service: Service, member: str, why: str) -> NoReturn:
    """422 for one member of the body; "" for all of it."""
    raise Refused(service.problems.invalid([(f"#/{member}" if member else "#", why)]))


async def reason_of(service: Service, request: Request) -> str:
    """The optional body of a cancel: {"reason": text}."""
    body = await members(service, request, optional=True)
    try:
        return check_name(body.get("reason", CANCELED), "reason")
    except ConfigurationError as error:
        wrong(service, "reason", str(error))


def query_of(service: Service, request: Request, known: tuple[str, ...]) -> dict[str, str]:
    """Parameters by name; unknown ones and repeated ones (but for `status`) are 400."""
    query: dict[str, str] = {}
    for name, value in request.query:
        if name not in known:
            service.refuse("invalid-parameter", f"{_short(name)}: there is no such parameter")
        if name in query and name != "status":
            service.refuse("invalid-parameter", f"{name}: given twice")
        if "\x00" in value:
            service.refuse("invalid-parameter", f"{name}: contains a NUL character")
        query[name] = value
    return query


def limit_of(service: Service, text: str | None, usual: int = DEFAULT_LIMIT, most: int = MAX_LIMIT) -> int:
    if text is None or text == "":
        return usual
    match = _WHOLE.fullmatch(text)
    if match is None or (match[1] and match[2] != "0"):
        service.refuse("invalid-parameter", f"limit: must be a whole number of 0 or more, not {_short(text)}")
    return min(int(match[2][:9]), most) or usual  # nine digits are beyond the cap already


def moment_of(service: Service, query: dict[str, str], name: str) -> int | None:
    if name not in query:
        return None
    try:
        return micros(datetime.fromisoformat(query[name].replace(" ", "+")), name)
    except (ValueError, ConfigurationError, OverflowError):
        service.refuse("invalid-parameter", f"{name}: must be a time with its offset, as in 2026-11-21T09:00:00Z")


def open_cursor(service: Service, cursor: str, bound: tuple[str, ...]) -> int:
    try:
        return service.cursors.open(cursor, bound)
    except BadCursor:
        service.refuse("invalid-cursor")


def open_name(service: Service, cursor: str, bound: tuple[str, ...]) -> str:
    try:
        return service.cursors.open_text(cursor, bound)
    except BadCursor:
        service.refuse("invalid-cursor")


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else shown[:57] + "…"
