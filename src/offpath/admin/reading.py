"""What clients of the admin API send: filters of jobs, cursors, ids, bodies. What does not fit is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..core import selection
from ..core.ids import is_id
from ..core.selection import JobFilter
from ..errors import ConfigurationError
from ..http.messages import Request
from ..http.operations import dumps
from ..http.reading import limit_of, open_cursor, query_of, wrong
from ..http.service import Service

FILTERS = selection.PARTS
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


def job_id(service: Service, request: Request) -> str:
    """The id in the path; what is none names no job."""
    id = request.params["job_id"]
    if not is_id(id):
        service.refuse("no-job")
    return id


def which(service: Service, query: Mapping[str, str], states: Iterable[str] = ()) -> dict[str, Any]:
    """The filters of a list, as `core.selection.select` takes them."""
    said: dict[str, Any] = {name: query[name] for name in FILTERS if name in query}
    if "state" in said:
        said["state"] = sorted({word for value in states for word in value.split(",")})
    if "older_than" in said:
        if _SECONDS.fullmatch(said["older_than"]) is None:
            service.refuse("invalid-parameter", "older_than: must be a number of seconds, as in 3600")
        said["older_than"] = float(said["older_than"])
    if "outstanding" in said:
        if said["outstanding"] not in ("true", "false"):
            service.refuse("invalid-parameter", "outstanding: must be true or false")
        said["outstanding"] = said["outstanding"] == "true"
    return said


def filter_of(service: Service, said: Mapping[str, Any], now: int) -> JobFilter:
    """Of a query. Refused (400) for what means nothing."""
    try:
        return selection.select(said, now)
    except ConfigurationError as error:
        service.refuse("invalid-parameter", str(error))


def flag_of(service: Service, query: Mapping[str, str], name: str) -> bool:
    if query.get(name, "false") not in ("true", "false"):
        service.refuse("invalid-parameter", f"{name}: must be true or false")
    return query.get(name) == "true"


def asked(service: Service, request: Request, known: Iterable[str]) -> dict[str, str]:
    """The query by name; several `state` are one list (see `which`)."""
    names = tuple(known)
    merged = [(name, value) for name, value in request.query if name == "state"]
    if "state" not in names or len(merged) < 2:
        return query_of(service, request, names)
    for name, value in request.query:
        if name not in names or "\x00" in value:
            query_of(service, request, names)  # refuses it
    rest = [(name, value) for name, value in request.query if name != "state"]
    seen = [name for name, _ in rest]
    if twice := next((name for name in seen if seen.count(name) > 1), None):
        service.refuse("invalid-parameter", f"{twice}: given twice")
    return {**dict(rest), "state": merged[-1][1]}


def filters(service: Service, body: Mapping[str, Any]) -> dict[str, Any]:
    """`filter` of a body. Refused (422) for what means nothing; that it means something is seen by whoever uses it."""
    said = body.get("filter")
    if not isinstance(said, dict):
        wrong(service, "filter", "must be an object: which jobs")
    states = said.get("state", "")
    if not isinstance(states, str | None) and not _texts(states):
        wrong(service, "filter/state", "must be a state, or a list of them")
    if isinstance(age := said.get("older_than"), bool) or not isinstance(age, int | float | None):
        wrong(service, "filter/older_than", "must be a number of seconds")
    return {name: value for name, value in said.items() if value is not None}


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


# ── pages whose mark is an id ────────────────────────────────────────────────────────────────────────────────────────


def begin(service: Service, query: Mapping[str, str], bound: tuple[str, ...]) -> tuple[str | None, int]:
    """(the last id of the page before, how many)."""
    limit = limit_of(service, query.get("limit"))
    if "cursor" not in query:
        return None, limit
    text = f"{open_cursor(service, query['cursor'], bound):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])), limit


def paged(service: Service, items: list[Any], last: str | None, bound: tuple[str, ...]) -> str:
    """A page as JSON text; `last`: the id of its last item, when there is another page."""
    body: dict[str, Any] = {"items": items}
    if last is not None:
        body["next_cursor"] = cursor(service, last, bound)
    return dumps(body)


def cursor(service: Service, last: str, bound: tuple[str, ...]) -> str:
    """Of the page after this id."""
    return service.cursors.seal(int(last.replace("-", ""), 16), bound)
