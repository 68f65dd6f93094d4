"""How a worker ends: in order if there is time, at once if it is told twice, and nothing is lost either way."""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
from collections.abc import Callable, Iterator, Sequence

from ..observe import signal
from .pump import Pump
from .slots import KILLED, Lane

AT_ONCE = 1.0  # s for handlers to react to their cancellation when there is no time
FLUSH = 10.0  # s for the last outcomes to reach the store


@contextlib.contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at every SIGTERM and SIGINT; only the main thread of a process may."""
    loop = asyncio.get_running_loop()
    kinds = (signals.SIGTERM, signals.SIGINT)
    for kind in kinds:
        loop.add_signal_handler(kind, stop)
    try:
        yield
    finally:
        for kind in kinds:
            loop.remove_signal_handler(kind)


async def drain(
    worker: str, lanes: Sequence[Lane], pump: Pump, pumping: asyncio.Task[None], seconds: float, hurry: asyncio.Event
) -> int:
    """Stop claiming, give back what has not started, let the rest finish within `seconds`, interrupt what is left.

    `hurry`: no more time. The lease is renewed all the while, by the keeper. Gives the number of jobs given back.
    """
    pump.claiming = False
    unstarted = [job for lane in lanes for job in lane.take_back()]
    pump.give_back(unstarted)
    held = pump.give_back_held()
    pump.stir()
    running = sum(lane.busy for lane in lanes)
    signal("worker.draining", worker=worker, running=running, seconds=seconds)
    left = 0
    if not await _quiet(lanes, seconds, hurry):
        left = sum(lane.busy for lane in lanes)
        for lane in lanes:
            lane.stop_all("interrupt")
        grace = max(lane.grace for lane in lanes) + 1.0
        if not await _quiet(lanes, grace, hurry):
            if hurry.is_set():
                await _quiet(lanes, AT_ONCE, None)
            if sum(lane.kill() for lane in lanes):
                await _quiet([lane for lane in lanes if lane.kind == "process"], KILLED, None)
            for lane in lanes:
                lane.give_up()
    pump.ending = True
    pump.stir()
    done, _ = await asyncio.wait({pumping}, timeout=FLUSH)
    if not done:
        # The store takes nothing. The lease runs out, and others repeat what could not be settled.
        signal("worker.failed", worker=worker, error=f"{pump.pending} outcomes could not be written")
        pumping.cancel()
    return len(unstarted) + held + left


async def _quiet(lanes: Sequence[Lane], seconds: float, hurry: asyncio.Event | None) -> bool:
    """Wait until nothing runs, at most `seconds`, and not once there is no time; True when nothing does."""
    if not any(lane.busy for lane in lanes):
        return True
    tasks = [asyncio.ensure_future(_all_quiet(lanes))]
    if hurry is not None:
        tasks.append(asyncio.ensure_future(_hurried(hurry)))
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return not any(lane.busy for lane in lanes)


async def _all_quiet(lanes: Sequence[Lane]) -> None:
    while any(lane.busy for lane in lanes):
        for lane in lanes:
            await lane.quiet()


async def _hurried(hurry: asyncio.Event) -> None:
    await hurry.wait()
