"""The loop of a process that is nothing but a worker: it ends even when something in it will not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from .interpreter import WORKER, tuned


def run_and_leave(main: Coroutine[Any, Any, None], grace: float) -> None:
    """`asyncio.run`, but for one thing: whatever still runs afterwards is cancelled and given `grace` seconds, not for
    ever. (A task that swallows its cancellation has been abandoned by the worker, and must not hold the process.)"""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        with tuned(WORKER):
            loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_clear(grace))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _clear(grace: float) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # what is abandoned has been told of already
    if left:
        await asyncio.wait(left, timeout=grace)


def in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
