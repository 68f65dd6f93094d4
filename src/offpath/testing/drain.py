"""Jobs of a test in a database of its own, and a worker that runs until they are done."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator

from ..app import Offpath
from ..core.job import LIVE, State
from ..engine.worker import Worker
from .records import everything


@contextlib.contextmanager
def isolated(jobs: Offpath, folder: str | os.PathLike[str] | None = None) -> Iterator[Offpath]:
    """Keep these jobs in a new SQLite file for as long as the block lasts, then where they were before.

    `folder` is where the file goes (pytest's tmp_path, say); without it a temporary one that is removed afterwards.
    """
    before = jobs.settings.url
    with contextlib.ExitStack() as stack:
        at = os.fspath(folder) if folder is not None else stack.enter_context(tempfile.TemporaryDirectory())
        jobs.close()
        jobs.use_database(f"sqlite:///{os.path.abspath(at)}/offpath-test.db")
        try:
            yield jobs
        finally:
            jobs.close()
            jobs.desk.use(before)


async def drain(jobs: Offpath, *, timeout: float = 30.0) -> dict[str, int]:
    """Run everything that is ready, and what that enqueues, with a real worker; gives how many jobs are in each state.

    Jobs scheduled for later, backing off included, stay as they are. AssertionError after `timeout` seconds.
    """
    return await drained(jobs, jobs.make_worker(until_empty=True), timeout)


async def drained(jobs: Offpath, worker: Worker, timeout: float) -> dict[str, int]:
    """The same with this worker."""
    running = asyncio.create_task(worker.run())
    done, _ = await asyncio.wait([running], timeout=timeout)
    if not done:
        worker.stop()
        worker.stop()
        await asyncio.wait([running])
    running.result()
    states = Counter(State(row.state) for one in everything(jobs) if (row := one.job or one.finished) is not None)
    if not done:
        live = {state.name.lower(): n for state, n in states.items() if state in LIVE}
        raise AssertionError(f"jobs were still running or ready after {timeout:g} s: {live}")
    return {state.name.lower(): states[state] for state in sorted(states)}


def drain_sync(jobs: Offpath, *, timeout: float = 30.0) -> dict[str, int]:
    """The same, blocking, on a loop of its own."""
    return asyncio.run(drain(jobs, timeout=timeout))
