"""The worker as a whole: jobs go in, results come out."""

# ruff: noqa: B008 (provided() is a mark, and the same one every time)

import asyncio
import itertools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from offpath.core.change import Change
from offpath.core.job import State
from offpath.core.options import Queue
from offpath.core.outcome import Done
from offpath.core.policy import Policy
from offpath.engine.clock import clock
from offpath.engine.intake import MOST
from offpath.engine.leases import Keeper, Listener
from offpath.engine.pump import LONG, Pump
from offpath.engine.worker import Worker
from offpath.errors import ConfigurationError, JobFailed
from offpath.ports import Exchanged, Want
from offpath.transports.local import LocalTransport

from .kit import App, ahead, soon, until


async def test_a_coroutine_runs_on_the_loop_and_its_result_comes_back_as_the_annotated_type(app: App) -> None:
    threads: list[str] = []

    @app.task
    async def double(amount: Decimal, at: datetime) -> Decimal:
        threads.append(threading.current_thread().name)
        assert at.tzinfo is not None
        return amount * 2

    async with app.worker():
        job = await double.enqueue(amount=Decimal("1.10"), at=datetime.now(UTC))
        assert await job.result(60) == Decimal("2.20")
    assert threads == [threading.current_thread().name]


async def test_a_plain_function_runs_in_a_thread_and_may_block(app: App) -> None:
    gate = threading.Event()

    @app.task
    def wait() -> str:
        gate.wait(100)
        return threading.current_thread().name

    @app.task
    async def other() -> str:
        gate.set()
        return "the loop was free"

    async with app.worker():
        blocked = await wait.enqueue()
        free = await other.enqueue()
        assert await free.result(60) == "the loop was free"
        assert (await blocked.result(60)).startswith("offpath-thread")


async def test_what_a_handler_sets_in_a_context_variable_is_gone_with_it(make: Callable[..., App]) -> None:
    import contextvars

    app = make(concurrency=1)
    user = contextvars.ContextVar("user", default="nobody")

    @app.task
    async def who(name: str) -> str:
        before = user.get()
        user.set(name)
        await asyncio.sleep(0)
        assert user.get() == name
        return before

    async with app.worker():
        jobs = await who.enqueue_many([who.call(name=str(n)) for n in range(3)])
        assert [await job.result(60) for job in jobs] == ["nobody"] * 3


async def test_several_queues_and_none_declared_are_all_served(make: Callable[..., App]) -> None:
    app = make([Queue("critical", priority=1, weight=6)])

    @app.task(queue="critical")
    async def hello(name: str) -> str:
        return name

    async with app.worker():
        jobs = [await hello.using(queue=queue).enqueue(name=queue) for queue in ("critical", "low", "new")]
        assert [await job.result(60) for job in jobs] == ["critical", "low", "new"]


async def test_a_worker_with_named_queues_leaves_the_others_alone(app: App) -> None:
    @app.task
    async def hello() -> str:
        return "hello"

    other = await hello.using(queue="other").enqueue()
    mine = await hello.using(queue="mine").enqueue()
    await app.run_until_empty(queues=["mine"])
    assert (await mine.info()).state == "succeeded"
    assert (await other.info()).state == "ready"


async def test_until_empty_is_not_held_by_jobs_scheduled_for_later(app: App) -> None:
    @app.task
    async def hello() -> None: ...

    later = await hello.using(delay=timedelta(hours=1)).enqueue()
    now = await hello.enqueue()
    await app.run_until_empty()
    assert (await now.info()).state == "succeeded"
    assert (await later.info()).state == "scheduled"
    assert app.sql("select count(*) from offpath_worker") == [(0,)]


async def test_until_empty_waits_for_what_the_jobs_enqueue(app: App) -> None:
    seen = []

    @app.task
    async def chain(left: int) -> None:
        seen.append(left)
        if left:
            await chain.enqueue(left=left - 1)

    await chain.enqueue(left=5)
    await app.run_until_empty()
    assert seen == [5, 4, 3, 2, 1, 0]


async def test_until_empty_waits_for_what_runs_in_another_worker(make: Callable[..., App]) -> None:
    here, there = make(), make()
    started, gate = asyncio.Event(), asyncio.Event()

    @there.task
    async def slow() -> str:
        started.set()
        await gate.wait()
        return "done"

    @here.task
    async def quick(n: int) -> int:
        return n

    async with there.worker():
        job = await slow.enqueue()
        await soon(started.wait())
        worker = Worker(here.store, here.transport, here.registry, here.settings, until_empty=True)
        running = asyncio.ensure_future(worker.run())
        for n in range(5):  # each of these is followed by a look at whether anything is left
            assert await (await quick.enqueue(n=n)).result(60) == n
        assert not running.done()
        gate.set()
        assert await job.result(60) == "done"
        await soon(running)


async def test_a_scheduled_job_starts_when_it_falls_due_and_not_before(make: Callable[..., App]) -> None:
    app = make(poll=3600)

    @app.task
    async def when() -> int:
        return app.store.now()

    async with app.worker():
        job = await when.using(delay=0.4).enqueue()
        due = (await job.info()).run_at
        started = datetime.fromtimestamp(await job.result(60) / 1e6, UTC)
    assert timedelta(0) <= started - due  # not before, and long before the poll


async def test_a_job_whose_deadline_has_passed_never_starts(app: App) -> None:
    started = []

    @app.task
    async def late() -> None:
        started.append(1)

    job = await late.using(deadline=0.001).enqueue()
    await until(lambda: app.sql("select 1 from offpath_job where deadline < ?", app.store.now()))
    await app.run_until_empty()
    with pytest.raises(JobFailed, match="deadline"):
        await job.result(60)
    assert started == []


async def test_a_task_nobody_knows_stays_queued_and_harms_nobody(app: App) -> None:
    @app.task
    async def known() -> str:
        return "ran"

    @app.task
    async def gone() -> None: ...

    orphan = await gone.enqueue()
    del app.registry._tasks["gone"]
    await known.enqueue()
    await app.run_until_empty()
    assert (await orphan.info()).state == "ready"


async def test_stored_arguments_that_fit_no_more_fail_that_job_and_its_neighbours_run(app: App) -> None:
    @app.task
    async def hello(n: int) -> int:
        return n

    jobs = await hello.enqueue_many([hello.call(n=n) for n in range(3)])
    app.sql('update offpath_job set args = \'{"n": "x\' where id = ?', jobs[1].id)
    async with app.worker():
        assert await jobs[0].result(60) == 0
        assert await jobs[2].result(60) == 2
        with pytest.raises(JobFailed) as failure:
            await jobs[1].result(60)
    assert failure.value.error["kind"] == "undecodable"


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("options", ['{"timeout": "x"}', "{bad", '{"callback": {', '{"timeout": 5, "timeout": -1}'])
async def test_stored_options_that_cannot_be_read_fail_that_job_and_its_neighbours_run(
    make: Callable[..., App], options: str, threaded: bool
) -> None:
    app = make(concurrency=1)

    async def hello(n: int) -> int:
        return n

    def plainly(n: int) -> int:
        return n

    task = app.task(plainly if threaded else hello)
    broken, well = await app.watched(task, n=1), await task.enqueue(n=2)
    app.sql("update offpath_job set options = ? where id = ?", options, broken.id)
    await app.run_until_empty()
    assert await well.result(60) == 2
    with pytest.raises(JobFailed) as failure:
        await broken.result(60)
    assert failure.value.error["kind"] == "undecodable"
    assert "options of the job cannot be read" in failure.value.error["detail"]


async def test_two_workers_of_one_process_share_the_work_and_run_nothing_twice(make: Callable[..., App]) -> None:
    one, two = make(concurrency=5), make(concurrency=5)
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)
        await asyncio.sleep(0)

    task = one.task(work)
    two.task(work)
    await task.enqueue_many([task.call(n=n) for n in range(500)])
    await asyncio.gather(one.run_until_empty(), two.run_until_empty())
    assert sorted(ran) == list(range(500))


async def test_no_worker_is_idle_while_jobs_wait_in_another(
    make: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick jobs make a worker claim ahead; then a slow one comes, and what stands behind it is given back."""
    monkeypatch.setattr("offpath.engine.intake.QUICK", 60.0)  # they are quick on any machine
    one, two = make(concurrency=1), make(concurrency=1)
    gate, held = asyncio.Event(), asyncio.Event()
    slow: list[int] = []
    crew: list[Worker] = []

    async def work(n: int, where: str) -> None:
        if crew and not slow and ahead(crew[0]) > 1:
            slow.append(n)
            held.set()
            await gate.wait()

    task = one.task(work)
    two.task(work)
    jobs = await task.enqueue_many([task.call(n=n, where="") for n in range(1_500)])
    async with one.worker() as first:
        crew.append(first)
        await soon(held.wait())
        async with two.worker():
            await until(lambda: app_state(one, 3) == 1 and app_state(one, 2) == 0)
        gate.set()
        await jobs[slow[0]].result(60)


async def test_what_has_just_come_is_not_given_back(make: Callable[..., App]) -> None:
    """The second's look may fall between a claim and the turn of the loop in which its jobs start."""
    app = make(concurrency=1)
    gate, held = asyncio.Event(), asyncio.Event()

    @app.task
    async def work() -> None:
        held.set()
        await gate.wait()

    ours, other = (new.job._replace(state=State.RUNNING, fence=1) for new in app.new([work.call().core] * 2))
    async with app.worker() as worker:
        await soon(worker.ready.wait())
        crew = worker._crew
        assert crew is not None
        [intake] = crew.pump.intakes
        intake.got([ours], True, 0, 0.0)
        assert intake.stagnant() == []
        await soon(held.wait())
        assert intake.stagnant() == []
        intake.got([other], True, 0, 0.0)
        assert intake.stagnant() == [other], "its slot is taken, and for how long nobody knows"
        gate.set()


def app_state(app: App, state: int) -> int:
    return int(app.sql("select count(*) from offpath_job where state = ?", state)[0][0])


async def test_concurrency_bounds_coroutines_and_threads_together(make: Callable[..., App]) -> None:
    app = make(concurrency=2, threads=2)
    now = most = 0
    lock = threading.Lock()

    def count(by: int) -> None:
        nonlocal now, most
        with lock:
            now += by
            most = max(most, now)

    @app.task
    async def soft() -> None:
        count(1)
        await asyncio.sleep(0.005)
        count(-1)

    @app.task
    def hard() -> None:
        count(1)
        threading.Event().wait(0.005)
        count(-1)

    for task in (soft, hard):
        await task.enqueue_many([task.call() for _ in range(20)])
    await app.run_until_empty()
    assert most == 2


async def test_handlers_that_never_suspend_leave_the_loop_time_for_others(app: App) -> None:
    """All slots together share a millisecond per turn of the loop."""

    @app.task
    async def busy() -> None:
        sum(range(20_000))

    await busy.enqueue_many([busy.call() for _ in range(2_000)])
    loop = asyncio.get_running_loop()
    turns: list[float] = []

    def turn() -> None:
        turns.append(time.thread_time())  # what others use of the processor meanwhile is not ours
        loop.call_soon(turn)

    turn()
    async with app.worker():
        await until(lambda: app.sql("select count(*) from offpath_job") == [(0,)])
    gaps = [b - a for a, b in itertools.pairwise(turns)]
    assert sum(gap for gap in gaps if gap > 0.05) < 0.3 * sum(gaps)


async def test_a_finished_job_is_durable_within_50_ms(make: Callable[..., App]) -> None:
    """Ten times; a machine that others hold up is asked again, up to two hundred times. Whoever waited on purpose, for
    more to write together, would never be as quick."""
    app = make(poll=60)
    took: list[float] = []
    loop = asyncio.get_running_loop()

    @app.task
    async def quick() -> None:
        done_at.append(loop.time())

    done_at: list[float] = []
    async with app.worker():
        while sum(one < 0.05 for one in took) < 10 and len(took) < 200:
            done_at.clear()
            await quick.enqueue()
            await until(lambda: app.sql("select 1 from offpath_history"))
            took.append(loop.time() - done_at[0])
            app.sql("delete from offpath_history")
    assert sum(one < 0.05 for one in took) == 10, sorted(took)


async def test_a_need_that_nobody_provides_is_refused_at_the_start_and_named(app: App) -> None:
    from offpath.tasks import provided

    class Pool: ...

    @app.task
    async def needs(pool: Pool = provided()) -> None: ...

    with pytest.raises(ConfigurationError, match=r"task needs: parameter 'pool' needs .*Pool"):
        await app.run_until_empty()


async def test_without_any_hint_the_poll_finds_the_work(make: Callable[..., App], tmp_path: Path) -> None:
    app = make(poll=0.2)

    @app.task
    async def hello() -> str:
        return "hello"

    elsewhere = LocalTransport(str(tmp_path / "another.db"))  # a working transport, but nobody speaks there
    worker = Worker(app.store, elsewhere, app.registry, app.settings)
    running = asyncio.ensure_future(worker.run())
    await soon(worker.ready.wait())
    for _ in range(3):
        assert await (await hello.enqueue()).result(60) == "hello"
    worker.stop()
    await soon(running)
    elsewhere.close()


async def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    import resource

    caplog.set_level(logging.INFO, "offpath")
    ran = 0

    @app.task
    async def work(text: str) -> str:
        nonlocal ran
        ran += 1
        if ran == 1:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (1, hard)
            )  # no file can grow, or be written beyond its first byte
            outages.append(asyncio.ensure_future(until_it_is_told(soft, hard)))
        return text

    outages: list[asyncio.Future[None]] = []

    async def until_it_is_told(soft: int, hard: int) -> None:
        try:
            await until(lambda: "worker.failed" in caplog.text)
            await asyncio.sleep(0.3)  # and some more tries, of which nothing is to be said
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    jobs = await work.enqueue_many([work.call(text="x" * 1000) for _ in range(300)])
    async with app.worker():
        assert [await soon(job.result(60)) for job in jobs] == ["x" * 1000] * 300
    assert ran == 300
    await asyncio.gather(*outages)
    said = [record.getMessage().split(" ", 1)[0] for record in caplog.records]
    assert said.count("worker.failed") == 1  # one line for the outage, however often it was tried
    assert said.count("worker.resumed") == 1
    assert app.sql("select count(*) from offpath_history") == [(300,)]


async def test_an_outcome_that_the_store_refuses_fails_its_job_alone(app: App) -> None:
    @app.task
    async def work(n: int) -> None: ...

    jobs = await work.enqueue_many([work.call(n=n) for n in range(9)])
    lease = app.store.lease()
    lease.register("w", 15, "[]", "")
    claimed = (await app.store.exchange("w", [], Want((("default", 1),), '["work@1"]', 10, 10, True))).claimed
    time = clock(app.store)
    keeper = Keeper(app.store, "w", "[]", "", (15, 5), time, Listener(print, print, print), lambda: False)
    pump = Pump(app.store, keeper, time, [], tuple, policy=lambda job: Policy(), running={}, held={}, concurrency=1)
    for n, job in enumerate(claimed):
        pump.decide(job, Done("\ud800" if n == 4 else "null"), Policy())  # the codec would not let it through
    pump.ending = True
    await soon(pump.run())
    states = [(await job.info()).state for job in jobs]
    assert states == ["succeeded"] * 4 + ["failed"] + ["succeeded"] * 4
    assert '"result"' in (await app.ended(jobs[4])).error
    lease.close()


async def test_another_program_that_locks_the_file_for_a_while_only_delays(make: Callable[..., App]) -> None:
    app = make()

    @app.task
    async def work(n: int) -> int:
        return n

    blocker = sqlite3.connect(app.path, isolation_level=None)
    async with app.worker():
        jobs = await work.enqueue_many([work.call(n=n) for n in range(10)])
        blocker.execute("begin immediate")
        await asyncio.sleep(0.2)  # the point of this test: for a while nobody can write
        blocker.execute("rollback")
        assert [await job.result(60) for job in jobs] == list(range(10))
    blocker.close()


async def test_the_counts_of_a_finished_worker_agree_with_the_table(app: App) -> None:
    @app.task
    async def some(n: int) -> None:
        if n % 3 == 0:
            raise ValueError(n)

    some_retry = some.using(retry=None)
    await some_retry.enqueue_many([some_retry.call(n=n) for n in range(30)])
    await app.run_until_empty()
    states = dict(app.sql("select state, count(*) from offpath_job group by state"))
    assert states == {State.SCHEDULED: 10}
    assert app.sql("select count(*) from offpath_history") == [(20,)]


async def test_outcomes_do_not_pile_up_when_the_store_is_slow(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few exchanges take too long, so the next ones carry less, and stay small: then no more is claimed either."""
    done = written = most = calls = 0

    @app.task
    async def work(n: int) -> None:
        nonlocal done
        done += 1

    exchange = app.store.exchange

    async def slow(worker: str, changes: Sequence[Change], want: Want | None) -> Exchanged:
        nonlocal written, most, calls
        calls += 1
        most = max(most, done - written)
        await asyncio.sleep(LONG * (1.5 if 5 < calls < 10 else 0.6))
        answer = await exchange(worker, changes, want)
        written += len(changes)
        return answer

    count = 12 * MOST
    for start in range(0, count, 1000):
        await work.enqueue_many([work.call(n=n) for n in range(start, min(start + 1000, count))])
    monkeypatch.setattr(app.store, "exchange", slow)
    async with app.worker():
        await until(lambda: done >= 8 * MOST)
    assert most <= 2 * MOST
