"""Store × transport × fault: hints are hints, and the store has the jobs. Whatever happens to them, every job runs, and
runs once: the store says so, and a ledger outside of it.

One test is one store with one transport; the faults come one after the other, with the same two workers.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath
from offpath.app import places
from offpath.ports import Hint
from offpath.tasks import Job, Task
from offpath.transports.notify import NotifyTransport
from tests.matrix import FAULTS, PROPERTY, Cell
from tests.transports import faults
from tests.transports.faults import Faulty, Ground

pytestmark = pytest.mark.anyio

JOBS, BATCH = 100, 10  # of a cell; of one enqueue
POLL = 0.25  # s: what a lost hint costs here, of work and of a cancellation
PATIENCE = 60.0  # s
WORKERS = 2
QUEUES = ("red", "green", "blue")
STORES = ("sqlite", "postgresql")
TRANSPORTS = (
    "default",
    "redis",
    pytest.param("redis7", marks=pytest.mark.soak),  # Valkey is its neighbour in every cell
    "rabbitmq",
    "kafka",
    "sqs",
)


@pytest.fixture
def database(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db" if store == "sqlite" else request.getfixturevalue("tables_url")


@pytest.fixture
def ground(store: str, transport: str, database: str, request: pytest.FixtureRequest) -> Iterator[Ground]:
    get = request.getfixturevalue
    if transport == "default":
        made = (
            faults.local(Path(database.removeprefix("sqlite:///"))) if store == "sqlite" else faults.proxied(database)
        )
    elif transport in ("redis", "redis7"):
        made = faults.redis(get(f"{transport}_server"))
    elif transport == "kafka":
        made = faults.kafka(get("kafka_server"))
    elif transport == "rabbitmq" and store == "postgresql":  # it takes seconds to come back: once is enough
        made = faults.rabbitmq(get("rabbitmq_server"))
    else:
        made = faults.proxied(get(f"{transport}_url"))
    with made as ground:
        yield ground


class Fleet:
    """A producer and two workers, each an application of its own, that only share the database and the transport."""

    def __init__(self, database: str, ground: Ground) -> None:
        self.ledger: Counter[int] = Counter()
        self.lines: list[Faulty] = []
        self._lingering, self._told = asyncio.Semaphore(0), asyncio.Semaphore(0)
        self._ran = asyncio.Event()
        self._database, self._ground = database, ground
        self.producer = self._app()
        self.workers = [self._app() for _ in range(WORKERS)]
        self.given = 0

    def _app(self) -> Offpath:
        url = self._ground.url
        if url.startswith("postgresql:"):  # its own way, but through the proxy, which the store goes round
            jobs = Offpath(self._database, poll=POLL, renew=POLL, concurrency=10)
            store, line = places.PLACES["postgresql"](
                self._database, jobs.registry.terms, places.PUBLIC, lambda: NotifyTransport(url)
            )
        else:
            jobs = Offpath(self._database, transport=url, poll=POLL, renew=POLL, concurrency=10)
            store, line = jobs.store, jobs.transport
        faulty = Faulty(line, random.Random(len(self.lines)))
        self.lines.append(faulty)
        jobs.desk._parts = (store, faulty)

        @jobs.task(name="effect")
        async def effect(number: int) -> None:
            self.ledger[number] += 1
            self._ran.set()
            await asyncio.sleep(0.002)  # work

        @jobs.task(name="linger", queue=QUEUES[0])
        async def linger() -> None:
            self._lingering.release()
            try:
                await asyncio.Event().wait()
            finally:
                self._told.release()

        return jobs

    def _task(self, name: str) -> Task[..., Any]:
        task = self.producer.registry.get(name)
        assert task is not None
        return task

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            self.producer.migrate()
            for jobs in (self.producer, *self.workers):
                await stack.enter_async_context(jobs)
            stack.callback(self.lines[0].subscribe(lambda hint: None))  # as whoever waits for a result does
            for jobs in self.workers:
                await stack.enter_async_context(jobs.worker())
            yield

    async def enqueue(self, n: int) -> None:
        """In several queues, one of which is stopped and let go on meanwhile: hints of several kinds and names."""
        tasks = [self._task("effect").using(queue=queue) for queue in QUEUES]
        await self.producer.queues.pause(QUEUES[1])
        for _ in range(n // BATCH):
            calls = [tasks[i % len(tasks)].call(number=self.given + i) for i in range(BATCH)]
            await self.producer.enqueue_many(calls)
            self.given += BATCH
        await self.producer.queues.resume(QUEUES[1])

    async def linger(self) -> Job[None]:
        """A job that only ends when it is told to, and has begun."""
        job: Job[None] = await self._task("linger").enqueue()
        async with asyncio.timeout(PATIENCE):
            await self._lingering.acquire()
        return job

    async def cancel(self, job: Job[None]) -> None:
        await job.cancel()
        async with asyncio.timeout(PATIENCE):
            await self._told.acquire()

    async def ran(self, n: int) -> None:
        """Until so many have begun. Not for ever: what is missing then is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while len(self.ledger) < n:
                    self._ran.clear()
                    await self._ran.wait()

    async def ended(self) -> int:
        """How many have succeeded, once none is under way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while await self.producer.count(state=("ready", "running", "scheduled")):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)  # nobody tells another process of a job that nobody waits for
        return await self.producer.count(state="succeeded")

    async def hear(self) -> None:
        """Until the workers hear what the producer announces."""
        name = f"probe-{self.given}"
        async with asyncio.timeout(PATIENCE):
            for line in self.lines[1:]:
                self.lines[0].announce([Hint("work", (name,))])
                while not await asyncio.to_thread(line.heard, name, 0.1):
                    self.lines[0].announce([Hint("work", (name,))])

    def spoil(self, fault: str | None) -> None:
        for line in self.lines[1:]:
            line.set(fault)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("store", STORES)
async def test_no_fault_of_what_carries_hints_loses_or_doubles_a_job(
    store: str, transport: str, database: str, ground: Ground, record_property: Callable[[str, object], None]
) -> None:
    fleet = Fleet(database, ground)
    cells: list[Cell] = []
    async with fleet.working():
        await fleet.hear()
        for fault in FAULTS:
            before, succeeded = fleet.given, await fleet.ended()
            await CASES.get(fault, gone_wrong)(fleet, ground, fault)
            numbers = range(before, fleet.given)
            lost = len(numbers) - min(await fleet.ended() - succeeded, sum(n in fleet.ledger for n in numbers))
            doubled = sum(fleet.ledger[n] > 1 for n in numbers)
            cells.append(Cell(store, transport, fault, len(numbers), lost, doubled, ground.how))
            record_property(PROPERTY, list(cells[-1]))
        attempts = [job.attempt async for job in fleet.producer.list(task="effect")]
        canceled = await fleet.producer.count(task="linger", state="canceled")
    assert [cell for cell in cells if cell.lost or cell.doubled] == []
    assert [cell.fault for cell in cells] == list(FAULTS)
    assert canceled == len(FAULTS)
    assert set(fleet.ledger.values()) == {1}  # nor later than its cell
    assert attempts == [1] * len(fleet.ledger) == [1] * fleet.given


async def gone_wrong(fleet: Fleet, ground: Ground, fault: str) -> None:
    """Something happens to the hints on their way to both workers."""
    outside = [line.outside for line in fleet.lines]
    fleet.spoil(fault)
    job = await fleet.linger()
    await fleet.enqueue(JOBS // 2)
    await fleet.enqueue(JOBS // 2)
    await fleet.ran(fleet.given)
    await fleet.cancel(job)
    for line in fleet.lines[1:]:
        assert await asyncio.to_thread(line.has_spoilt, PATIENCE), "nothing was done to any hint"
    fleet.spoil(None)
    assert [line.outside for line in fleet.lines] > outside, "no hint came from outside"


async def lost(fleet: Fleet, ground: Ground, fault: str) -> None:
    """The server goes while work is under way; the rest is done without it."""
    job = await fleet.linger()
    await fleet.enqueue(JOBS // 2)
    await fleet.ran(fleet.given - JOBS // 4)
    await asyncio.to_thread(ground.lose)
    await fleet.enqueue(JOBS // 2)
    await fleet.ran(fleet.given)
    await fleet.cancel(job)
    await asyncio.to_thread(ground.find)
    if ground.again:
        await fleet.hear()


async def deaf(fleet: Fleet, ground: Ground, fault: str) -> None:
    """Nothing passes any more, and nobody is told."""
    job = await fleet.linger()
    await fleet.enqueue(JOBS // 2)
    await fleet.ran(fleet.given - JOBS // 4)
    ground.deaf() if ground.deaf is not None else fleet.spoil("deaf")
    await fleet.enqueue(JOBS // 2)
    await fleet.ran(fleet.given)
    await fleet.cancel(job)
    await asyncio.to_thread(ground.find)
    fleet.spoil(None)


CASES = {"server lost": lost, "connected but deaf": deaf}
