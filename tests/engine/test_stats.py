"""What workers count is what the tables say (I31), of one worker and of two; a crash leaves an attempt (I3)."""

import asyncio
import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from offpath.core import lifecycle
from offpath.core.ids import uuid7
from offpath.core.job import State
from offpath.core.options import SECOND
from offpath.core.outcome import Done
from offpath.core.policy import Policy
from offpath.core.retry import Backoff, Retry
from offpath.core.stats import FRESH, MINUTE, ROLLED
from offpath.core.workers import About
from offpath.engine.clock import clock
from offpath.engine.stats import Book, One, Tally
from offpath.engine.upkeep import Upkeep
from offpath.errors import Cancel, Snooze
from tests.engine.kit import SOON, App

pytestmark = pytest.mark.anyio
NOW = Backoff.fixed(0)


@pytest.fixture
def app(tmp_path: Path) -> Any:
    made = App(tmp_path / "jobs.db", poll=0.05, lease=2.0)
    made.store.open()
    yield made
    made.close()


async def drain(app: App, workers: int = 1) -> None:
    async with asyncio.timeout(SOON):
        await asyncio.gather(*(app.run_until_empty() for _ in range(workers)))


def tasks(app: App) -> dict[str, Any]:
    seen: Counter[str] = Counter()

    @app.task(name="good")
    async def good(n: int) -> int:
        return n

    @app.task(name="bad", retry=Retry(max_attempts=3, backoff=NOW))
    async def bad(n: int) -> None:
        raise ValueError("no")

    @app.task(name="second", retry=Retry(max_attempts=3, backoff=NOW))
    async def second(n: int) -> None:
        seen[f"second {n}"] += 1
        if seen[f"second {n}"] < 2:
            raise ValueError("not yet")

    @app.task(name="gives_up")
    async def gives_up(n: int) -> None:
        raise Cancel("no need")

    @app.task(name="later")
    async def later(n: int) -> None:
        seen[f"later {n}"] += 1
        if seen[f"later {n}"] < 3:
            raise Snooze(0)

    return {"good": good, "bad": bad, "second": second, "gives_up": gives_up, "later": later}


async def told(app: App) -> dict[str, list[int]]:
    """By task: succeeded, failed, canceled, retried, and how many durations were measured. Together they are what is
    told of all."""
    made: dict[str, list[int]] = {}
    for task in ("", *app.registry.names()):
        for line in await app.store.read(app.store.verbs.ended(0, None, task or None)):
            assert line.task == task
            row = made.setdefault(line.task, [0, 0, 0, 0, 0])
            for place, value in enumerate((*line[3:7], sum(line.run.values()))):
                row[place] += value
            assert sum(line.wait.values()) == sum(line.run.values())
    assert made.pop("") == [sum(column) for column in zip(*made.values(), strict=True)]
    return made


def history(app: App) -> dict[tuple[str, int], int]:
    with sqlite3.connect(app.path) as connection:
        found = connection.execute("select task, outcome, count(*) from offpath_history group by 1, 2")
        return {(task, outcome): count for task, outcome, count in found}


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_is_counted_is_what_the_tables_say(app: App, workers: int) -> None:
    made = tasks(app)
    for n in range(20):
        for task in made.values():
            await task.enqueue(n)
    for _ in range(9):  # jobs that back off, or snooze, do not hold a worker that ends when nothing is ready
        await drain(app, workers)
        if sum(history(app).values()) == 100:
            break
    counted = await told(app)
    ended = history(app)
    for task, (succeeded, failed, canceled, _, _) in counted.items():
        assert [succeeded, failed, canceled] == [ended.get((task, outcome), 0) for outcome in (4, 5, 6)], task
    assert set(counted) == set(made)
    assert {task: row[3] for task, row in counted.items()} == {
        "good": 0, "bad": 40, "second": 20, "gives_up": 0, "later": 0,
    }  # fmt: skip
    assert counted["bad"][4] == 60
    with sqlite3.connect(app.path) as connection:
        attempts = dict(connection.execute(
            "select h.task, count(*) from offpath_job_attempt a join offpath_history h on h.id = a.job group by 1"
        ))  # fmt: skip
    assert attempts == {"bad": 60, "second": 20, "gives_up": 20}, "one row for each that did not succeed, and no other"


async def test_an_attempt_says_when_it_began_where_and_why_it_ended(app: App) -> None:
    made = tasks(app)
    job = await made["bad"].enqueue(1)
    await drain(app)
    await drain(app)
    rows = await app.store.read(app.store.verbs.job_attempts(job.id, 100))
    assert [(row.attempt, row.ended) for row in rows] == [(1, "errored"), (2, "errored"), (3, "errored")]
    for row in rows:
        assert row.started_at is not None
        assert row.started_at <= row.ended_at < row.started_at + 60 * SECOND
        assert row.label is not None
        assert json.loads(row.error or "")["detail"] == "no"


async def test_a_worker_says_what_it_is_and_how_much_it_holds(app: App) -> None:
    gate, began = asyncio.Event(), asyncio.Event()

    @app.task(name="gated")
    async def gated() -> None:
        began.set()
        await gate.wait()

    await gated.enqueue()
    async with asyncio.timeout(SOON), app.worker():
        await began.wait()
        while True:
            _, [row] = await app.store.read(app.store.verbs.workers())
            if row.load == '{"default": 1}':
                break
            await asyncio.sleep(0.05)  # it says so every few seconds: there is no signal to wait for
        about = json.loads(row.about or "")
        assert (about["concurrency"], about["queues"], about["lease"]) == (100, None, 2.0)
        assert about["pid"] > 0
        assert about["version"]
        gate.set()
    assert await told(app) == {"gated": [1, 0, 0, 0, 1]}, "the last word of a worker that ends has all of it"


async def test_what_could_not_be_written_is_written_later(app: App) -> None:
    made = tasks(app)
    tally = Tally()
    job = app.new([made["good"].call(1).core])[0].job
    now = app.store.now()
    running = job._replace(state=State.RUNNING, worker="w", fence=1)
    change = lifecycle.settle(running, Done(None), Policy(), now, 0.0)
    tally.ended([One(running, change, now - SECOND, now)])
    lines = tally.take(now)
    assert [(line.queue, line.task) for line in lines] == [("", ""), ("default", ""), ("default", "good")]
    assert {(line.succeeded, line.ran) for line in lines} == {(1, SECOND)}
    assert tally.take(now) == []
    tally.again(lines)
    assert tally.take(now) == lines
    tally.ended([One(running, change, None, now)])
    *_, line = tally.take(now)
    assert line.succeeded == 2
    assert sum(line.run.values()) == 1, "of what never began nothing is measured"


async def test_the_sums_of_a_minute_have_what_has_not_changed_too(app: App) -> None:
    made = tasks(app)
    tally, now = Tally(), app.store.now() // MINUTE * MINUTE
    for name in ("good", "bad"):
        running = app.new([made[name].call(1).core])[0].job._replace(state=State.RUNNING, worker="w", fence=1)
        change = lifecycle.settle(running, Done(None), Policy(), now, 0.0)
        tally.ended([One(running, change, now, now)])
        total, queue, *lines = tally.take(now)
        assert [line.task for line in lines] == [name], "what was written already is not written again"
    assert (total.succeeded, queue.succeeded) == (2, 2)
    assert tally.take(now + 2 * MINUTE) == [], "and then they are forgotten"
    tally.ended([One(running, change, now, now + 2 * MINUTE)])
    assert tally.take(now + 2 * MINUTE)[0].succeeded == 1


async def test_queues_are_sampled_once_a_minute(app: App) -> None:
    made = tasks(app)
    for n in range(3):
        await made["good"].enqueue(n)

    class Nobody:
        def holds(self) -> Counter[str]:
            return Counter()

    time = clock(app.store)._replace(now=lambda: 1_000 * ROLLED)
    about = About("h", 1, 0, 1, None, "0", 1.0)
    for _ in range(2):
        book = Book(app.store, Tally(), Nobody(), time, uuid7(1, b"0123456789"), about)
        await Upkeep(app.store, app.registry, time, 5.0, book).unknown()
    [sample] = await app.store.read(app.store.verbs.samples(0, FRESH, "default"))
    assert (sample.ready, sample.running) == (3, 0)
