"""Hooks around an attempt: the user's own logging, metrics and alerts. They watch, they decide nothing."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Iterable

from ..observe import signal
from ..tasks import AttemptInfo, Hook, HookKind
from . import failures
from .threads import Threads

LIMIT = 10.0  # s for one hook


async def run(kind: HookKind, hooks: Iterable[Hook], info: AttemptInfo, threads: Threads) -> None:
    """Call them one after the other. One that raises or takes too long is reported and forgotten."""
    for hook in hooks:
        try:
            async with asyncio.timeout(LIMIT):
                if inspect.iscoroutinefunction(hook):
                    await hook(info)
                else:  # plain code may block (a log over the network): never on the loop
                    answer = await threads.run(functools.partial(hook, info))
                    if inspect.isawaitable(answer):
                        await answer
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            signal(
                "attempt.hook_failed",
                job=info.job,
                task=info.task,
                queue=info.queue,
                attempt=info.attempt,
                trace=info.trace,
                kind=kind,
                hook=getattr(hook, "__qualname__", type(hook).__name__),
                error=f"{failures.name(exc)}: {failures.text(exc)}",
            )
