"""Alerts, and what the doctor says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..app.doctor import LONG, examine
from ..core.alerts import KINDS, Rule
from ..http.messages import Request, Response, json_response
from ..http.operations import dumps, moment
from ..http.service import Service
from ..ports.stats import Raised
from .reading import asked
from .schemas import NUMBER, TEXT, TIME, list_, maybe, object_
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin

BUDGET = 0.05  # s that live jobs are looked at


def version() -> str:
    from .. import __version__

    return __version__


def alert(service: Service, row: Raised) -> dict[str, Any]:
    """One that rings. Of a rule that this process does not know (another version of the application has it) only
    the row is told."""
    rule = next((one for one in service.jobs.registry.alerts if one.name == row.name), None)
    return {
        "name": row.name,
        "kind": None if rule is None else rule.kind,
        "queue": None if rule is None else rule.queue,
        "task": None if rule is None else rule.task,
        "value": row.value if rule is None else _told(rule, row.value),
        "above": None if rule is None else _told(rule, rule.above),
        "raised_at": moment(row.raised_at),
    }


def _told(rule: Rule, value: int) -> float:
    """In the unit of what it watches: seconds, shares of one, or simply how many."""
    unit = KINDS[rule.kind].unit
    return value if unit == 1 else value / unit


async def alerts(admin: Admin, service: Service, request: Request) -> Response:
    """Those that ring, the newest first."""
    asked(service, request, ())
    raised = await service.store.read(service.store.verbs.raised())
    raised.sort(key=lambda row: row.raised_at, reverse=True)
    rules = [
        {"name": rule.name, "kind": rule.kind, "queue": rule.queue, "task": rule.task, "above": _told(rule, rule.above)}
        for rule in service.jobs.registry.alerts
    ]
    return json_response(200, dumps({"items": [alert(service, row) for row in raised], "rules": rules}))


async def doctor(admin: Admin, service: Service, request: Request) -> Response:
    asked(service, request, ())
    checks = await asyncio.to_thread(examine, service.jobs, LONG, BUDGET)
    return json_response(200, dumps({"checks": [check._asdict() for check in checks]}))


ALERT = object_(
    "*",
    name=TEXT,
    kind=maybe(TEXT),
    queue=maybe(TEXT),
    task=maybe(TEXT),
    value={
        **NUMBER,
        "description": "That it was raised with, not what it is by now; ages are in seconds, a rate is a share of 1.",
    },
    above=maybe(NUMBER),
    raised_at=TIME,
)
_RULE = object_("*", name=TEXT, kind=TEXT, queue=maybe(TEXT), task=maybe(TEXT), above=NUMBER)
_CHECK = object_(
    "*",
    check=TEXT,
    state={"type": "string", "enum": ["ok", "warning", "problem"]},
    detail=TEXT,
    remedy={**maybe(TEXT), "description": "What to do about it; null: nothing."},
)
ROWS = (
    Row(
        "admin_list_alerts", "GET HEAD", "/alerts", alerts, "Alerts that ring, newest first, and the rules there are",
        {200: "All of them."}, object_("*", items=list_(ALERT), rules=list_(_RULE)), refusals=("invalid-parameter",),
    ),
    Row(
        "admin_doctor", "GET HEAD", "/doctor", doctor, "What is wrong, and what to do about it",
        {200: "One line for each thing that was looked at. Of very many live jobs only the oldest are looked at here."},
        object_("*", checks=list_(_CHECK)), refusals=("invalid-parameter",),
    ),
)  # fmt: skip
