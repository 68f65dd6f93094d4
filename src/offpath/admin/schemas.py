"""What the OpenAPI document says of the admin API: small words to write JSON Schema with, and what several rows share.

A schema says what is there; clients must bear members it does not name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..core.job import State

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
ID: Schema = {"type": "string", "format": "uuid"}
ANYTHING: Schema = {}
STATES = tuple(state.name.lower() for state in State)


def maybe(schema: Schema) -> dict[str, Any]:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else dict(schema)


def object_(required: str = "", /, doc: str = "", **properties: Schema) -> dict[str, Any]:
    """`required`: names, or "*" for all of them."""
    made: dict[str, Any] = {"type": "object", "properties": properties}
    names: Iterable[str] = properties if required == "*" else required.split()
    return made | ({"required": list(names)} if required else {}) | ({"description": doc} if doc else {})


def list_(item: Schema, doc: str = "") -> dict[str, Any]:
    return {"type": "array", "items": item} | ({"description": doc} if doc else {})


def page(item: Schema) -> dict[str, Any]:
    """A page; the last has no `next_cursor`."""
    return object_("items", items=list_(item), next_cursor={**TEXT, "description": "Absent on the last page."})


def takes(schema: Schema, *, required: bool = False) -> dict[str, Any]:
    """A request body."""
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def query(name: str, doc: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": doc, "schema": schema or dict(TEXT)}


def in_path(name: str, schema: Schema = TEXT) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": dict(schema)}


PARAMETERS: Mapping[str, dict[str, Any]] = {
    "job_id": in_path("job_id", ID),
    "endpoint_id": in_path("endpoint_id", ID),
    "name": in_path("name"),
}
"""Those in paths, by name."""

PAGING = (
    query("limit", "How many at most; 0 or absent: 20; above 100: 100.", type="integer", minimum=0),
    query("cursor", "`next_cursor` of the page before, with the same filters."),
)
PAGED = ("invalid-parameter", "invalid-cursor")
"""What a list may refuse."""
BODIED = ("malformed-body", "invalid-arguments")
"""What a row that takes a body may refuse."""

FILTER = object_(
    "",
    "Which jobs: all that is given must hold, and something must be: `{}` is refused, as is null for all of it. To "
    "mean all: `state`. By default a retry means what failed, a cancel what lives, a delete what has ended; and a "
    "retry only what has not been run again yet, so `outstanding` cannot be false in it.",
    state={"type": ["string", "array", "null"], "items": {"type": "string", "enum": list(STATES)}},
    queue=maybe(TEXT),
    task=maybe(TEXT),
    owner={**maybe(TEXT), "description": "In every tenant."},
    key_prefix=maybe(TEXT),
    older_than={**maybe(NUMBER), "minimum": 0},
    error=maybe(TEXT),
    outstanding=maybe(FLAG),
)
ERROR = maybe(
    object_(
        "kind title",
        "Of a job that failed or was canceled.",
        kind=TEXT,
        title=TEXT,
        detail=TEXT,
        **{"class": TEXT, "traceback": TEXT},
    )
)
JOB = object_(
    "*",
    id=ID,
    task=TEXT,
    version=WHOLE,
    state={"type": "string", "enum": list(STATES)},
    queue=TEXT,
    priority=WHOLE,
    attempt={**WHOLE, "description": "1 + failures so far."},
    crashes={**WHOLE, "description": "Deliveries that ended in a dead worker."},
    created_at=TIME,
    run_at=TIME,
    deadline=maybe(TIME),
    finished_at=maybe(TIME),
    expires_at={**maybe(TIME), "description": "When it will be forgotten; null: never, or it has not ended."},
    key=maybe(TEXT),
    owner=maybe(TEXT),
    tenant=TEXT,
    worker=maybe(TEXT),
    canceling=FLAG,
    watched={**FLAG, "description": "It was started over HTTP, and keeps a log of its events."},
    flow={**maybe(ID), "description": "The flow it is a part of."},
    lane={**maybe(TEXT), "description": "The line of its limits."},
    retry_of=maybe(ID),
    error=ERROR,
)
