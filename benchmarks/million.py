"""A store with a million live jobs, half as many that have ended, and all that people look at beside them: what pages
are measured over (`admin.py`)."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg

from offpath import Offpath, Schedule
from offpath.core.ids import at_moment
from offpath.core.options import SECOND
from offpath.core.stats import HOUR, MINUTE, ROLLED, Line, as_text, with_totals
from offpath.core.workers import About

COUNT = 1_000_000  # live jobs; half as many have ended
SPACING = 400  # ms between two jobs: all of them are a week

NAMES = "case when n % {some} = 0 then 'rare' else 'common' end"
QUEUES = "case when n % {some} = 0 then 'rare' when n % 2 = 0 then 'common' else 'queue-' || (n % 20) end"
JOB = """
insert into offpath_job (id, task, version, args, queue, priority, state, run_at, attempt, crashes, fence, worker, key,
                         once, watched, owner, lane)
select {id}, {task}, 1, '{{"order": 123456, "address": "somebody@example.org", "note": "as it usually is"}}', {queue},
       n % 7, case when n % 1000 = 0 then 3 when n % 10 < 3 then 0 when n % 10 = 3 then 1 else 2 end, {at}, 1, 0, 1,
       case when n % 1000 = 0 then '{worker}' end, {key}, {no}, {no}, {owner}, case when n % 100 = 9 then 'lane' end
from {series}
"""
HISTORY = """
insert into offpath_history (id, outcome, task, version, args, queue, priority, run_at, key, attempt, crashes, fence,
                             once, watched, owner, result, error, finished_at{never})
select {id}, case when n % 50 = 0 then 5 when n % 50 = 1 then 6 else 4 end, {task}, 1,
       '{{"order": 123456, "address": "somebody@example.org", "note": "as it usually is"}}', {queue}, 5, {at}, {key},
       1, 0, 1, {no}, {no}, {owner}, '{{"ok": true}}',
       case when n % 50 = 0 then '{{"kind": "timeout", "title": "x", "public": false}}'
            when n % 50 = 1 then '{{"kind": "canceled", "title": "x", "public": true}}' end, {at}{nine}
from {series}
"""
WORKERS, SCHEDULES, ENDPOINTS, ACTS, DELIVERIES = 50, 300, 1_000, 100_000, 100_000
FIVE, TASKS, PROCESSES = 5, 20, 4  # queues, tasks and processes that are counted


def made(url: str, count: int = COUNT) -> None:
    """All of it, in an empty database."""
    jobs = Offpath(url)
    jobs.migrate()
    fill(url, count, count // 2)
    with opened(url) as write:
        now = jobs.store.now()
        for table, columns, rows in furniture(now):
            write(table, columns, rows)
    jobs.close()
    analyze(url)


def fill(url: str, live: int, ended: int) -> None:
    """The oldest have ended; of what is rare there is one in 100,000, or 10 where that would be none."""
    count = live + ended
    some = max(100_000 if count >= 100_000 else count // 10, 1)
    began = time.time_ns() // 1_000_000 - count * SPACING
    lite = url.startswith("sqlite")
    ms = f"({began} + n * {SPACING})"
    ids = "printf('%08x-%04x-7000-8000-%012x', ms >> 16, ms & 65535, n)".replace("ms", ms)
    if not lite:
        hexed = f"lpad(to_hex({ms}::bigint), 12, '0')"
        ids = f"cast({hexed} || '70008000' || lpad(to_hex(n), 12, '0') as uuid)"
    named = NAMES.format(some=some)
    words: dict[str, Any] = {
        "id": ids,
        "at": f"{ms} * 1000",
        "no": 0,
        "never": "" if lite else ", expires_on",
        "nine": "" if lite else ", date '9999-12-31'",
        "task": named,
        "queue": QUEUES.format(some=some),
        "owner": named,
        "key": f"{named} || n",
        "worker": worker(0),
    }
    series = (
        "(with recursive s (n) as (select {0} union all select n + 1 from s where n < {1}) select n from s) s"
        if lite
        else "generate_series({0}, {1}) n"
    )
    with contextlib.closing(_connect(url)) as db:
        for text, first, last in ((HISTORY, 1, ended), (JOB, ended + 1, count)):
            db.execute(text.format(**words, series=series.format(first, last)))
        db.commit()


def analyze(url: str) -> None:
    with contextlib.closing(_connect(url)) as db:
        if url.startswith("sqlite"):
            db.execute("analyze")
        else:
            db.autocommit = True
            db.execute("vacuum analyze")


def worker(n: int) -> str:
    return _id(0, n)


def furniture(now: int) -> Iterator[tuple[str, str, Iterable[tuple[Any, ...]]]]:
    """(table, its columns, rows): workers, a week of counts and samples, schedules, webhooks, audit log, attempts."""
    about = About("host.example", 4711, now, 20, None, "1", 15.0).text()
    load = json.dumps({"common": 20, "queue-1": 1})
    tasks = json.dumps([f"task-{n}@1" for n in range(TASKS)])
    far = now + 3_600 * SECOND
    yield (
        "offpath_worker",
        "id, expires_at, tasks, label, about, load",
        [(worker(n), far, tasks, f"host:{n}", about, load) for n in range(WORKERS)],
    )
    yield (
        "offpath_stat",
        "at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run, worker",
        lines(now),
    )
    minutes = range(now // MINUTE * MINUTE, now - 168 * HOUR, -MINUTE)
    queues = ["", "common", *(f"queue-{n}" for n in range(1, 20, 2))]
    yield (
        "offpath_sample",
        "at, queue, ready, running, oldest",
        ((minute, queue, minute // MINUTE % 1_000, 20, 5 * SECOND) for minute in minutes for queue in queues),
    )
    spec, call = Schedule.cron("0 8 * * *").as_json(), json.dumps({"args": {}, "options": {}})
    yield (
        "offpath_schedule",
        "name, spec, task, call, overlap, declared, anchor, next_at, paused, revision, skipped, created_at, updated_at",
        [
            (f"daily-{n}", spec, "task-1", call, "skip", "[]", now, far, n % 10 == 0, 1, 0, now, now)
            for n in range(SCHEDULES)
        ],
    )
    yield (
        "offpath_endpoint",
        "id, tenant, owner, url, description, events, secrets, enabled, width, created_at, updated_at",
        [
            (_id(0, n), f"t{n % 9}", "o", "https://example.org/hook", "", "[]", "", n % 7 > 0, 4, now, now)
            for n in range(ENDPOINTS)
        ],
    )
    yield (
        "offpath_delivery",
        "id, message, job, endpoint, event, sequence, state, attempts, round, created_at",
        (
            (_id(now, n), f"msg_{n}", _id(now, n), _id(0, n % 3), "operation.succeeded", 1, 1, 1, 0, now)
            for n in range(DELIVERIES)
        ),
    )
    yield (
        "offpath_attempt",
        "id, delivery, endpoint, number, at, status, latency, snippet",
        ((_id(now, n), _id(now, n), _id(0, n % 3), 1, now, 200, 1_000, "ok") for n in range(DELIVERIES)),
    )
    yield (
        "offpath_audit",
        "id, at, actor, action, target, data",
        (
            (_id(now - n * SECOND, n), now, f"actor-{n % 5}", "job.retry", f"target-{n % 9}", '{"job": "x"}')
            for n in range(ACTS)
        ),
    )
    yield (
        "offpath_job_attempt",
        "job, fence, attempt, worker, label, ended_at, ended, error, look_at",
        ((_id(now, n), 1, 1, "w", "host:1", now - n * SECOND, "errored", "{}", far) for n in range(DELIVERIES)),
    )


def lines(now: int) -> Iterator[tuple[Any, ...]]:
    """What was counted: apart for ten minutes, then of all in a minute, in five, in an hour."""
    histogram = {number: 10 + number for number in range(8, 24)}

    def counted(at: int) -> list[Line]:
        return [
            Line(at, f"queue-{q}", f"task-{t}", 50, 1, 0, 2, 10**6, 10**6, histogram, histogram)
            for q in range(FIVE)
            for t in range(TASKS)
        ]

    spans = (
        ("+", MINUTE, 10 * MINUTE, 90 * MINUTE),
        ("", ROLLED, 90 * MINUTE, 25 * HOUR),
        ("-", HOUR, 25 * HOUR, 168 * HOUR),
    )
    last = now // MINUTE * MINUTE
    told = [(f"process-{n}", MINUTE, 0, 10 * MINUTE) for n in range(PROCESSES)]
    for source, span, young, old in (*told, *spans):
        for at in range((last - old) // span * span + span, (last - young) // span * span + 1, span):
            for line in with_totals(counted(at), span):
                yield (*line[:9], as_text(line.wait), as_text(line.run), source)


@contextlib.contextmanager
def opened(url: str) -> Iterator[Any]:
    """What writes rows into a table, all in one transaction."""
    with contextlib.closing(_connect(url)) as db:
        lite = isinstance(db, sqlite3.Connection)

        def write(table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
            if lite:
                marks = ", ".join("?" for _ in columns.split(","))
                db.executemany(f"insert into {table} ({columns}) values ({marks})", rows)
                return
            with db.cursor() as cursor, cursor.copy(f"copy {table} ({columns}) from stdin") as copy:
                for row in rows:
                    copy.write_row([int(value) if isinstance(value, bool) else value for value in row])

        yield write
        db.commit()


def _connect(url: str) -> Any:
    return sqlite3.connect(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else psycopg.connect(url)


def _id(at: int, n: int) -> str:
    return at_moment(at, f"7000-8000-{n:012x}")


def furnished_endpoint() -> str:
    """The id of an endpoint that has many attempts."""
    return _id(0, 1)


def some_ids(url: str) -> tuple[str, str]:
    """A live job in the middle, and the last that failed."""
    with contextlib.closing(_connect(url)) as db:
        live = "select cast(id as text) from offpath_job where state = 2 and queue = 'common' limit 1"
        ended = "select cast(id as text) from offpath_history where outcome = 5 order by id desc limit 1"
        [(one,)], [(other,)] = db.execute(live).fetchall(), db.execute(ended).fetchall()
        return str(one), str(other)
