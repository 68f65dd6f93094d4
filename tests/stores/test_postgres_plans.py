"""How PostgreSQL answers each of our statements on the engine's own connections: no hot one may fall back to a scan, a
sort or a join that reads a whole table when somebody edits it. The plans are generic: the same for all parameters.
"""

import contextlib
import re
from typing import Any

import asyncpg
import pytest

from offpath.core.outcome import Done
from offpath.engine.transaction import _aside
from offpath.ports import Statement, Store
from offpath.ports.inbox import Entry
from offpath.stores import rows
from offpath.stores.postgres.address import parse
from offpath.stores.postgres.session import SETTINGS, connect
from offpath.stores.postgres.store import PACKAGE
from offpath.stores.statements import load, numbered
from tests.stores.kit import Hand, change, new_job, now, perform, put, watched

SQL = {name: text for name, text in load(PACKAGE).items() if not name.startswith("partition.")}

INDEX = re.compile(r"Index (?:Only )?Scan(?: Backward)? using (\w+)")

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
    "claim.mine": "offpath_job",  # after a claim's answer was lost
    "upkeep.held": "offpath_job",  # once for each dead worker; an index on worker would cost every settle (data model)
    "upkeep.orphaned": "offpath_job",  # once a minute
    "upkeep.counts": "offpath_job",
    "lease.gone": "offpath_job",  # once for each worker that leaves, before its row may go
    "lease.judge": "offpath_worker",  # one row for each worker
    "lease.lapsed": "offpath_worker",
    "lease.known": "offpath_worker",
    "schedule.alive": "offpath_worker",
    "home": "offpath_home",  # one row
    "queue.counts": "offpath_job",
    "queue.paused": "offpath_queue",  # one row for each queue that was ever paused
    "doctor.workers": "offpath_worker",
}
"""Statements that may walk through a table, and which."""

CLAIM = (
    "offpath_job_ready offpath_job_delicate offpath_job_due offpath_operation_pkey offpath_worker_pkey "
    "offpath_queue_pkey"
)
USES = {
    "claim.lanes": CLAIM,
    "claim.sweep": CLAIM,
    "claim.promote": "offpath_job_due offpath_job_pkey",
    "settle.end": "offpath_job_pkey",
    "settle.refused": "offpath_job_pkey",
    "settle.finish": "offpath_job_pkey",
    "settle.remove": "offpath_job_pkey",
    "settle.remove_one": "offpath_job_pkey",
    "settle.back": "offpath_job_pkey",
    "settle.operations": "offpath_operation_pkey",
    "settle.events": "offpath_operation_pkey",
    "settle.operations_one": "offpath_operation_pkey",
    "settle.events_one": "offpath_operation_pkey",
    "settle.written": "offpath_job_pkey offpath_history_never_pkey",
    "progress.guard": "offpath_job_pkey",
    "enqueue.present": "offpath_job_key",
    "enqueue.ended": "offpath_history_never_pkey",
    "enqueue.seen": "offpath_job_pkey offpath_history_never_pkey",
    "enqueue.undo": "offpath_job_pkey",
    "keys.look": "offpath_job_key offpath_window_pkey",
    "keys.stranded": "offpath_job_behind offpath_job_key",
    "inbox.stranded": "offpath_job_in_line offpath_job_line",
    "inbox.depth": "offpath_job_in_line_queue",
    "keys.free": "offpath_job_pkey offpath_job_key",
    "keys.replace": "offpath_job_pkey",
    "keys.behind": "offpath_job_pkey",
    "keys.forget": "offpath_window_free",
    "canceling": "offpath_job_canceling",
    "find.live": "offpath_job_pkey",
    "find.held": "offpath_job_pkey",
    "find.finished": "offpath_history_never_pkey",
    "list_jobs.live": "offpath_job_pkey",
    "list_jobs.finished": "offpath_history_never_pkey",
    "list_jobs.failed": "offpath_history_never_id_idx",
    "operation.get": "offpath_operation_pkey offpath_job_pkey offpath_history_never_pkey",
    "operation.list": "offpath_operation_list offpath_job_pkey offpath_history_never_pkey",
    "operation.events": "offpath_event_pkey",
    "doctor.part": "offpath_job_pkey",
    "doctor.failed": "offpath_history_never_finished_at_idx",
    "alert.failures": "offpath_history_never_finished_at_idx",
    "alert.late": "offpath_schedule_next",
    "bulk.failed": "offpath_history_never_id_idx",
    "bulk.held": "offpath_job_pkey",
    "bulk.letters": "offpath_history_never_pkey",
    "bulk.mark": "offpath_history_never_pkey",
    "bulk.history": "offpath_history_never_pkey",
    "bulk.operations": "offpath_operation_pkey",
    "upkeep.overdue": "offpath_job_deadline",
    "upkeep.spent": "offpath_history_never_expires_at_idx",
    "upkeep.fading": "offpath_operation_expiry",
    "upkeep.faded": "offpath_operation_expiry",
    "upkeep.next_due": "offpath_job_due",
    "upkeep.queues": "offpath_job_ready offpath_job_delicate offpath_job_lane",
    "limits.queues": "offpath_job_lane",
    "limits.scan": "offpath_job_lane",
    "limits.read": "offpath_job_lane offpath_job_held offpath_rate_pkey offpath_limit_pkey",
    "limits.take": "offpath_job_pkey offpath_operation_pkey offpath_worker_pkey",
    "limits.forget": "offpath_rate_tat",
    "upkeep.events": "offpath_event_pkey",
    "outbox.erase": "offpath_outbox_job",
    "outbox.lose": "offpath_outbox_look offpath_outbox_pkey offpath_job_pkey",
    "lease.renew": "offpath_worker_pkey",
    "schedule.due": "offpath_schedule_next offpath_job_key",
    "schedule.next": "offpath_schedule_next",
    "schedule.claim": "offpath_schedule_pkey",
    "schedule.advance": "offpath_schedule_pkey",
    "schedule.held": "offpath_schedule_pkey offpath_job_key",
    "schedule.list": "offpath_schedule_pkey offpath_job_key",
    "idempotency.found": "offpath_idempotency_pkey",
    "idempotency.remember": "offpath_idempotency_pkey",
    "idempotency.renew": "offpath_idempotency_pkey",
    "idempotency.release": "offpath_idempotency_pkey",
    "idempotency.forget": "offpath_idempotency_expiry offpath_idempotency_pkey",
}
"""Statements, and the indexes that they must search."""


@pytest.fixture(params=["as it is made", "with data", "analysed"])
def url(request: pytest.FixtureRequest, store: Store, postgres_url: str) -> str:
    if request.param != "as it is made":
        hand = Hand(store)
        put(store, *(watched(queue="a", key=str(n), deadline=now() + 10**9) for n in range(300)))
        put(store, *(new_job(queue="b", state=0) for _ in range(300)))
        put(store, *(new_job(queue="c", lane=f"k\t{n % 100}") for n in range(300)))
        lined = [Entry("t", "/s", None, new_job(queue=f"q{n % 7}"), str(n % 30)) for n in range(300)]
        perform(store, store.verbs.take(lined, 0))
        hand.finish(*hand.claim(100, queues=(("a", 1),)))
        hand.claim(50, queues=(("a", 1),))
        hand.close()
    return postgres_url


@pytest.fixture
async def connection(request: pytest.FixtureRequest, url: str) -> Any:
    opened = await asyncpg.connect(url, server_settings=SETTINGS)
    if "analysed" in request.node.name:
        await opened.execute("analyze")
    yield opened
    await opened.close()


async def plan(connection: Any, name: str) -> list[str]:
    """The lines of the plan that is used whatever the parameters are."""
    sql, names = numbered(SQL[name])
    await connection.execute(f"prepare one as {sql}")
    try:
        given = f"({', '.join('null' for _ in names)})" if names else ""
        return [row[0] for row in await connection.fetch(f"explain execute one{given}")]
    finally:
        await connection.execute("deallocate one")


def scanned(lines: list[str]) -> set[str]:
    """Tables; a partition of the history is the history."""
    found = {match[1] for line in lines if (match := re.search(r"\bSeq Scan on (\w+)", line))}
    return {re.sub(r"^offpath_history_\w+", "offpath_history", name) for name in found}


async def test_no_statement_scans_what_it_should_search(connection: Any) -> None:
    for name in SQL:
        lines = await plan(connection, name)
        assert scanned(lines) <= set(SCANS.get(name, "").split()), (name, lines)
        assert not [line for line in lines if re.search(r"Hash (\w+ )?Join|Merge (\w+ )?Join", line)], (name, lines)


async def test_the_indexes_they_must_use(connection: Any, request: pytest.FixtureRequest) -> None:
    for name, indexes in USES.items():
        if name == "bulk.operations" and "analysed" in request.node.name:
            continue  # of three hundred rows, either index with the id in it is as good
        lines = await plan(connection, name)
        used = {
            found[1] for line in lines if (found := re.search(r"Index (?:Only )?Scan(?: Backward)? using (\w+)", line))
        }
        assert set(indexes.split()) <= used, (name, lines)


@pytest.mark.parametrize("name", ["claim.lanes", "claim.sweep"])
async def test_a_claim_reads_jobs_in_the_order_of_the_index(connection: Any, name: str) -> None:
    """What is locked must not be sorted first: a sort would read and lock the whole queue."""
    lines = await plan(connection, name)
    locks = [n for n, line in enumerate(lines) if "LockRows" in line]
    assert len(locks) == 4, lines  # the worker, plain, doubtful, suspect
    for n in locks:
        below = next(line for line in lines[n + 1 :] if "Scan" in line or "Sort" in line)
        assert "Index Scan" in below, lines[n:]


async def test_a_statement_is_parsed_and_planned_once(store: Store, postgres_url: str) -> None:
    session = await connect(parse(postgres_url))
    for _ in range(10):
        await session.clock()
    made = await session.connection.fetch("select generic_plans + custom_plans from pg_prepared_statements")
    assert [row[0] for row in made] == [10]
    await session.close()


@pytest.mark.parametrize("once", [False, True])
async def test_a_claim_waits_for_the_disk_only_for_what_must_not_be_repeated(
    store: Store, postgres_url: str, once: bool
) -> None:
    put(store, new_job(), new_job(once=once))
    hand = Hand(store)
    params = {
        "worker": hand.id, "tasks": hand.tasks, "queue": "default", "limit": 5, "free": 5, "suspect": 2, "suspects": 1,
        "started": "{}", "heed": 1,
    }  # fmt: skip
    session = await connect(parse(postgres_url))
    *claimed, last = await session.execute(Statement(SQL["claim.sweep"], params, rows.plain))
    assert len(claimed) == 2
    assert last[1] == (None if once else "off")
    assert await session.connection.fetchval("show synchronous_commit") == "on"
    await session.close()
    hand.close()


@pytest.mark.parametrize("wanted", [new_job, watched])
async def test_neighbours_settle_beside_each_other_in_serializable_transactions_of_tasks(
    store: Store, postgres_url: str, wanted: Any
) -> None:
    """On connections of their own, whose planner nobody has told anything."""
    hand = Hand(store)
    put(store, *(wanted() for _ in range(600)))
    jobs = hand.claim(2)
    async with contextlib.AsyncExitStack() as stack:
        own = [await asyncpg.connect(postgres_url) for _ in jobs]
        for connection in own:
            stack.push_async_callback(connection.close)
        begun = [connection.transaction(isolation="serializable") for connection in own]
        for connection, transaction in zip(own, begun, strict=True):
            await transaction.start()
            await connection.execute("select count(*) from offpath_home")  # from here on it sees what is so now
        for connection, job in zip(own, jobs, strict=True):
            done = _aside(store.verbs.settle_one(hand.id, change(job, Done(None))), [])  # as the engine runs it
            assert (await store.run_on(connection, done))[0] == "applied"
        for transaction in begun:
            await transaction.commit()
    hand.close()


async def test_pages_are_read_in_the_order_of_an_index(connection: Any) -> None:
    for name in ("claim.promote", "upkeep.overdue", "operation.list", "operation.events", "list_jobs.live"):
        lines = await plan(connection, name)
        assert not [line for line in lines if re.search(r"\bSort\b", line)], (name, lines)


@pytest.mark.parametrize("part", ["operations", "events"])
def test_one_line_and_many_are_told_alike(part: str) -> None:
    many, one = (re.sub(r"from (jsonb_array|\(select cast).*", "", SQL[f"settle.{part}{of}"]) for of in ("", "_one"))
    assert many == one


def test_both_claims_differ_only_in_where_they_begin() -> None:
    """`sweep` and `lanes` are one statement but for `plain`: what is changed in one belongs into the other."""
    plain = re.compile(r"plain as materialized \(.*?\n\),\n", re.DOTALL)
    sweep, lanes = (plain.subn("", SQL[f"claim.{name}"]) for name in ("sweep", "lanes"))
    assert (sweep[1], lanes[1]) == (1, 1)
    assert sweep[0] == lanes[0]
