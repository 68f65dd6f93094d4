"""Batches: one call for many jobs, and each of them a job of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath import Backoff, Cancel, Context, JobFailed, Offpath, Retry, Snooze, provided
from offpath.engine.clock import clock
from offpath.engine.worker import Worker
from offpath.tasks import AttemptInfo, Job, Principal

from .kit import SOON, soon

LONG = 3600  # s: a batch that waits so long is never due in a test
NEVER_AGAIN = Retry(max_attempts=1)

Make = Callable[..., Offpath]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Offpath] = []

    def one(**settings: Any) -> Offpath:
        made.append(Offpath(f"sqlite:///{tmp_path}/jobs.db", **settings))
        return made[-1]

    yield one
    for jobs in made:
        jobs.close()


@pytest.fixture
def jobs(make: Make) -> Offpath:
    return make()


async def states(*made: Job[Any]) -> list[str]:
    return [(await job.info()).state for job in made]


async def until_running(*made: Job[Any]) -> None:
    """A job that gathers has been claimed, and nobody is told of that: one has to look."""
    async with asyncio.timeout(SOON):
        while set(await states(*made)) != {"running"}:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def ended(job: Job[Any]) -> dict[str, Any]:
    """The error of a job that ends without a result."""
    with pytest.raises(JobFailed) as failed:
        await job.result(SOON)
    return failed.value.error | {"state": failed.value.state}


class Calls(asyncio.Queue[list[Any]]):
    """The lists that a batch task was given."""

    async def sizes(self, count: int) -> list[int]:
        async with asyncio.timeout(SOON):
            return [len(await self.get()) for _ in range(count)]


async def test_full_ones_run_at_once_and_the_rest_is_given_back(jobs: Offpath) -> None:
    """Nobody waits for what may come when the worker stops."""
    calls = Calls()

    @jobs.batch(size=3, wait=LONG)
    async def index(docs: list[int]) -> None:
        calls.put_nowait(docs)

    async with jobs, jobs.worker():
        made = await index.enqueue_many([index.call(n) for n in range(7)])
        assert await calls.sizes(2) == [3, 3]
        for job in made[:6]:
            assert await job.result(SOON) is None
        await until_running(made[6])
    async with jobs:
        info = await made[6].info()
        assert (info.state, info.attempt) == ("ready", 1)
    assert calls.empty()


async def test_a_batch_is_due_when_its_first_job_has_waited(jobs: Offpath) -> None:
    @jobs.batch(size=100, wait=0.05)
    async def measure(words: list[str]) -> list[int]:
        sizes.append(len(words))
        return [len(word) for word in words]

    sizes: list[int] = []
    async with jobs:
        made = await measure.enqueue_many([measure.call("a" * n) for n in range(5)])  # they come with one claim
        async with jobs.worker():
            assert [await job.result(SOON) for job in made] == [0, 1, 2, 3, 4]
    assert sizes == [5]


async def test_a_batch_that_gathers_takes_no_slot(jobs: Offpath) -> None:
    @jobs.batch(size=2, wait=LONG)
    async def index(docs: list[int]) -> None: ...

    @jobs.task
    async def ping(n: int) -> int:
        return n

    async with jobs, jobs.worker(concurrency=1):
        first = await index.enqueue(1)
        assert await (await ping.enqueue(1)).result(SOON) == 1
        assert await (await ping.enqueue(2)).result(SOON) == 2
        second = await index.enqueue(2)
        assert await first.result(SOON) is await second.result(SOON) is None


async def test_more_gather_than_run_at_once(jobs: Offpath) -> None:
    calls = Calls()

    @jobs.batch(size=300, wait=LONG)
    async def index(docs: list[int]) -> None:
        calls.put_nowait(docs)

    async with jobs:
        await index.enqueue_many([index.call(n) for n in range(600)])
        async with jobs.worker(concurrency=2):
            assert await calls.sizes(2) == [300, 300]


async def test_as_many_run_at_once_as_there_are_slots(jobs: Offpath) -> None:
    """A batch is one attempt: while ten run, and none has ended, a hundred jobs have been claimed."""
    calls, gate = Calls(), asyncio.Event()

    @jobs.batch(size=10, wait=LONG)
    async def index(docs: list[int]) -> None:
        calls.put_nowait(docs)
        await gate.wait()

    async with jobs:
        made = await index.enqueue_many([index.call(n) for n in range(120)])
        async with jobs.worker(concurrency=10):
            assert await calls.sizes(10) == [10] * 10
            assert calls.empty()
            gate.set()
            for job in made:
                await job.result(SOON)


async def test_each_job_has_its_own_answer(jobs: Offpath) -> None:
    again = asyncio.Event()

    @jobs.batch(size=10, wait=0.05, retry=Retry(max_attempts=2, backoff=Backoff.fixed(0.01), give_up_on=(KeyError,)))
    async def work(ctx: Context, words: list[str]) -> list[str | BaseException]:
        return await asyncio.gather(*map(one, ctx.each, words), return_exceptions=True)

    async def one(ctx: Context, word: str) -> str:
        match word:
            case "flaky" if ctx.attempt == 1:
                raise ValueError(word)
            case "broken":
                raise ValueError(word)
            case "hopeless":
                raise KeyError(word)
            case "later":
                again.set()
                raise Snooze(LONG)
            case "enough":
                raise Cancel("enough")
        return f"{word} {ctx.attempt}"

    async with jobs:
        words = ["fine", "flaky", "broken", "hopeless", "later", "enough", "good"]
        made = dict(zip(words, await work.enqueue_many([work.call(word) for word in words]), strict=True))
        async with jobs.worker():
            assert await made["fine"].result(SOON) == "fine 1"
            assert await made["good"].result(SOON) == "good 1"
            assert await made["flaky"].result(SOON) == "flaky 2"
            broken, hopeless = await ended(made["broken"]), await ended(made["hopeless"])
            assert (broken["class"], hopeless["class"]) == ("ValueError", "KeyError")
            assert [(await made[word].info()).attempt for word in ("broken", "hopeless")] == [2, 1]
            assert (await ended(made["enough"]))["reason"] == "enough"
            await soon(again.wait())
        assert (await made["later"].info()).state == "scheduled"


async def test_what_the_function_raises_is_the_failure_of_all(jobs: Offpath) -> None:
    seen: list[int] = []

    @jobs.batch(size=10, wait=0.05, retry=Retry(max_attempts=2, backoff=Backoff.fixed(0.01)))
    async def index(docs: list[int]) -> None:
        seen.extend(docs)
        raise OSError("no index")

    async with jobs:
        made = await index.enqueue_many([index.call(n) for n in range(3)])
        async with jobs.worker():
            for job in made:
                assert (await ended(job))["class"] == "OSError"
    assert sorted(seen) == [0, 0, 1, 1, 2, 2], "each was tried again"


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([1], "was given 2 jobs and returned 1 entries"),
        ([1, 2, 3], "was given 2 jobs and returned 3 entries"),
        ([], "was given 2 jobs and returned 0 entries"),
        ("ab", "must return None, or a list with an entry for each job"),
        ({1: 2}, "must return None, or a list with an entry for each job"),
    ],
)
async def test_a_wrong_answer_is_told_to_all_and_not_repeated(jobs: Offpath, returned: Any, said: str) -> None:
    @jobs.batch(size=2, wait=LONG)
    async def work(words: list[str]) -> list[int]:
        return returned  # type: ignore[no-any-return]

    async with jobs, jobs.worker():
        for job in await work.enqueue_many([work.call("a"), work.call("b")]):
            error = await ended(job)
            assert error["kind"] == "result"
            assert said in error["detail"]
            assert (await job.info()).attempt == 1


async def test_a_result_that_cannot_be_stored_is_its_jobs_alone(jobs: Offpath) -> None:
    @jobs.batch(size=2, wait=LONG)
    async def work(words: list[str]) -> list[int]:
        return [7, "no number"]  # type: ignore[list-item]

    async with jobs, jobs.worker():
        good, bad = await work.enqueue_many([work.call("a"), work.call("b")])
        assert await good.result(SOON) == 7
        assert (await ended(bad))["kind"] == "result"


async def test_arguments_that_do_not_fit_drop_out(jobs: Offpath, tmp_path: Path) -> None:
    import sqlite3

    @jobs.batch(size=3, wait=LONG)
    async def work(words: list[str]) -> list[str]:
        return words

    async with jobs:
        first, bad, last = await work.enqueue_many([work.call(word) for word in "abc"])
        with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute("update offpath_job set args = '{\"words\": 3}' where id = ?", (bad.id,))
        async with jobs.worker():
            assert (await first.result(SOON), await last.result(SOON)) == ("a", "c")
            assert (await ended(bad))["kind"] == "undecodable"


async def test_a_deadline_that_has_passed_drops_out_and_the_others_run(jobs: Offpath) -> None:
    @jobs.batch(size=2, wait=LONG)
    async def work(words: list[str]) -> list[str]:
        return words

    async with jobs:
        ahead = 0
        time = clock(jobs.store)._replace(now=lambda: jobs.store.now() + ahead)
        worker = Worker(jobs.store, jobs.transport, jobs.registry, jobs.settings, time=time)
        running = asyncio.create_task(worker.run())
        late = await work.using(deadline=LONG).enqueue("a")
        await until_running(late)
        ahead = 2 * LONG * 1_000_000
        fine = await work.enqueue("b")
        assert await fine.result(SOON) == "b"
        assert (await ended(late))["kind"] == "deadline"
        worker.stop()
        await soon(running)


async def test_one_that_is_canceled_while_it_gathers_drops_out(jobs: Offpath) -> None:
    calls = Calls()

    @jobs.batch(size=3, wait=LONG)
    async def index(docs: list[int]) -> None:
        calls.put_nowait(docs)

    async with jobs, jobs.worker():
        first, second = await index.enqueue_many([index.call(1), index.call(2)])
        await until_running(first, second)
        await first.cancel("enough")
        assert (await ended(first))["reason"] == "enough"
        assert calls.empty()
        assert await states(second) == ["running"]
        await index.enqueue_many([index.call(3), index.call(4)])
        assert sorted(await soon(calls.get())) == [2, 3, 4]
        await second.cancel("too late")
        lonely = await index.enqueue(5)
        await until_running(lonely)
        await lonely.cancel("enough")
        assert (await ended(lonely))["state"] == "canceled", "the only one of its batch"
        more = await index.enqueue_many([index.call(n) for n in (6, 7, 8)])
        assert sorted(await soon(calls.get())) == [6, 7, 8]
        assert [await job.result(SOON) for job in more] == [None] * 3


async def test_one_that_is_canceled_while_it_runs_ends_alone(jobs: Offpath) -> None:
    running = asyncio.Event()

    @jobs.batch(size=2, wait=LONG)
    async def work(ctx: Context, words: list[str]) -> list[str]:
        running.set()
        while not ctx.each[0].canceled:  # noqa: ASYNC110 (that is how a handler hears of it)
            await asyncio.sleep(0.005)
        assert not ctx.canceled
        assert not ctx.each[1].canceled
        return words

    async with jobs, jobs.worker():
        first, second = await work.enqueue_many([work.call("a"), work.call("b")])
        await soon(running.wait())
        await first.cancel("enough")
        assert await second.result(SOON) == "b"
        assert (await ended(first))["reason"] == "enough"


async def test_when_all_are_canceled_the_call_is(jobs: Offpath) -> None:
    running, cut = asyncio.Event(), asyncio.Event()

    @jobs.batch(size=2, wait=LONG)
    async def work(words: list[str]) -> list[str]:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.set()
            raise
        return words

    async with jobs, jobs.worker():
        made = await work.enqueue_many([work.call("a"), work.call("b")])
        await soon(running.wait())
        for job in made:
            await job.cancel("enough")
        for job in made:
            assert (await ended(job))["state"] == "canceled"
        assert cut.is_set()


async def test_the_timeout_holds_for_the_call(jobs: Offpath) -> None:
    @jobs.batch(size=2, wait=LONG, timeout=0.05, retry=NEVER_AGAIN)
    async def work(words: list[str]) -> None:
        await asyncio.Event().wait()

    async with jobs, jobs.worker():
        for job in await work.enqueue_many([work.call("a"), work.call("b")]):
            assert (await ended(job))["kind"] == "timeout"


async def test_a_call_that_does_not_stop_is_given_up_and_all_are_settled(make: Make) -> None:
    jobs = make(cancel_grace=0.05, concurrency=1)
    stuck, let_go = asyncio.Event(), threading.Event()

    @jobs.batch(size=2, wait=LONG, timeout=0.05, retry=NEVER_AGAIN)
    def work(words: list[str]) -> None:
        stuck_here()
        let_go.wait(2 * SOON)

    loop = asyncio.get_running_loop()

    def stuck_here() -> None:
        loop.call_soon_threadsafe(stuck.set)

    @jobs.task
    def ping() -> int:
        return 1

    async with jobs, jobs.worker():
        made = await work.enqueue_many([work.call("a"), work.call("b")])
        await soon(stuck.wait())
        for job in made:
            error = await ended(job)
            assert (error["kind"], error["abandoned"]) == ("timeout", True)
        assert await (await ping.enqueue()).result(SOON) == 1, "the slot has been replaced"
        let_go.set()


async def test_shutdown_interrupts_a_call_and_no_job_suffers(make: Make) -> None:
    jobs = make(drain=0.0)
    running = asyncio.Event()

    @jobs.batch(size=2, wait=LONG)
    async def work(words: list[str]) -> None:
        running.set()
        await asyncio.Event().wait()

    async with jobs:
        async with jobs.worker():
            made = await work.enqueue_many([work.call("a"), work.call("b")])
            await soon(running.wait())
        assert [((await job.info()).state, (await job.info()).attempt) for job in made] == [("ready", 1)] * 2


async def test_what_must_not_repeat_does_not_wait(jobs: Offpath) -> None:
    sizes: list[int] = []

    @jobs.batch(size=10, wait=LONG, delivery="at_most_once")
    async def charge(cents: list[int]) -> list[int]:
        sizes.append(len(cents))
        return cents

    async with jobs:
        made = await charge.enqueue_many([charge.call(n) for n in range(4)])
        async with jobs.worker():
            assert [await job.result(SOON) for job in made] == [0, 1, 2, 3]
    assert sizes == [4]


async def test_a_suspect_runs_alone(jobs: Offpath, tmp_path: Path) -> None:
    import sqlite3

    calls: list[list[int]] = []

    @jobs.batch(size=10, wait=0.05)
    async def work(numbers: list[int]) -> None:
        calls.append(sorted(numbers))

    async with jobs:
        made = await work.enqueue_many([work.call(n) for n in range(4)])
        with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute("update offpath_job set crashes = 2 where id = ?", (made[1].id,))
        async with jobs.worker():
            for job in made:
                await job.result(SOON)
    assert [1] in calls
    assert sorted(n for call in calls for n in call) == [0, 1, 2, 3]


async def test_plain_functions_run_in_threads_with_context_and_providers(jobs: Offpath) -> None:
    opened: list[str] = []

    class Pool: ...

    @jobs.provider(lifetime="attempt")
    def pool() -> Iterator[Pool]:
        opened.append("opened")
        yield Pool()
        opened.append("closed")

    @jobs.batch(size=3, wait=LONG)
    def work(ctx: Context, words: list[str], pool: Pool = provided()) -> list[str]:
        assert isinstance(pool, Pool)
        assert threading.current_thread() is not threading.main_thread()
        assert ctx.progress(1, of=2).result(SOON)
        assert ctx.each[2].progress(2, of=2).result(SOON)
        assert [one.attempt for one in ctx.each] == [1, 1, 1]
        return [one.job for one in ctx.each]

    async with jobs, jobs.worker():
        made = await work.enqueue_many([work.call(word) for word in "abc"])
        assert [await job.result(SOON) for job in made] == [job.id for job in made]
    assert opened == ["opened", "closed"], "once for the call"


async def test_hooks_hear_of_each_job(jobs: Offpath) -> None:
    heard: list[tuple[str, int]] = []
    done = asyncio.Event()

    @jobs.batch(size=2, wait=LONG, retry=NEVER_AGAIN)
    async def work(words: list[str]) -> list[str | Exception]:
        return ["a", ValueError("b")]

    ids: list[str] = []

    def note(kind: str) -> Callable[[AttemptInfo], Any]:
        async def hook(info: AttemptInfo) -> None:
            heard.append((kind, ids.index(info.job)))
            if kind == "exhausted":
                done.set()

        return hook

    for kind in ("before", "after", "failure", "exhausted"):
        work.hook(kind)(note(kind))  # type: ignore[arg-type]
    async with jobs:
        ids += [job.id for job in await work.enqueue_many([work.call("a"), work.call("b")])]
        async with jobs.worker():
            await soon(done.wait())
    assert sorted(heard) == sorted(
        [("before", 0), ("before", 1), ("after", 0), ("after", 1), ("failure", 1), ("exhausted", 1)]
    )


async def test_whoever_may_no_more_drops_out(jobs: Offpath) -> None:
    @jobs.authorizer
    async def may(principal: Principal) -> bool:
        if principal.id == "crash":
            raise OSError("no directory")
        return principal.id != "mallory"

    @jobs.batch(size=4, wait=LONG, retry=NEVER_AGAIN)
    async def work(ctx: Context, words: list[str]) -> list[str]:
        return [one.principal.id if one.principal else word for one, word in zip(ctx.each, words, strict=True)]

    async with jobs, jobs.worker():
        owners = ["alice", "mallory", "crash"]
        calls = [work.using(owner=owner).call(owner) for owner in owners]
        alice, mallory, crash, nobody = await work.enqueue_many([*calls, work.call("nobody")])
        assert await alice.result(SOON) == "alice"
        assert await nobody.result(SOON) == "nobody"
        assert (await ended(mallory))["kind"] == "revoked"
        assert (await ended(crash))["class"] == "OSError"


async def test_other_options_are_another_batch(jobs: Offpath) -> None:
    calls = Calls()

    @jobs.batch(size=2, wait=LONG)
    async def work(words: list[str]) -> None:
        calls.put_nowait(sorted(words))

    async with jobs, jobs.worker():
        await work.enqueue("a")
        await work.using(timeout=7).enqueue("b")
        await work.using(timeout=7).enqueue("c")
        assert await soon(calls.get()) == ["b", "c"]
        await work.enqueue("d")
        assert await soon(calls.get()) == ["a", "d"]


async def test_until_empty_waits_for_what_gathers(jobs: Offpath) -> None:
    @jobs.batch(size=100, wait=0.1)
    async def work(words: list[str]) -> list[str]:
        return words

    async with jobs:
        made = await work.enqueue_many([work.call("a"), work.call("b")])
        await soon(jobs.make_worker(until_empty=True).run())
        assert [await job.result(0) for job in made] == ["a", "b"]


async def test_no_wait_takes_what_is_there(jobs: Offpath) -> None:
    sizes: list[int] = []

    @jobs.batch(size=3, wait=0)
    async def work(numbers: list[int]) -> list[int]:
        sizes.append(len(numbers))
        return numbers

    @jobs.task
    async def other(n: int) -> int:
        return n

    async with jobs:
        calls = [(work, other)[n % 2].call(n) for n in range(8)]
        made = await jobs.enqueue_many(calls)
        async with jobs.worker():
            assert [await job.result(SOON) for job in made] == list(range(8))
    assert sizes == [3, 1]
