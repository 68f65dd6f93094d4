"""Everything that is kept of one owner: told, and erased page by page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core import bulk
from ..ports import Statement, Verb
from ..ports.owners import Living, Owner, Swept, Where
from . import rows
from .shared import SharedVerbs

# The columns that `owners.sql` reads, by kind ("kind" itself is what each row is told with).
_JOB = (
    *("id", "task", "version", "args", "queue", "priority"),
    *("state", "run_at", "deadline", "key", "attempt", "crashes", "owner", "options", "retry_of"),
    *("cancel_at", "cancel_reason", "flow"),
)
_ENDED = (
    *("id", "task", "version", "args", "queue", "priority", "state", "run_at", "key", "attempt", "crashes", "owner"),
    *("options", "retry_of", "result", "error", "finished_at", "expires_at", "flow"),
)
_BY_JOB: dict[str, tuple[str, ...]] = {
    "job": _JOB,
    "ended": _ENDED,
    "operation": (
        *("id", "tenant", "owner", "task", "label", "state", "progress"),
        *("created_at", "updated_at", "started_at", "finished_at"),
    ),
    "event": ("job", "seq", "type", "at", "data"),
    "step": ("job", "name", "result", "at"),
    "attempt": ("job", "attempt", "worker", "started_at", "ended_at", "ended", "error"),
    "letter": ("id", "job", "task", "broker", "source", "place", "size", "digest", "message", "at"),
    "message": ("id", "job", "address", "subject", "message", "created_at"),
    "received": ("task", "source", "id", "job", "at"),
}
_BY_OWNER: dict[str, tuple[str, ...]] = {
    "endpoint": ("id", "tenant", "owner", "url", "description", "events", "enabled", "reason", "created_at"),
    "idempotency": ("key", "status", "headers", "body", "operation", "expires_at"),
    "audit": ("id", "at", "actor", "action", "target", "data"),
}
_BY_BOTH: dict[str, tuple[str, ...]] = {
    "delivery": ("id", "message", "job", "endpoint", "operation", "event", "body", "state", "attempts", "created_at"),
    "sending": ("id", "delivery", "endpoint", "number", "at", "status", "latency", "error", "snippet"),
}
_WITH_JOBS = (
    *("window", "event", "step", "attempt", "letter", "received", "message", "ticket", "idempotency", "edge"),
    *("sending", "delivery", "operation", "ended", "job", "audit"),  # rows of jobs at the end: the others look at them
)
_AT_LAST = ("sending", "delivery", "endpoint", "idempotency", "ticket", "audit")
_NAMES = {"ended": "job"}
_GONE = {**_NAMES, "audit": "renamed"}
SENDERS = 500


class OwnerVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def living(self, owner: Owner) -> Verb[Living]:
        found: list[tuple[int, int]] = yield self._of("living", _params(owner))
        return Living(*found[0])

    def tenants(self, name: str) -> Verb[list[str]]:
        found: list[str] = yield Statement(self.sql["owners.tenants"], {"owner": name}, rows.column)
        return found

    def running_of(self, owner: Owner, limit: int) -> Verb[list[str]]:
        found: list[str] = yield Statement(
            self.sql["owners.running"], _asked(self.sql, "running", {**_params(owner), "limit": limit}), rows.column
        )
        return found

    def owned(self, owner: Owner, where: Where, after: str | None, limit: int) -> Verb[list[str]]:
        params = {**_params(owner), "after": after, "limit": limit}
        found: list[str] = yield Statement(self.sql[f"owners.{where}"], _asked(self.sql, where, params), rows.column)
        return found

    def kin(self, ids: Sequence[str]) -> Verb[list[str]]:
        found: list[str] = yield Statement(self.sql["owners.kin"], {"ids": rows.dumps(list(ids))}, rows.column)
        return [id for id in found if id not in set(ids)]

    # ── told ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def told(self, ids: Sequence[str]) -> Verb[list[tuple[str, dict[str, Any]]]]:
        told: list[tuple[str, dict[str, Any]]] = []
        for kind, names in _BY_JOB.items():
            found: list[Sequence[Any]] = yield self._of(f"read_{kind}", {"ids": rows.dumps(list(ids))})
            told += [(_NAMES.get(kind, kind), dict(zip(names, row, strict=True))) for row in found]
        told += yield from self._sent({"ids": rows.dumps(list(ids)), "tenant": "", "owner": "\n"})
        return told

    def told_of(self, owner: Owner) -> Verb[list[tuple[str, dict[str, Any]]]]:
        told: list[tuple[str, dict[str, Any]]] = []
        for kind, names in _BY_OWNER.items():
            found: list[Sequence[Any]] = yield self._of(f"read_{kind}", _params(owner))
            told += [(kind, dict(zip(names, row, strict=True))) for row in found]
        told += yield from self._sent({**_params(owner), "ids": "[]"})
        return told

    def _sent(self, params: dict[str, Any]) -> Verb[list[tuple[str, dict[str, Any]]]]:
        told: list[tuple[str, dict[str, Any]]] = []
        for kind, names in _BY_BOTH.items():
            found: list[Sequence[Any]] = yield self._of(f"read_{kind}", params)
            told += [(kind, dict(zip(names, row, strict=True))) for row in found]
        return told

    # ── erased ───────────────────────────────────────────────────────────────────────────────────────────────────

    def sweep(self, owner: Owner, where: Where, after: str | None, limit: int) -> Verb[Swept]:
        ids = yield from self.owned(owner, where, after, limit)
        gone = yield from self._erase_all(ids)
        return Swept(gone, ids[-1] if len(ids) == limit else None)

    def _erase_all(self, ids: Sequence[str]) -> Verb[dict[str, int]]:
        """Also what belongs to them, and to that: a flow's part may be a flow."""
        whole = list(ids)
        more = whole
        while more and (more := [id for id in (yield from self.kin(more)) if id not in set(whole)]):
            whole += more
        gone: dict[str, int] = {}
        if whole:
            params = {"ids": rows.dumps(whole)}
            for lock in ("owners.hold_flows", "owners.hold"):
                yield Statement(self.sql[lock], params, rows.nothing)
            for kind in _WITH_JOBS:
                yield from self._count(gone, f"erase_{kind}", kind, params)
        return gone

    def naming(self, owner: Owner) -> Verb[list[tuple[str, str]]]:
        """Walks through all jobs, so it is a read of its own."""
        found: list[Sequence[Any]] = yield self._of("named_jobs", {})
        return [(id, args) for id, args in found if bulk.unnamed(args, owner.id, "") is not None]

    def _rename(self, owner: Owner, name: str, naming: Sequence[tuple[str, str]]) -> Verb[int]:
        jobs = [(id, bulk.unnamed(args, owner.id, name)) for id, args in naming]
        if jobs:
            for where in ("live", "ended"):
                yield Statement(self.sql[f"owners.rename_{where}"], {"rows": rows.dumps(jobs)}, rows.nothing)
        asked = {"owner": owner.id, "quoted": rows.dumps(owner.id)}
        found: list[Sequence[Any]] = yield self._of("named_lines", asked)
        lines: list[tuple[str, str, str]] = []
        for id, action, target, data in found:
            if action != "owner.export":
                said = bulk.unnamed(data, owner.id, name)
                lines += [] if said is None else [(id, target, said)]
            elif json.loads(data).get("tenant") == owner.tenant:
                lines.append((id, name, data))
        if lines:
            yield Statement(self.sql["owners.rename_lines"], {"rows": rows.dumps(lines)}, rows.nothing)
        return len(jobs) + len(lines)

    def sweep_rest(self, owner: Owner, name: str, naming: Sequence[tuple[str, str]] = ()) -> Verb[Mapping[str, int]]:
        params = {**_params(owner), "hash": name}
        gone: dict[str, int] = {}
        while senders := (
            yield Statement(
                self.sql["owners.senders"],
                _asked(self.sql, "senders", {**_params(owner), "limit": SENDERS}),
                rows.column,
            )
        ):
            for kind, count in (yield from self._erase_all(senders)).items():
                gone[kind] = gone.get(kind, 0) + count
        for kind in _AT_LAST:
            yield from self._count(gone, f"last_{kind}", kind, params)
        if renamed := (yield from self._rename(owner, name, naming)):
            gone["renamed"] = gone.get("renamed", 0) + renamed
        return gone

    def _count(self, gone: dict[str, int], statement: str, kind: str, params: Mapping[str, Any]) -> Verb[None]:
        count: int = yield Statement(self.sql[f"owners.{statement}"], _asked(self.sql, statement, params), len)
        if count:
            name = _GONE.get(kind, kind)
            gone[name] = gone.get(name, 0) + count

    def _of(self, statement: str, params: Mapping[str, Any]) -> Statement:
        return Statement(self.sql[f"owners.{statement}"], _asked(self.sql, statement, params), rows.plain)


def _asked(sql: Mapping[str, str], statement: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters, those that the statement has."""
    text = sql[f"owners.{statement}"]
    return {name: value for name, value in params.items() if f":{name}" in text}


def _params(owner: Owner) -> dict[str, Any]:
    """`scope`: how requests with an Idempotency-Key say whose they are."""
    return {
        "owner": owner.id,
        "tenant": owner.tenant,
        "scope": json.dumps([owner.tenant, owner.id], separators=(",", ":")),
    }
