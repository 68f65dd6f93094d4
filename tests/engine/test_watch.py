"""Who blocks the loop is named, and where; the lease survives it (F07)."""

import os
import sys
import threading
from pathlib import Path

import pytest

from offpath.engine.watch import DEPTH, where

from . import cpu
from .children import LONG, ended, hearing, working

pytestmark = pytest.mark.anyio


async def test_f07_who_blocks_the_loop_is_named_and_keeps_the_lease(tmp_path: Path) -> None:
    """The loop stands still until the warning has been given: whoever hears it, in the watch's thread, lets it go."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with hearing("offpath.worker") as heard:
        heard.addFilter(lambda record: "worker.blocked" in record.getMessage() and bool(pipe.write_bytes(b"x")))
        async with working(f"sqlite:///{tmp_path / 'jobs.db'}") as worker:
            beside = await cpu.beside.enqueue(1)
            job = await cpu.blocks.enqueue(str(pipe))
            end = await ended(job)
            assert await beside.result(LONG) == 1
            assert worker.ready.is_set()
    (said,) = heard.signals("worker.blocked")
    assert (said["job"], said["task"]) == (job.id, "blocks")
    assert said["where"].startswith("cpu.py:")
    assert said["where"].endswith("in blocks")
    assert said["seconds"] > 0
    assert (end.state.name, end.fence, end.crashes) == ("SUCCEEDED", 1, 0)


def test_where_begins_with_the_handlers_own_frame_and_ends_where_it_is() -> None:
    found: list[str] = []

    def deeper(n: int) -> None:
        if n:
            deeper(n - 1)
        else:
            found.append(where(sys._getframe()))

    thread = threading.Thread(target=lambda: deeper(20))
    thread.start()
    thread.join()
    parts = found[0].split(" > ")
    assert len(parts) == DEPTH + 1
    assert parts[2] == "…"
    assert parts[-1].startswith("test_watch.py:")
    assert parts[-1].endswith("in deeper")
    assert where(None) == ""
