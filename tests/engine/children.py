"""Workers for the tasks of `cpu.py`, in this process, and how to wait for what their children do."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from offpath.engine.worker import Worker
from offpath.errors import JobFailed
from offpath.tasks import Job

from . import cpu

ROOT = Path(__file__).parents[2]
LONG = 100.0  # s: nobody waits so long unless something is broken; a child needs some of them on a busy machine


@contextlib.contextmanager
def placed(url: str, **settings: Any) -> Iterator[None]:
    """`cpu.jobs` on that database, with these settings."""
    desk = cpu.jobs.desk
    before = desk.settings
    desk.settings = replace(before, url=url, **{"processes": 2, "cancel_grace": 0.3, "poll": 0.1, **settings})
    try:
        yield
    finally:
        cpu.jobs.close()
        desk.settings = before


@contextlib.asynccontextmanager
async def working(url: str, **settings: Any) -> AsyncIterator[Worker]:
    with placed(url, **settings):
        async with cpu.jobs, cpu.jobs.worker() as worker:
            await asyncio.wait_for(worker.ready.wait(), LONG)
            yield worker


async def ended(job: Job[Any]) -> Any:
    """The job's row of history, once it is there."""
    with contextlib.suppress(JobFailed):
        await job.result(LONG)
    found = await cpu.jobs.desk.find(job.id)
    assert found is not None
    assert found.finished is not None
    return found.finished


async def until(true: Callable[[], Any]) -> None:
    """Wait for something that only a look can tell: the file or the state of another process."""
    async with asyncio.timeout(LONG):
        while not true():  # noqa: ASYNC110 (nobody is there to set an event)
            await asyncio.sleep(0.01)


def lines(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def children(of: int | None = None) -> list[int]:
    """The children that run for this process (or that one)."""
    found = []
    for process in psutil.Process(of).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "offpath-child" in process.cmdline():  # a zombie has none
                found.append(process.pid)
    return found


def dead(pid: int) -> bool:
    """Gone, or only waiting to be reaped by whoever has adopted it."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class Heard(logging.Handler):
    """Every record of the loggers below it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def signals(self, name: str) -> list[dict[str, Any]]:
        """The fields of every signal of this name."""
        found = [getattr(record, "offpath", {}) for record in self.records]
        return [said for said in found if said.get("signal") == name]


@contextlib.contextmanager
def hearing(*names: str, level: int = logging.INFO) -> Iterator[Heard]:
    heard = Heard()
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).addHandler(heard)
        logging.getLogger(name).setLevel(level)
    try:
        yield heard
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(heard)
            logging.getLogger(name).setLevel(before[name])
