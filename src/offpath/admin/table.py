"""One row of the admin's table, and what it takes to pass: a permission, and then the caller's name on what is done."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..app.acting import acting
from ..core.checks import MAX_NAME
from ..errors import StoreUnavailable
from ..http.guard import ADMIN, Action, lacks
from ..http.messages import Refused, Request, Response
from ..http.operations import dumps, spread
from ..http.routes import Route
from ..http.service import Service
from ..observe import signal
from .schemas import PARAMETERS

if TYPE_CHECKING:
    from .facade import Admin

Handle = Callable[["Admin", Service, Request], Awaitable[Response]]

_IN_PATH = re.compile(r"\{(\w+)\}")
_READ = ("GET", "HEAD")


class Row(NamedTuple):
    """path: below the admin's own; parameters, refusals, takes and gives as of `http.routes.Route`.

    action   what has to be permitted; None: admin.read for a GET, admin.write for the others
    blind    of what it answers, all that is told to whoever may not look (admin.read): which thing was changed, and how
             it stands now. (): all of it
    """

    name: str
    methods: str
    path: str
    handle: Handle
    doc: str
    answers: Mapping[int, str]
    gives: Mapping[str, Any] | None = None
    takes: Mapping[str, Any] | None = None
    refusals: tuple[str, ...] = ()
    parameters: tuple[dict[str, Any], ...] = ()
    body: str = ""
    action: Action | None = None
    blind: tuple[str, ...] = ()


def demand(service: Service, request: Request, action: Action) -> None:
    """Refused (403) when the caller may not."""
    if lacks(action, request.caller, service.needs):
        named = {**ADMIN, **service.needs}[action]
        service.refuse("forbidden", f"It takes {action}, which is the permission {named!r} here.")


def bound(admin: Admin, row: Row) -> Route:
    """The row as the integrations mount it."""
    reads = row.methods.split()[0] in _READ
    action: Action = row.action or ("admin.read" if reads else "admin.write")
    inside = tuple(PARAMETERS[name] for name in _IN_PATH.findall(row.path))
    refusals = (*row.refusals, "forbidden", "token-in-url")
    if not reads or row.body == "events":
        refusals = (*refusals, "foreign-origin")
    return Route(
        row.name,
        row.methods,
        admin.path + row.path,
        partial(_pass, admin, row, action),
        row.doc,
        row.body,
        row.answers,
        tuple(dict.fromkeys(refusals)),
        (*inside, *row.parameters),
        takes=row.takes,
        gives=_given(row),
    )


async def _pass(admin: Admin, row: Row, action: Action, service: Service, request: Request) -> Response:
    demand(service, request, action)
    with acting(_name(request.caller.id), request.caller.tenant):
        try:
            response = await row.handle(admin, service, request)
        except StoreUnavailable as error:  # whoever may see all of it is told which database, and what is wrong with it
            signal("http.failed", route=admin.path, error=str(error))
            away = service.problems.problem("unavailable", str(error))
            raise Refused(away, ("Retry-After", str(spread(5, service.random())))) from error
    if row.blind and lacks("admin.read", request.caller, service.needs):
        shown = json.loads(response.body)
        response = replace(response, body=dumps({name: shown[name] for name in row.blind}).encode())
    return response


def _given(row: Row) -> Mapping[str, Any] | None:
    """What it answers, as the OpenAPI document has it."""
    if row.gives is None or not row.blind:
        return row.gives
    alone = f"Without the permission to look: {', '.join(row.blind)} alone."
    return {**row.gives, "required": list(row.blind), "description": alone}


def _name(caller: str) -> str:
    """Whatever an application calls its callers, as a name."""
    return "".join(c if c.isprintable() else "?" for c in caller)[:MAX_NAME]
