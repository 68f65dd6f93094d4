"""The clock that can be moved: real SQL, another time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from offpath import Backoff, Offpath, Retry, Snooze
from offpath.errors import ConfigurationError
from offpath.testing import drain, drain_sync, isolated, moved_clock
from offpath.testing.stores.kit import Hand

jobs = Offpath("sqlite:////nowhere/production.db", retention=timedelta(days=7), poll=3600, lease=60)
ran: list[str] = []
DAY = timedelta(days=1)


@jobs.task
async def remind(to: str) -> None:
    ran.append(to)


@jobs.task(retry=Retry(max_attempts=3, backoff=Backoff.fixed(3600)))
async def flaky() -> None:
    ran.append("flaky")
    raise ValueError("no")


@jobs.task
async def snoozes() -> None:
    ran.append("snoozes")
    if len(ran) < 2:
        raise Snooze(DAY)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Iterator[None]:
    ran.clear()
    with isolated(jobs, tmp_path):
        yield


def test_a_day_passes_in_no_time() -> None:
    with moved_clock(jobs) as clock:
        before = clock.now()
        assert abs(before - datetime.now(UTC)) < timedelta(minutes=5)
        remind.using(delay=DAY).enqueue_sync("a")
        assert drain_sync(jobs) == {"scheduled": 1}
        clock.advance(DAY - timedelta(minutes=10))
        assert drain_sync(jobs) == {"scheduled": 1}
        assert clock.advance(600) - before >= DAY
        assert drain_sync(jobs) == {"succeeded": 1}
    assert ran == ["a"]
    assert abs(datetime.fromtimestamp(jobs.store.now() / 1e6, UTC) - datetime.now(UTC)) < timedelta(minutes=5)


async def test_backoff_snooze_deadline_and_retention_go_with_it() -> None:
    with moved_clock(jobs) as clock:
        failing = await flaky.enqueue()
        for _ in range(3):
            await drain(jobs)
            clock.advance(timedelta(hours=1, seconds=1))
        assert ran == ["flaky"] * 3
        assert (await failing.info()).state == "failed"
        ran.clear()
        await snoozes.enqueue()
        late = await remind.using(deadline=timedelta(days=2), delay=DAY).enqueue("late")
        await drain(jobs)
        clock.move_to(clock.now() + timedelta(days=3))
        await drain(jobs)
        assert ran == ["snoozes", "snoozes"]
        ended = await late.info()
        assert ended.state == "failed"
        assert ended.error is not None
        assert ended.error["kind"] == "deadline"
        clock.advance(timedelta(days=8))
        while await jobs.store.perform(jobs.store.verbs.prune(100)):
            pass
        assert set(await drain(jobs)) <= {"failed"}  # kept until someone deletes them


async def test_a_worker_that_runs_is_told_and_does_not_die_of_it() -> None:
    """It polls once an hour: only the hint can wake it. Its lease is a minute: a day would be its end."""
    other = None
    with moved_clock(jobs) as clock:
        try:
            async with jobs.worker() as worker:
                await worker.ready.wait()
                other = Hand(jobs.store, 60.0, tasks=())
                job = await remind.using(delay=DAY).enqueue("a")
                clock.advance(DAY)
                await job.result(timeout=60)
                assert other.lease.judge() == []
        finally:
            if other is not None:
                other.close()
    assert ran == ["a"]


def test_what_it_cannot_do_it_says() -> None:
    with moved_clock(jobs) as clock:
        for step in (-1, timedelta(seconds=-1), "1", True, float("nan")):
            with pytest.raises(ConfigurationError, match="the seconds to move on by"):
                clock.advance(step)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="no time zone"):
            clock.move_to(datetime(2030, 1, 1))  # noqa: DTZ001
        with pytest.raises(ConfigurationError, match="the seconds to move on by"):
            clock.move_to(datetime(2000, 1, 1, tzinfo=UTC))
        with pytest.raises(ConfigurationError, match="on already"), moved_clock(jobs):
            pass
    elsewhere = Offpath("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(ConfigurationError, match="use isolated"), moved_clock(elsewhere):
        pass
