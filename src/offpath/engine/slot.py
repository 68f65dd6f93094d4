"""A slot, and the attempt it is busy with."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ..core.change import Change
from ..core.job import Job
from ..core.options import Executor as Executor
from ..core.outcome import Outcome
from ..core.trace import trace_id
from ..tracing import Span
from .plans import Plan

if TYPE_CHECKING:
    from .batches import Member

T = TypeVar("T")
Stop = Literal["timeout", "deadline", "cancel", "interrupt", "lost"]
"""Why an attempt is told to stop: its time is up, someone asked, we stop, or the job is not ours any more."""

NEVER = float("inf")


class Process(Protocol):
    """The process in which an attempt runs."""

    def stop(self) -> None:
        """SIGTERM, once however often it is called."""
        ...

    def kill(self) -> None: ...


class Slot:
    """One resident coroutine and its attempt. Written on the loop only; the keeper's thread reads `limit`.

    started    `Clock.elapsed`
    limit      when it is told to stop, or given up once it has been told
    again      when a coroutine that has been cancelled is cancelled once more
    why        why it has been told to stop
    asked      when someone asked the job to stop (store time), and why
    threaded   its function runs in a thread at this moment: cancelling the coroutine would not stop it
    process    the process that its function runs in at this moment; `killed` when it has been sent SIGKILL
    unbegun    its job, as long as hooks and providers go before and its function has not been called
    noticed    its function has seen `ctx.canceled`
    abandoned  nobody listens to it any more
    conflict   its own transaction could not pass beside another, and nothing of it stands: it may be run again
    carried    what it said, and the change that its own transaction has brought into the store: it is settled
    span       what records it, if anything does
    batch      the jobs of the batch that it runs; `job` is the first of them
    """

    __slots__ = (
        "abandoned",
        "again",
        "asked",
        "batch",
        "carried",
        "conflict",
        "handle",
        "job",
        "killed",
        "limit",
        "noticed",
        "plan",
        "process",
        "span",
        "started",
        "threaded",
        "unbegun",
        "why",
    )

    def __init__(self) -> None:
        self.handle: asyncio.Task[None] | None = None
        self.job: Job | None = None
        self.plan: Plan | None = None
        self.started = 0.0
        self.limit = self.again = NEVER
        self.why: Stop | None = None
        self.asked: tuple[int, str] | None = None
        self.unbegun: Job | None = None
        self.span: Span | None = None
        self.batch: list[Member] | None = None
        self.carried: tuple[Outcome, Change] | None = None
        self.process: Process | None = None
        self.threaded = self.killed = self.noticed = self.abandoned = self.conflict = False

    def tell(self, why: Stop, limit: float, again: float) -> None:
        """Tell the attempt to stop; a thread hears of it when it asks."""
        self.why, self.limit, self.again = why, limit, again
        self.insist()

    def insist(self) -> None:
        if self.process is not None:
            self.process.stop()
        elif self.handle is not None and not self.threaded:
            self.handle.cancel()

    async def calm(self) -> None:
        """Forget cancellations that were meant for the attempt that has just ended."""
        self.why, self.asked, self.again, self.noticed, self.killed = None, None, NEVER, False, False
        if self.handle is None or not self.handle.cancelling():
            return
        self._forgive()
        try:
            await asyncio.sleep(0)  # one that was not delivered yet arrives here
        except asyncio.CancelledError:
            self._forgive()

    def _forgive(self) -> None:
        while self.handle is not None and self.handle.cancelling():
            self.handle.uncancel()


def labels(job: Job) -> dict[str, Any]:
    """What every signal about an attempt begins with."""
    trace = trace_id(job.id, job.options)
    return {"job": job.id, "task": job.task, "queue": job.queue, "attempt": job.attempt, "trace": trace}


@types.coroutine
def in_context(coro: Coroutine[Any, Any, T], run: Callable[..., Any]) -> Generator[Any, Any, T]:
    """Drive `coro` inside a context of its own, while the slot stays `current_task()`: what a handler sets in a
    context variable is gone with it."""
    send = coro.send
    try:
        request = run(send, None)
        while True:
            try:
                answer = yield request
            except BaseException as exc:
                request = run(coro.throw, exc)
            else:
                request = run(send, answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
