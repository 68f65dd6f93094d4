"""The graph of a flow on the wire. Pure.

{"id", "parts": [{"id", "kind", "status"}], "edges": [{"parent", "child", "policy", "race"}]}: `kind` and `status` as of
an operation (kind null: forgotten by now); an edge whose `child` is the operation's own id leads to its end.
"""

from __future__ import annotations

from typing import Any

from ..core.job import State
from ..ports import OperationRow
from ..ports.flows import FlowRows
from ..tasks import FlowInfo, flow_info
from .operations import STATUSES, status

_ID = {"type": "string", "format": "uuid"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["id", "parts", "edges"],
    "properties": {
        "id": _ID,
        "parts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "kind", "status"],
                "properties": {
                    "id": _ID,
                    "kind": {"type": ["string", "null"]},
                    "status": {"type": "string", "enum": [*STATUSES, "waiting", "forgotten"]},
                },
            },
        },
        "edges": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["parent", "child", "policy", "race"],
                "properties": {
                    "parent": _ID,
                    "child": _ID,
                    "policy": {"type": "string", "enum": ["cancel", "continue", "catch"]},
                    "race": {"type": "boolean"},
                },
            },
        },
    },
}
_QUEUED = {State.SCHEDULED.name.lower(): "queued", State.READY.name.lower(): "queued"}


def document(row: OperationRow, rows: FlowRows | None) -> dict[str, Any]:
    if rows is None:
        return {"id": row.id, "parts": [{"id": row.id, "kind": row.kind, "status": status(row)}], "edges": []}
    return shown(flow_info(row.id, rows))


def word(state: str) -> str:
    """A job's state as the status of a part."""
    return _QUEUED.get(state, state)


def shown(info: FlowInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "parts": [{"id": part.id, "kind": part.task, "status": word(part.state)} for part in info.parts],
        "edges": [
            {"parent": edge.parent, "child": edge.child, "policy": edge.policy, "race": edge.race}
            for edge in info.edges
        ],
    }
