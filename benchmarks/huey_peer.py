"""The peer on SQLite: Huey 3 with fsync, thread workers, the same job.

The consumer runs with the shortest polling it takes without harm (delays of 1-10 ms) and the number of threads that
drained fastest here (see docs/reference/benchmarks.md).
"""

from __future__ import annotations

import os
import sys
import threading
import time

from huey import SqliteHuey

from .marks import Marks, cpu, say

FILE = os.environ["BENCH_FILE"]
marks = Marks(FILE + ".marks")
WORKERS = int(os.environ.get("HUEY_WORKERS", "2"))
huey = SqliteHuey(filename=FILE, fsync=True, results=True)
left = 0
finished = threading.Event()
counting = threading.Lock()


@huey.task()
def noop(i: int, to: str) -> int:
    global left
    with counting:
        left -= 1
        if left == 0:
            finished.set()
    return i  # a result on both sides: without one Huey keeps no trace that the job was done


@huey.task()
def mark(at: int) -> None:
    marks.note(at)


def consumer() -> object:
    return huey.create_consumer(
        workers=WORKERS, worker_type="thread", initial_delay=0.001, max_delay=0.01, backoff=1.15, periodic=False
    )


def enqueue(n: int, callers: int) -> None:
    share = n // callers

    def caller() -> None:
        for i in range(share):
            noop(i=i, to="user@example.com")

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    before, begun = cpu(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(value=n / (time.perf_counter() - begun), cpu=cpu() - before)


def drain(n: int) -> None:
    global left
    left = n
    running = consumer()
    before, begun = cpu(), time.perf_counter()
    running.start()  # type: ignore[attr-defined]
    finished.wait()
    took, used = time.perf_counter() - begun, cpu() - before
    say(value=n / took, cpu=used)
    os._exit(0)


def latency(n: int) -> None:
    marks.measure(n, lambda at: mark(at=at))


def main() -> None:
    verb, *args = sys.argv[1:]
    if verb == "fill":
        for i in range(int(args[0])):
            noop(i=i, to="user@example.com")
        say(value=float(args[0]))
    elif verb == "drain":
        drain(int(args[0]))
    elif verb == "enqueue":
        enqueue(int(args[0]), 1 if args[1] == "one" else 100)
    elif verb == "worker":
        running = consumer()
        running.run()  # type: ignore[attr-defined]
    elif verb == "latency":
        latency(int(args[0]))


if __name__ == "__main__":
    main()
