"""`jobs.queues`, `jobs.list`, the bulk calls, dead letters, alerts: as whoever runs an application uses them."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from offpath import Context, Offpath, Queue, ResultTimeout, Retry, Schedule
from offpath.app.bulk import Tally
from offpath.errors import ConfigurationError, Conflict, NotFound, StoreError
from offpath.ports import Statement, Verb
from offpath.testing import drain

pytestmark = pytest.mark.anyio
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
ONCE = Retry(max_attempts=1)


class Shop:
    """An application with a few tasks, and a word that one of them waits for."""

    def __init__(self, folder: Path) -> None:
        self.jobs = Offpath(f"sqlite:///{folder}/shop.db", queues=[Queue("mail"), Queue("slow")], poll=0.05)
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.told: list[dict[str, object]] = []

        @self.jobs.task(queue="mail", retry=ONCE)
        async def send(to: str, bad: bool = False) -> str:
            if bad:
                raise ValueError(to)
            return to.upper()

        @self.jobs.task(queue="slow")
        async def wait(ctx: Context) -> None:
            self.begun.set()
            await self.gate.wait()

        self.send, self.wait = send, wait

    async def fail(self, count: int, **using: Any) -> list[str]:
        """So many dead letters."""
        calls = [self.send.using(**using).call(f"bad {n}", bad=True) for n in range(count)]
        ids = [job.id for job in await self.send.enqueue_many(calls)]
        await drain(self.jobs)
        return ids


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.jobs.close()


async def ids(found: Any) -> list[str]:
    return [info.id async for info in found]


# ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_queue_is_paused_seen_and_resumed(shop: Shop) -> None:
    jobs = shop.jobs
    await shop.send.enqueue("a")
    info = await jobs.queues.pause("mail", reason="a deploy")
    assert (info.name, info.paused, info.reason, info.ready, info.running) == ("mail", True, "a deploy", 1, 0)
    assert info.paused_at is not None
    assert info.age is not None
    assert [(line.name, line.paused, line.ready) for line in await jobs.queues.list()] == [
        ("mail", True, 1),
        ("slow", False, 0),
    ]
    assert await drain(jobs) == {"ready": 1}
    jobs.close()  # as after a restart
    assert jobs.queues.get_sync("mail").paused
    assert [line.name for line in jobs.queues.list_sync()] == ["mail", "slow"]
    assert not (await jobs.queues.resume("mail")).paused
    assert await drain(jobs) == {"succeeded": 1}
    assert (await jobs.queues.get("never heard of")).ready == 0
    assert jobs.queues.pause_sync("mail").paused
    assert not jobs.queues.resume_sync("mail").paused


@pytest.mark.parametrize("sync", [False, True])
async def test_drain_waits_for_what_runs_and_leaves_what_waits(shop: Shop, sync: bool) -> None:
    jobs = shop.jobs

    async def drained(timeout: float | None = None) -> Any:
        if sync:
            return await asyncio.to_thread(jobs.queues.drain_sync, "slow", timeout=timeout)
        return await jobs.queues.drain("slow", timeout=timeout)

    async with jobs, jobs.worker():
        running = await shop.wait.enqueue()
        await asyncio.wait_for(shop.begun.wait(), 100)
        with pytest.raises(ResultTimeout, match="1 jobs of queue 'slow' have not ended within 0 s"):
            await drained(0)
        later = await shop.wait.enqueue()
        assert (await jobs.queues.get("slow")).paused, "it stays so"
        draining = asyncio.create_task(drained())
        shop.gate.set()
        info = await asyncio.wait_for(draining, 100)
        assert (info.paused, info.reason, info.running, info.ready) == (True, "draining", 0, 1)
        assert (await running.info()).state == "succeeded"
        assert (await later.info()).state == "ready"
        await jobs.queues.resume("slow")
        await later.result(timeout=100)


@pytest.mark.parametrize("name", ["", "a\x00b", None, "x" * 256])
async def test_what_cannot_be_a_queue(shop: Shop, name: Any) -> None:
    for doing in (shop.jobs.queues.pause, shop.jobs.queues.resume, shop.jobs.queues.drain, shop.jobs.queues.get):
        with pytest.raises(ConfigurationError, match="queue must"):
            await doing(name)


async def test_reasons_and_times_are_checked_before_anything_is_paused(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="reason must be text"):
        await shop.jobs.queues.pause("mail", reason="x" * 1001)
    with pytest.raises(ConfigurationError, match="timeout must be 0 seconds or more"):
        await shop.jobs.queues.drain("mail", timeout=-1)
    assert not (await shop.jobs.queues.get("mail")).paused


# ── list, count, inspect ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_jobs_are_listed_and_counted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from offpath.app import managing

    monkeypatch.setattr(managing, "LOOK", 2)  # pages of two
    jobs = shop.jobs
    bad = await shop.fail(3, key=None)
    good = [job.id for job in await shop.send.enqueue_many([shop.send.call(f"g{n}") for n in range(4)])]
    newest = sorted(bad + good, reverse=True)
    assert await ids(jobs.list()) == newest
    assert await ids(jobs.list(limit=3)) == newest[:3]
    assert await ids(jobs.list(limit=4, after=newest[1])) == newest[2:6]
    assert await ids(jobs.list(state="failed", queue="mail")) == sorted(bad, reverse=True)
    assert [info.id for info in jobs.list_sync(state=["ready", "failed"], limit=5)] == newest[:5]
    assert [info.id for info in jobs.list_sync(error="ValueError")] == sorted(bad, reverse=True)
    assert await ids(jobs.list(older_than=timedelta(hours=1))) == []
    assert (await jobs.count(), await jobs.count(state="failed"), jobs.count_sync(task="none")) == (7, 3, 0)
    for wrong in ({"state": "dead"}, {"limit": 0}, {"after": "x"}, {"color": "red"}):
        with pytest.raises(ConfigurationError):
            jobs.list(**wrong)  # type: ignore[arg-type]


async def test_arguments_are_shown_only_when_they_are_asked_for(shop: Shop) -> None:
    jobs = shop.jobs
    job = await shop.send.enqueue("ann@example.org")
    await drain(jobs)
    seen = await jobs.inspect(job.id)
    assert (seen.redacted, seen.arguments, seen.result) == (True, {"to": "text, 15 characters"}, "text, 15 characters")
    assert "ann" not in repr(seen)
    assert (seen.info.state, seen.retried_as) == ("succeeded", None)
    full = jobs.inspect_sync(job.id, arguments=True)
    assert (full.redacted, full.arguments, full.result) == (False, {"to": "ann@example.org"}, "ANN@EXAMPLE.ORG")
    again = await jobs.retry(job.id)
    assert (await jobs.inspect(job.id)).retried_as == again.id
    for id in (NOBODY, "nonsense"):
        with pytest.raises(NotFound):
            await jobs.inspect(id)


# ── many ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_many_are_canceled_with_progress(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = shop.jobs
    await shop.send.enqueue_many([shop.send.call(str(n)) for n in range(7)])
    await shop.wait.enqueue()
    seen: list[Tally] = []
    sweep = jobs.cancel_many(queue="mail", reason="enough", progress=seen.append)
    sweep._page = 3
    assert sweep.count() == 7
    assert await sweep == Tally(7, 0, 7)
    assert seen == [Tally(3, 0, 7), Tally(6, 0, 7), Tally(7, 0, 7)]
    assert await jobs.count(state="canceled") == 7
    assert await jobs.count(state="ready") == 1, "another queue's"
    assert {info.error["reason"] for info in jobs.list_sync(state="canceled") if info.error} == {"enough"}
    assert jobs.cancel_many_sync(queue="mail") == Tally(0, 0, 0)


async def test_it_can_be_stopped_and_begun_again(shop: Shop) -> None:
    jobs = shop.jobs
    await shop.send.enqueue_many([shop.send.call(str(n)) for n in range(7)])
    sweep = jobs.cancel_many(task="Shop.__init__.<locals>.send".rpartition(".")[2])
    sweep._page = 2
    async for tally in sweep:
        if tally.done == 4:
            break
    assert await jobs.count(state="canceled") == 4

    def enough(tally: Tally) -> None:
        raise KeyboardInterrupt

    more = jobs.cancel_many(state="ready", progress=enough)
    more._page = 1
    with pytest.raises(KeyboardInterrupt):
        more.run()
    assert await jobs.count(state="canceled") == 5
    assert await sweep == Tally(2, 0, 2)


async def test_what_runs_is_asked_and_what_has_been_asked_is_skipped(shop: Shop) -> None:
    jobs = shop.jobs
    async with jobs, jobs.worker():
        job = await shop.wait.enqueue()
        await asyncio.wait_for(shop.begun.wait(), 100)
        assert await jobs.cancel_many(state="running") == Tally(1, 0, 1)
        with pytest.raises(Exception, match="canceled"):
            await job.result(timeout=100)
    assert (await job.info()).state == "canceled"


@pytest.mark.parametrize(
    ("call", "given", "said"),
    [
        ("cancel_many", {}, "needs to be told which jobs"),
        ("delete_many", {}, "needs to be told which jobs"),
        ("cancel_many", {"state": "failed"}, "failed ones cannot be meant"),
        ("delete_many", {"state": ["failed", "ready"]}, "ready ones cannot be meant"),
        ("retry_many", {"state": "running"}, "running ones cannot be meant"),
        ("retry_many", {"queue": "q", "max_attempts": 0}, "max_attempts"),
        ("cancel_many", {"queue": "q", "reason": 5}, "reason must be text"),
        ("cancel_many", {"quue": "q"}, "no filter 'quue'"),
    ],
)
async def test_what_is_wrong_is_told_before_it_begins(shop: Shop, call: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        getattr(shop.jobs, call)(**given)


async def test_many_are_run_again_with_other_attempts_and_only_once(shop: Shop) -> None:
    jobs = shop.jobs
    letters = await shop.fail(5)
    assert await jobs.dead_letters.count() == 5
    assert await jobs.retry_many(max_attempts=2, queue="mail") == Tally(5, 0, 5)
    assert jobs.retry_many_sync(queue="mail") == Tally(0, 0, 0)
    assert await jobs.dead_letters.count() == 0
    again = [info async for info in jobs.list(state="ready")]
    assert sorted(info.retry_of or "" for info in again) == sorted(letters)
    single = await jobs.retry(letters[0], max_attempts=4)
    found = jobs.store.read(jobs.store.verbs.find(single.id)).result()
    assert found is not None
    assert found.job is not None
    assert json.loads(found.job.options or "") == {"max_attempts": 4}
    with pytest.raises(ConfigurationError, match="max_attempts"):
        await jobs.retry(letters[0], max_attempts=0)


async def test_many_are_erased(shop: Shop) -> None:
    jobs = shop.jobs
    letters = await shop.fail(3)
    job = await shop.send.enqueue("x")
    with pytest.raises(Conflict, match="has not ended"):
        await jobs.delete(job.id)
    await jobs.delete(letters[0])
    for id in (letters[0], NOBODY, "nonsense"):
        with pytest.raises(NotFound):
            await jobs.delete(id)
    jobs.delete_sync(letters[1])
    assert await jobs.delete_many(error="ValueError") == Tally(1, 0, 1)
    assert jobs.delete_many_sync(queue="mail") == Tally(0, 0, 0)
    assert await ids(jobs.list()) == [job.id]


async def test_one_bad_row_does_not_stop_the_rest(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody's trigger keeps one of them: it is found by halves, named, and skipped."""
    jobs = shop.jobs
    made = [job.id for job in await shop.send.enqueue_many([shop.send.call(str(n)) for n in range(9)])]

    def trigger() -> Verb[None]:
        yield Statement(
            f"create trigger keep before delete on offpath_job when old.id = '{made[4]}' "
            "begin select raise(abort, 'kept by law'); end",
            {},
            lambda rows: None,
        )

    await jobs.store.perform(trigger())
    assert await jobs.cancel_many(queue="mail") == Tally(8, 1, 9)
    assert await ids(jobs.list(state="ready")) == [made[4]]
    said = [record.offpath for record in caplog.records if getattr(record, "offpath", {}).get("duty") == "bulk"]  # type: ignore[attr-defined]
    assert [one["job"] for one in said] == [made[4]]


async def test_a_store_that_is_away_is_not_blamed_on_a_job(shop: Shop) -> None:
    jobs = shop.jobs
    await shop.send.enqueue("a")
    jobs.store.close()
    with pytest.raises(StoreError, match="closed"):
        await jobs.cancel_many(queue="mail")


# ── dead letters and alerts ──────────────────────────────────────────────────────────────────────────────────────────


async def test_dead_letters_are_seen_run_again_and_discarded(shop: Shop) -> None:
    letters, jobs = await shop.fail(4), shop.jobs
    dead = jobs.dead_letters
    assert await ids(dead.list()) == sorted(letters, reverse=True)
    assert [info.id for info in dead.list_sync(limit=1, error="ValueError")] == [max(letters)]
    assert (await dead.count(queue="mail"), dead.count_sync(queue="slow")) == (4, 0)
    assert await dead.retry(task="none") == Tally(0, 0, 0)
    await jobs.retry(letters[0])
    assert await dead.count() == 3
    with pytest.raises(ConfigurationError, match="needs to be told which dead letters"):
        dead.discard()
    with pytest.raises(ConfigurationError, match="dead letters are jobs that failed"):
        await dead.count(state="ready")
    assert await dead.discard(state="failed") == Tally(3, 0, 3)
    assert await ids(jobs.list(state="failed")) == [letters[0]], "it has been run again: it is history"
    await drain(jobs)
    assert await dead.retry() == Tally(1, 0, 1), "the one that failed again"


async def test_somebody_is_told_of_dead_letters(shop: Shop) -> None:
    jobs = shop.jobs

    @jobs.on_alert("bad mail", dead_letters=1, within=timedelta(hours=1), queue="mail")
    @jobs.task(queue="pager")
    async def tell(alert: dict[str, object]) -> None:
        shop.told.append(alert)

    jobs.alert("only in the log", age=3600)
    async with jobs:
        await shop.fail(2)
        from offpath.engine import alerts
        from offpath.engine.clock import clock

        for _ in range(3):
            await alerts.look(jobs.store, jobs.registry, clock(jobs.store))
        await drain(jobs)
    (told,) = shop.told
    assert {name: told[name] for name in ("alert", "news", "value", "above", "queue", "within")} == {
        "alert": "bad mail", "news": "raised", "value": 2, "above": 1, "queue": "mail", "within": 3600.0,
    }  # fmt: skip


async def test_somebody_is_told_which_schedules_are_late(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    from offpath.engine import alerts
    from offpath.engine.clock import clock

    jobs = shop.jobs

    @jobs.on_alert("late", schedule_late=60)
    @jobs.task(queue="pager")
    async def tell(alert: dict[str, object]) -> None:
        shop.told.append(alert)

    async def moved(to: str) -> None:
        def move() -> Verb[None]:
            yield Statement(f"update offpath_schedule set next_at = {to}", {}, list)

        await jobs.store.perform(move)

    caplog.set_level("INFO", "offpath.alert")
    async with jobs:
        for n in range(7):
            await jobs.schedules.put(f"s{n}", Schedule.every(3600), tell.call({}))
        await moved("next_at - 7200000000 + rowid")
        await alerts.look(jobs.store, jobs.registry, clock(jobs.store))
        await moved("next_at + 7200000000")
        await alerts.look(jobs.store, jobs.registry, clock(jobs.store))
        await drain(jobs)
    assert [(told["news"], told["detail"]) for told in shop.told] == [
        ("raised", "s0, s1, s2, s3, s4 and 2 more"),
        ("resolved", ""),
    ]
    raised, resolved = (message for message in caplog.messages if message.startswith("alert."))
    assert raised.endswith("detail='s0, s1, s2, s3, s4 and 2 more'")
    assert "detail" not in resolved


def test_alerts_that_cannot_be(shop: Shop) -> None:
    jobs = shop.jobs
    jobs.alert("x", age=5)
    jobs.alert("x", age=5)  # the module was imported twice
    with pytest.raises(ConfigurationError, match="already"):
        jobs.alert("x", age=6)
    with pytest.raises(ConfigurationError, match="is told with one argument, a mapping"):
        jobs.alert("y", age=5, tell=shop.wait)

    @jobs.task
    async def wrong(alert: int) -> None: ...

    with pytest.raises(ConfigurationError, match="is told with one argument, a mapping"):
        jobs.on_alert("y", age=5)(wrong)
    with pytest.raises(ConfigurationError, match=r"goes above @jobs\.task"):
        jobs.on_alert("y", age=5)(lambda alert: None)  # type: ignore[type-var]
    assert [one.name for one in jobs.registry.alerts] == ["x"]


async def test_queues_and_tasks_say_how_long_what_has_ended_is_kept(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/k.db", queues=[Queue("brief", retention=60)], retention=3600)

    @jobs.task(queue="brief", retention={"failed": 120})
    async def work(bad: bool) -> None:
        if bad:
            raise ValueError

    async with jobs:
        made = [await work.using(retry=ONCE).enqueue(bad) for bad in (False, True)]
        gone = await work.using(delay=900).enqueue(False)
        await gone.cancel()
        await drain(jobs)
        rows = [jobs.store.read(jobs.store.verbs.find(job.id)).result() for job in (*made, gone)]
    ended = [row.finished for row in rows if row is not None]
    lengths = [round(((one.expires_at or 0) - one.finished_at) / 60e6) for one in ended if one is not None]
    assert lengths == [1, 2, 1]
