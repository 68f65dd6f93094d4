"""How SQLite answers each of our statements: no hot one may fall back to a scan or a sort when somebody edits it."""

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from offpath.ports import Store
from offpath.stores.sqlite.store import PACKAGE
from offpath.stores.statements import load
from tests.stores.kit import Hand, new_job, now, put, watched

SQL = load(PACKAGE)

SCANS = {
    "endpoint.all": "offpath_endpoint",  # one row for each endpoint, by pages
    "owners.erase_delivery": "offpath_delivery",  # erasure is rare, and walks every table by pages of its key
    "owners.erase_edge": "offpath_edge",
    "owners.erase_idempotency": "offpath_idempotency",
    "owners.erase_received": "offpath_inbox",
    "owners.erase_sending": "offpath_delivery",
    "owners.erase_ticket": "offpath_ticket",
    "owners.erase_window": "offpath_window",
    "owners.last_ticket": "offpath_ticket",
    "owners.living": "offpath_job",
    "owners.named_jobs": "offpath_job offpath_history",
    "owners.read_received": "offpath_inbox",
    "owners.running": "offpath_job",
    "owners.tenants": "offpath_job offpath_history offpath_operation offpath_endpoint",  # when an erasure finds nothing
    "recent.ended": "h",  # up to a limit
    "recent.running": "j offpath_job",  # an index on what runs would cost every claim and settle
    "stat.endpoints": "offpath_endpoint",  # up to a limit, as all of these
    "stat.failed": "offpath_history",
    "stat.limits": "offpath_limit",
    "stat.raised": "offpath_alert",
    "stat.schedules": "offpath_schedule",
    "stat.totals": "offpath_job",
    "stat.workers": "offpath_worker",  # one row for each worker
    "alert.all": "offpath_alert",  # one row for each rule
    "alert.alive": "offpath_worker",  # one row for each worker
    "alert.disabled": "offpath_endpoint",  # up to a limit
    "alert.off": "offpath_endpoint",  # the same, when there is something to tell
    "upkeep.held": "offpath_job",  # once for each dead worker; an index on worker would cost every settle (data model)
    "upkeep.orphaned": "offpath_job offpath_worker",  # once a minute
    "upkeep.counts": "offpath_job",
    "lease.gone": "offpath_job",  # once for each worker that leaves, before its row may go
    "lease.judge": "offpath_worker",  # one row for each worker
    "lease.lapsed": "offpath_worker",
    "lease.known": "offpath_worker",
    "schedule.alive": "offpath_worker",
    "doctor.workers": "offpath_worker",
    "bulk.live": "offpath_job",  # by id, newest first, for whoever changes many
    "bulk.live_count": "offpath_job",
    "bulk.ended": "offpath_history",
    "bulk.ended_count": "offpath_history",
    "bulk.failed": "offpath_history",  # the index that holds only these
    "bulk.failed_count": "offpath_history",
    "queue.counts": "offpath_job",
    "queue.paused": "offpath_queue",  # one row for each queue that was ever paused
    "delivery.anyone": "offpath_endpoint",  # its first row
    "outbox.backlog": "offpath_outbox",  # for the doctor
}
"""Statements that may walk through a table, and which."""

USES = {
    "outbox.own": "offpath_outbox_job (job=?)",
    "outbox.line": "offpath_outbox_line (shard=?)",
    "outbox.delete": "INTEGER PRIMARY KEY (rowid=?)",
    "outbox.waiting": "sqlite_autoindex_offpath_job_1 (id=?)",
    "outbox.take_back": "offpath_outbox_aside (id=? AND shard=?)",
    "outbox.there": "offpath_outbox_aside (id=? AND shard=?)",
    "outbox.erase": "offpath_outbox_job (job=?)",
    "outbox.lose": "offpath_outbox_look (look_at<?)",
    "outbox.spare": "offpath_outbox_look (look_at<?)",
    "outbox.ended": "sqlite_autoindex_offpath_history_1 (id=?)",
    "doctor.part": "sqlite_autoindex_offpath_job_1 (id>?)",
    "doctor.failed": "offpath_history_failing (finished_at>?)",
    "alert.failures": "offpath_history_failing (finished_at>?)",
    "alert.late": "offpath_schedule_next (next_at>? AND next_at<?)",
    "alert.move": "PRIMARY KEY (name=?)",
    "bulk.failed": "offpath_history_failed",
    "bulk.failed_count": "offpath_history_failed",
    "audit.all": "PRIMARY KEY (id<?)",
    "audit.actor": "offpath_audit_actor (actor=? AND id<?)",
    "audit.action": "offpath_audit_action (action=? AND id<?)",
    "audit.target": "offpath_audit_target (target=? AND id<?)",
    "audit.forget": "PRIMARY KEY (id<?)",
    "walk.live_floor": "sqlite_autoindex_offpath_job_1 (id<?)",
    "walk.finished_floor": "sqlite_autoindex_offpath_history_1 (id<?)",
    "walk.failed_floor": "offpath_history_failed (id<?)",
    "walk.live_count": "sqlite_autoindex_offpath_job_1 (id>? AND id<?)",
    "walk.finished_count": "sqlite_autoindex_offpath_history_1 (id>? AND id<?)",
    "walk.failed_count": "offpath_history_failed (id>? AND id<?)",
    "list_jobs.live": "sqlite_autoindex_offpath_job_1 (id>? AND id<?)",
    "list_jobs.finished": "sqlite_autoindex_offpath_history_1 (id>? AND id<?)",
    "bulk.held": "sqlite_autoindex_offpath_job_1 (id=?)",
    "bulk.letters": "sqlite_autoindex_offpath_history_1 (id=?)",
    "bulk.mark": "sqlite_autoindex_offpath_history_1 (id=?)",
    "bulk.history": "sqlite_autoindex_offpath_history_1 (id=?)",
    "bulk.operations": "sqlite_autoindex_offpath_operation_1 (id=?)",
    "claim.take": "offpath_job_ready (queue=?)",
    "queue.resume": "PRIMARY KEY (name=?)",
    "claim.promote": "offpath_job_due (run_at<?)",
    "limits.queues": "offpath_job_lane (queue>?)",
    "limits.scan": "offpath_job_lane (queue=? AND lane>?)",
    "limits.heads": "offpath_job_lane (queue=? AND lane=?)",
    "limits.runs": "offpath_job_held",
    "limits.rates": "PRIMARY KEY (bucket=?)",
    "limits.rules": "PRIMARY KEY (name=?)",
    "limits.take": "sqlite_autoindex_offpath_job_1 (id=?)",
    "limits.forget": "offpath_rate_tat (tat<?)",
    "claim.mark": "INTEGER PRIMARY KEY (rowid=?)",
    "settle.refused": "sqlite_autoindex_offpath_job_1 (id=?)",
    "settle.finish": "sqlite_autoindex_offpath_job_1 (id=?)",
    "settle.remove": "sqlite_autoindex_offpath_job_1 (id=?)",
    "settle.back": "sqlite_autoindex_offpath_job_1 (id=?)",
    "settle.operations": "sqlite_autoindex_offpath_operation_1 (id=?)",
    "settle.events": "sqlite_autoindex_offpath_operation_1 (id=?)",
    "progress.guard": "sqlite_autoindex_offpath_job_1 (id=?)",
    "enqueue.present": "offpath_job_key (task=? AND key=? AND behind=?)",
    "schedule.due": "offpath_schedule_next (next_at<?)",
    "schedule.next": "offpath_schedule_next (next_at>?)",
    "schedule.claim": "sqlite_autoindex_offpath_schedule_1 (name=?)",
    "schedule.advance": "sqlite_autoindex_offpath_schedule_1 (name=?)",
    "canceling": "offpath_job_canceling (worker=?)",
    "find.live": "sqlite_autoindex_offpath_job_1 (id=?)",
    "find.finished": "sqlite_autoindex_offpath_history_1 (id=?)",
    "operation.get": "sqlite_autoindex_offpath_operation_1 (id=?)",
    "operation.list": "offpath_operation_list (tenant=? AND owner=?",
    "operation.events": "PRIMARY KEY (job=? AND seq>?)",
    "upkeep.overdue": "offpath_job_deadline (deadline>? AND deadline<?)",
    "upkeep.spent": "offpath_history_expiry (expires_at<?)",
    "upkeep.fading": "offpath_operation_expiry (expires_at<?)",
    "upkeep.faded": "offpath_operation_expiry (expires_at<?)",
    "upkeep.next_due": "offpath_job_due",
    "upkeep.events": "PRIMARY KEY (job=?)",
    "list_jobs.failed": "offpath_history_failed (id>? AND id<?)",
    "idempotency.found": "sqlite_autoindex_offpath_idempotency_1 (scope=? AND key=?)",
    "idempotency.remember": "sqlite_autoindex_offpath_idempotency_1 (scope=? AND key=?)",
    "idempotency.release": "sqlite_autoindex_offpath_idempotency_1 (scope=? AND key=?)",
    "idempotency.forget": "offpath_idempotency_expiry (expires_at<?)",
    "ticket.take": "PRIMARY KEY (hash=?)",
    "ticket.forget": "offpath_ticket_expiry (expires_at<?)",
    "pressure.depth": "offpath_job_ready (queue=?)",
    "pressure.oldest": "offpath_job_ready (queue=? AND priority>?)",
    "pressure.oldest_of_each": "offpath_job_ready (queue=? AND priority>?)",
    "pressure.tenants": "offpath_job_ready (queue=?)",
    "pressure.live": "offpath_job_owner (owner=?)",
    "keys.look": "offpath_job_key (task=? AND key=?)",
    "keys.stranded": "offpath_job_behind",
    "keys.free": "sqlite_autoindex_offpath_job_1 (id=?)",
    "keys.replace": "sqlite_autoindex_offpath_job_1 (id=?)",
    "keys.behind": "sqlite_autoindex_offpath_job_1 (id=?)",
    "keys.forget": "offpath_window_free (free_at<?)",
    "inbox.ends": "offpath_job_line (line=?)",
    "inbox.stand": "sqlite_autoindex_offpath_job_1 (id=?)",
    "inbox.stranded": "offpath_job_in_line (line>?)",
    "inbox.free": "sqlite_autoindex_offpath_job_1 (id=?)",
    "inbox.depth": "offpath_job_in_line_queue (queue=?)",
    "inbox.letter": "sqlite_autoindex_offpath_letter_1 (id=?)",
    "inbox.erase": "offpath_letter_job (job=?)",
    "inbox.forget": "offpath_inbox_expiry (expires_at<?)",
    "inbox.lose": "offpath_job_key (task=? AND key=?",
    "inbox.spare": "offpath_letter_look (look_at<?)",
    "endpoint.list": "offpath_endpoint_owner (tenant=? AND owner=?",
    "delivery.audience": "offpath_endpoint_owner (tenant=? AND owner=?)",
    "delivery.again": "offpath_delivery_endpoint (endpoint=?",
    "delivery.queued": "offpath_delivery_pending (endpoint=?)",
    "delivery.attempts": "offpath_attempt_endpoint (endpoint=?",
    "delivery.attempts_back": "offpath_delivery_operation (operation=?)",
    "delivery.old": "offpath_delivery_age (created_at<?)",
}
"""Statements, and the index that they must search."""


@pytest.fixture(params=["as it is made", "with data", "analysed"])
def connection(request: pytest.FixtureRequest, store: Store, database: Path) -> Iterator[sqlite3.Connection]:
    if request.param != "as it is made":
        hand = Hand(store)
        put(store, *(watched(queue="a", key=str(n), deadline=now() + 10**9) for n in range(300)))
        put(store, *(new_job(queue="b", state=0) for _ in range(300)))
        hand.finish(*hand.claim(100, queues=(("a", 1),)))
        hand.claim(50, queues=(("a", 1),))
        hand.close()
    opened = sqlite3.connect(database)
    if request.param == "analysed":
        opened.execute("analyze")
    yield opened
    opened.close()


def plan(connection: sqlite3.Connection, name: str) -> list[str]:
    params: defaultdict[str, str] = defaultdict(lambda: "[]")
    return [str(row[3]) for row in connection.execute(f"explain query plan {SQL[name]}", params)]


def test_no_statement_scans_what_it_should_search(connection: sqlite3.Connection) -> None:
    for name in SQL:
        steps = plan(connection, name)
        scanned = {found[1] for step in steps if (found := re.match(r"SCAN (offpath_\w+|[johd])\b", step))}
        assert scanned <= set(SCANS.get(name, "").split()), (name, steps)


def test_the_indexes_they_must_use(connection: sqlite3.Connection) -> None:
    for name, index in USES.items():
        steps = plan(connection, name)
        assert any(index in step for step in steps), (name, steps)


def test_claiming_reads_jobs_in_the_order_of_the_index(connection: sqlite3.Connection) -> None:
    for name in (
        "claim.take",
        "claim.promote",
        "upkeep.overdue",
        "operation.list",
        "operation.events",
        "ticket.forget",
    ):
        assert not [step for step in plan(connection, name) if "TEMP B-TREE" in step], plan(connection, name)
