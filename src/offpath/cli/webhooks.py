"""`offpath webhooks endpoints|show|attempts|enable|disable|test|resend`: endpoints of all tenants. What is secret about
them (their secrets, the headers that their owners want sent) is sealed, and is not even opened here."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..app import Offpath
from ..app.acting import Said, recorded
from ..app.desk import fresh_id
from ..core import deliveries, redact
from ..core.checks import whole
from ..core.ids import is_id
from ..core.options import SECOND
from ..errors import ConfigurationError, Conflict, NotFound
from ..ports import Verb
from ..ports.webhooks import Again, AttemptRow, Change, DeliveryState, EndpointRow, NewDelivery
from . import filters, printing
from .target import opened
from .timeline import moment

ENDPOINTS = ("id", "tenant", "owner", "state", "events", "url", "failing_since")
ATTEMPTS = ("at", "event", "number", "status", "seconds", "state", "error", "delivery")
AT_ONCE = 1_000  # deliveries that one command sends again


def endpoints(options: argparse.Namespace) -> int:
    """The newest first."""
    limit = whole(options.limit, 1, 100_000, "--limit")
    if options.after is not None and not is_id(options.after):
        raise ConfigurationError(f"--after wants the id of an endpoint, not {options.after!r}")
    with opened(options) as jobs:
        verb = jobs.store.verbs.all_endpoints(options.tenant, options.enabled, options.after, limit)
        rows = [plain(row) for row in jobs.store.read(verb).result()]
    people = rows if options.json else [row | {"events": ", ".join(row["events"])} for row in rows]
    printing.table(people, ENDPOINTS, "no endpoints", to_json=options.json)
    return 0


def show(options: argparse.Namespace) -> int:
    with opened(options) as jobs:
        printing.record(plain(_found(jobs, options.id)), options.json)
    return 0


def attempts(options: argparse.Namespace) -> int:
    """The newest first."""
    limit = whole(options.limit, 1, 100_000, "--limit")
    with opened(options) as jobs:
        one = _found(jobs, options.id)
        found = jobs.store.read(jobs.store.verbs.attempts(one.id, None, None, limit)).result()
    printing.table([attempt(row) for row in found], ATTEMPTS, "nothing was sent to it", to_json=options.json)
    return 0


def enable(options: argparse.Namespace) -> int:
    """One that is enabled stays as it is."""

    def on(row: EndpointRow, now: int) -> EndpointRow:
        fresh = row._replace(enabled=True, reason=None, failing_since=None, not_before=None, updated_at=now)
        return row if row.enabled else fresh

    return _change(options, on, "endpoint.enable", "is enabled")


def disable(options: argparse.Namespace) -> int:
    """One that is disabled stays as it is, with its reason."""
    reason = deliveries.by_hand(deliveries.OPERATOR, options.reason)

    def off(row: EndpointRow, now: int) -> EndpointRow:
        return row._replace(enabled=False, reason=reason, updated_at=now) if row.enabled else row

    return _change(options, off, "endpoint.disable", "is disabled")


def test(options: argparse.Namespace) -> int:
    """Enqueue a test delivery; `attempts` says what became of it. 1 when the endpoint is disabled."""
    with opened(options) as jobs:
        row, verbs = _found(jobs, options.id), jobs.store.verbs
        if not row.enabled:
            raise Conflict(f"endpoint {row.id} is disabled ({row.reason}): enable it first")
        body = json.dumps({"endpoint": row.id, "message": "This is a test."})
        new = NewDelivery(fresh_id(jobs.store.now()), row.id, None, deliveries.TEST, 0, body)
        make = recorded(jobs.store, lambda: verbs.send([new]), "endpoint.test", row.id, lambda _: {"delivery": new.id})
        jobs.store.perform(make).result()
    if options.json:
        printing.as_json({"endpoint": row.id, "delivery": new.id})
    else:
        print(f"a test is on its way to {row.id}: delivery {new.id}")
    return 0


def resend(options: argparse.Namespace) -> int:
    """Send again what has ended; 1 when the endpoint is disabled, or there is no such delivery."""
    for name in ("delivery", "operation"):
        said = getattr(options, name)
        if said is not None and not is_id(said):
            raise ConfigurationError(f"--{name} wants an id, not {said!r}")
    with opened(options) as jobs:
        row, store = _found(jobs, options.id), jobs.store
        since = None
        if options.since is not None:
            since = store.now() - round(filters.duration(options.since, "--since") * SECOND)
        which = Again(options.delivery, options.operation, since)

        def make() -> Verb[list[str] | None]:
            return store.verbs.send_again(row.id, row.tenant, row.owner, which, AT_ONCE)

        said = {name: getattr(options, name) for name in ("delivery", "operation", "since") if getattr(options, name)}

        def says(sent: list[str] | None) -> Said | None:
            return {**said, "deliveries": len(sent)} if sent else None

        sent = store.perform(recorded(store, make, "endpoint.resend", row.id, says)).result() or []
    if options.delivery is not None and not sent:
        raise NotFound(f"endpoint {row.id} has no delivery {options.delivery} that has ended")
    if options.json:
        printing.as_json({"endpoint": row.id, "deliveries": sent, "more": len(sent) == AT_ONCE})
    else:
        more = "; there may be more: say it again" if len(sent) == AT_ONCE else ""
        print(f"{len(sent):,} {'delivery' if len(sent) == 1 else 'deliveries'} sent again{more}")
    return 0


def _change(options: argparse.Namespace, change: Change, action: str, what: str) -> int:
    with opened(options) as jobs:
        row, store = _found(jobs, options.id), jobs.store

        def make() -> Verb[EndpointRow | None]:
            return store.verbs.change_endpoint(row.id, row.tenant, row.owner, change)

        def says(after: EndpointRow | None) -> Said | None:
            return None if after is None or after.enabled == row.enabled else {"reason": after.reason}

        after = store.perform(recorded(store, make, action, row.id, says)).result()
    if after is None:
        raise NotFound(f"no endpoint {options.id}")
    if options.json:
        printing.as_json(plain(after))
    else:
        print(f"{after.id} {what}")
    return 0


def _found(jobs: Offpath, id: str) -> EndpointRow:
    row = jobs.store.read(jobs.store.verbs.any_endpoint(id)).result() if is_id(id) else None
    if row is None:
        raise NotFound(f"no endpoint {id}")
    return row


def plain(row: EndpointRow) -> dict[str, Any]:
    """Without what is sealed; `headers`: whether there are any."""
    return {
        "id": row.id,
        "tenant": row.tenant,
        "owner": row.owner,
        "url": redact.place(row.url),
        "description": row.description,
        "events": json.loads(row.events),
        "headers": row.headers is not None,
        "state": "enabled" if row.enabled else "disabled",
        "reason": row.reason,
        "failing_since": moment(row.failing_since),
        "not_before": moment(row.not_before),
        "width": row.width,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def attempt(row: AttemptRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": moment(row.at),
        "delivery": row.delivery,
        "event": row.event,
        "operation": row.operation,
        "number": row.number,
        "status": row.status,
        "seconds": round(row.latency / SECOND, 3),
        "state": DeliveryState(row.state).name.lower(),
        "error": row.error,
        "snippet": row.snippet,
    }
