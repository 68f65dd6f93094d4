"""Our side: one no-op job with two arguments, with the default settings, on a SQLite file or on the PostgreSQL database
of BENCH_DATABASE.

    BENCH_FILE=… [BENCH_DATABASE=postgresql://…] python -m benchmarks.ours
        prepare | fill N | drain N | enqueue N one|many|bulk | worker | latency N
        grow N | churn N TICKS | feed N BACKLOG     (PostgreSQL)
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from offpath import Offpath

from .marks import Marks, cpu, say

FILE = os.environ["BENCH_FILE"]
marks = Marks(FILE + ".marks")
DATABASE = os.environ.get("BENCH_DATABASE")
jobs = Offpath(DATABASE or f"sqlite:///{FILE}")
LAP = 500  # jobs
WARM = 10_000  # jobs


@jobs.task
async def noop(i: int, to: str) -> int:
    return i  # kept with the job's outcome, as Huey keeps it


class Laps:
    """Counts the jobs of this process, as the peers on PostgreSQL do to know when they are through.

    times  when the first and then each 500th ran, s
    last   the number of the job after which the worker stops
    ticks  a file to tell of each 500th; -1: none
    """

    def __init__(self) -> None:
        self.ticks = -1
        self.restart(-1)

    def restart(self, last: int) -> None:
        self.times: list[float] = []
        self.count, self.last = 0, last

    def one(self) -> None:
        if self.count == 0:
            self.times.append(time.perf_counter())
        self.count += 1
        if self.count % LAP == 0:
            self.times.append(time.perf_counter())
            if self.ticks >= 0:
                os.write(self.ticks, b".")
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGTERM)


laps = Laps()


@jobs.task
async def lap(i: int, to: str) -> int:
    laps.one()
    return i


@jobs.task
async def mark(at: int) -> None:
    marks.note(at)


async def put(n: int) -> None:
    task = lap if DATABASE else noop
    async with jobs:
        for start in range(0, n, 1000):
            await task.enqueue_many([task.call(i=i, to="user@example.com") for i in range(start, min(n, start + 1000))])


def drain(n: int) -> None:
    laps.restart(n)
    before, begun = cpu(), time.perf_counter()
    jobs.run_worker(until_empty=not DATABASE)  # there the last job stops it, its outcome written, as it stops the peers
    took = time.perf_counter() - begun
    say(value=n / took, cpu=cpu() - before)


async def enqueue(n: int, mode: str) -> None:
    async with jobs:
        await noop.enqueue(i=0, to="user@example.com")
        before, begun = cpu(), time.perf_counter()
        if mode == "bulk":
            for start in range(0, n, 1000):
                await noop.enqueue_many([noop.call(i=i, to="user@example.com") for i in range(start, start + 1000)])
        else:

            async def caller(share: int) -> None:
                for i in range(share):
                    await noop.enqueue(i=i, to="user@example.com")

            callers = 1 if mode == "one" else 100
            await asyncio.gather(*(caller(n // callers) for _ in range(callers)))
        say(value=n / (time.perf_counter() - begun), cpu=cpu() - before)


def latency(n: int) -> None:
    marks.measure(n, lambda at: mark.enqueue_sync(at=at))
    jobs.close()


def grow(n: int) -> None:
    """The rate in the middle of a drain of `n`, the process being warm.

    A small backlog is over in no time, so there are many of them: each size is measured on as many jobs or more.
    """
    first = 3  # the 1,500th job: what was claimed at the start has been run
    ran, took, used = 0, 0.0, 0.0
    for turn in range(1 + max(1, WARM * 10 // n)):
        size = WARM if turn == 0 else n
        asyncio.run(put(size))
        laps.restart(size)
        before = cpu()
        jobs.run_worker()
        if turn:
            ran += (len(laps.times) - 1 - first) * LAP
            took += laps.times[-1] - laps.times[first]
            used += (cpu() - before) / size
    say(value=ran / took, cpu=used / turn)


def churn(n: int, ticks: int) -> None:
    """Until `n` jobs have run; each 500th is told to `ticks`, so that `feed` can put as many in. Rates by tenths."""
    laps.restart(n)
    laps.ticks = ticks
    before = cpu()
    jobs.run_worker()
    tenth = n // LAP // 10
    times = laps.times[: 10 * tenth + 1]
    series = [tenth * LAP / (b - a) for a, b in zip(times[::tenth], times[tenth::tenth], strict=False)]
    say(value=n / (times[-1] - times[0]), cpu=cpu() - before, series=series)


async def feed(n: int, backlog: int) -> None:
    """Keep `backlog` jobs in the table until `n` have been put in: 500 for every byte on standard input."""
    before, given = cpu(), 0
    async with jobs:
        room = backlog // LAP
        while room and given < n:
            for _ in range(min(room, (n - given) // LAP)):
                await lap.enqueue_many([lap.call(i=i, to="user@example.com") for i in range(given, given + LAP)])
                given += LAP
            room = len(await asyncio.to_thread(os.read, 0, 4096))
    say(value=given, cpu=cpu() - before)


def main() -> None:
    verb, *args = sys.argv[1:]
    if verb == "prepare":
        jobs.migrate()
        jobs.close()
        say(value=1)
    elif verb == "fill":
        asyncio.run(put(int(args[0])))
        say(value=float(args[0]))
    elif verb == "grow":
        grow(int(args[0]))
    elif verb == "churn":
        churn(int(args[0]), int(args[1]))
    elif verb == "feed":
        asyncio.run(feed(int(args[0]), int(args[1])))
    elif verb == "drain":
        drain(int(args[0]))
    elif verb == "enqueue":
        asyncio.run(enqueue(int(args[0]), args[1]))
    elif verb == "worker":
        jobs.run_worker()
    elif verb == "latency":
        latency(int(args[0]))


if __name__ == "__main__":
    main()
