"""The audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import redact
from ..core.audit import ACTIONS, ActRow, acts
from ..errors import ConfigurationError
from ..http.messages import Request, Response, json_response
from ..http.operations import moment
from ..http.service import Service
from .reading import asked, begin, paged
from .schemas import ID, PAGED, PAGING, TEXT, TIME, maybe, object_, page, query
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin

FILTERS = ("actor", "action", "target")


async def listed(admin: Admin, service: Service, request: Request) -> Response:
    """Newest first, by pages."""
    query = asked(service, request, (*FILTERS, "limit", "cursor"))
    given = [query.get(name) for name in FILTERS]
    try:
        where = acts(*given)
    except ConfigurationError as error:
        service.refuse("invalid-parameter", str(error))
    bound = ("admin audit", *(repr(one) for one in given))
    after, limit = begin(service, query, bound)
    rows = await service.store.read(service.store.verbs.acts(where, after, limit + 1))
    last = rows[limit - 1].id if len(rows) > limit else None
    return json_response(200, paged(service, [_entry(row) for row in rows[:limit]], last, bound))


def _entry(row: ActRow) -> dict[str, Any]:
    data = redact.plain(row.data)
    return {
        "id": row.id,
        "at": moment(row.at),
        "actor": row.actor,
        "tenant": row.tenant,
        "action": row.action,
        "said": ACTIONS.get(row.action, ""),
        "target": row.target,
        "data": data if isinstance(data, dict) else {},
    }


_ENTRY = object_(
    "*",
    id=ID,
    at=TIME,
    actor=TEXT,
    tenant={**maybe(TEXT), "description": "The actor's; null: of none, as at the command line."},
    action={**TEXT, "description": "What was done: " + ", ".join(ACTIONS)},
    said={**TEXT, "description": "The same in words."},
    target={**TEXT, "description": "A job's or an endpoint's id, a queue's or a schedule's name; or none."},
    data={"type": "object"},
)
ROWS = (
    Row(
        "admin_list_acts", "GET HEAD", "/audit", listed, "Who has done what, newest first", {200: "A page."},
        page(_ENTRY), refusals=PAGED,
        parameters=(
            query("actor", "Who."),
            query("action", "What.", type="string", enum=list(ACTIONS)),
            query("target", "To what."),
            *PAGING,
        ),
    ),
)  # fmt: skip
