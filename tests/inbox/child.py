"""A consumer that is killed: `python -m tests.inbox.child DATABASE BROKER TOPIC before|after|asleep JOBS [ordered]`,
which says where. JOBS: not before it has made so many.

before   a message has been received, and nothing of it is committed: reading its data kills the process
after    its job is committed, and it is not acknowledged: `inbox.received` is given between the two
asleep   as before, but it only falls asleep, with its event loop, once; it says so, until a line tells it to wake.
         (Its other threads go on: one that is stopped as a whole may have the lock of an SQLite database.)
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from typing import ClassVar

from pydantic import BaseModel, field_validator

from offpath import Offpath
from offpath.cloudevents import CloudEvent

from .kit import PAID


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(loop: asyncio.AbstractEventLoop) -> None:
    woken = threading.Event()
    loop.call_soon_threadsafe(woken.wait)
    print("asleep", flush=True)
    sys.stdin.readline()
    woken.set()


class Counting(logging.Handler):
    """The jobs it has made, on which loop."""

    jobs = 0
    loop: asyncio.AbstractEventLoop

    def emit(self, record: logging.LogRecord) -> None:
        said = getattr(record, "offpath", {})
        if said.get("signal") == "inbox.received" and said["jobs"]:
            Counting.jobs += said["jobs"]
            Counting.loop = asyncio.get_running_loop()
            if where == "after" and Counting.jobs >= least:
                die()


class Deadly(BaseModel):
    slept: ClassVar[bool] = False

    order: int

    @field_validator("order")
    @classmethod
    def deadly(cls, value: int) -> int:
        if where == "before" and Counting.jobs >= least:
            die()
        if where == "asleep" and Counting.jobs >= least and not cls.slept:
            cls.slept = True
            sleep(Counting.loop)
        return value


if __name__ == "__main__":
    database, broker, topic, where, jobs_, *ordered = sys.argv[1:]
    least = int(jobs_)
    logger = logging.getLogger("offpath")
    logger.addHandler(Counting())
    logger.setLevel(logging.DEBUG)
    jobs = Offpath(database, broker=broker, topic=topic, group="shop")

    @jobs.on(PAID, ordered=bool(ordered))
    async def pack(event: CloudEvent[Deadly]) -> int:
        return event.data.order

    jobs.run_worker(queues="none")  # it consumes; the jobs are for those who live
