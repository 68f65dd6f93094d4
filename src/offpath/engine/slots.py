"""Resident coroutines that take jobs from a deque and run them: no task, no timer and no queue hop per job.

A slot that finds nothing sleeps on a future. One that finds work runs job after job, and the pump sends what is done.
Handlers that never suspend would keep the loop to themselves, so all slots of a lane share a millisecond per turn of
the loop. Deadlines are looked at together, a few times a second.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from ..core.change import Change
from ..core.job import Job
from ..core.outcome import Done, Expired, Outcome
from ..observe import signal
from ..tracing import arrive, record
from . import endings, failures
from .clock import Clock
from .plans import Plan, Plans
from .slot import NEVER, Executor, Slot, Stop, in_context, labels
from .wheel import INSIST, Wheel

BUDGET = 0.001  # s of one turn of the loop for handlers that never suspend
STUCK = 4  # times the number of slots: so many abandoned attempts are replaced, then capacity shrinks


class Host(Protocol):
    """What a lane needs of the worker."""

    clock: Clock
    plans: Plans
    running: dict[str, Slot]  # by job id; both lanes
    asked: dict[str, tuple[int, str]]  # cancel requests of jobs that have not started
    loud: bool  # somebody listens to signals of level DEBUG
    recorded: bool  # attempts have spans
    concurrency: int  # attempts at once, both lanes together
    held: dict[str, Job]  # jobs that wait for an earlier attempt of theirs to end here

    def fenced(self) -> bool: ...
    def settle(
        self, job: Job, plan: Plan, outcome: Outcome, started: float, fault: BaseException | None
    ) -> Coroutine[Any, Any, None] | None:
        """Hand the outcome to the pump. What comes back waits for the store's verdict and runs the hooks; it never
        raises."""
        ...

    def settled(
        self, job: Job, plan: Plan, outcome: Outcome, change: Change, started: float
    ) -> Coroutine[Any, Any, None] | None:
        """The attempt's own transaction has brought its change into the store. What comes back runs the hooks."""
        ...

    async def attempt(self, slot: Slot, plan: Plan, job: Job, given: dict[str, Any]) -> Outcome | None:
        """One job in full dress; gives what it says, None for nothing at all. See `Slot.carried` too."""
        ...

    async def in_thread(self, slot: Slot, plan: Plan, given: dict[str, Any]) -> str | None:
        """The same of a plain function that wants nothing else."""
        ...

    def unknown(self, job: Job) -> None: ...
    def ended(self, job: str) -> None:
        """No attempt of this held job runs here any more."""
        ...


class Lane:
    """N slots on one deque: coroutines on the loop, or plain functions in as many threads."""

    def __init__(self, kind: Executor, count: int, host: Host, grace: float) -> None:
        """`grace`: seconds that an attempt which has been told to stop may take to do so."""
        self.kind: Executor = kind
        self.count, self.host, self.grace = count, host, grace
        self.queue: deque[Job] = deque()
        self.slots: list[Slot] = []
        self.abandoned: set[Slot] = set()
        self.open = True  # False: start nothing
        self.neighbour: Lane | None = None  # the lane that shares `host.concurrency` with this one
        self._idle: list[asyncio.Future[None]] = []
        self._closed = False
        self._quiet: asyncio.Event | None = None
        self._base = contextvars.copy_context()
        self._turning = False
        self._until = 0.0
        self._wheel = Wheel(self.slots, host.clock.elapsed, self._overdue)
        self._hooks: set[asyncio.Task[None]] = set()  # of abandoned attempts; keeps them alive

    # -- from the pump and the worker --------------------------------------------------------------------------------

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for _ in range(self.count):
            self._spawn()

    def feed(self, jobs: Iterable[Job]) -> None:
        self.queue.extend(jobs)
        self.wake()

    def wake(self) -> None:
        """Stir two sleepers; each that finds work stirs two more."""
        idle = self._idle
        for _ in range(min(2, len(self.queue), len(idle))):
            future = idle.pop()
            if not future.done():
                future.set_result(None)

    @property
    def free(self) -> int:
        """Slots that could start a job at once."""
        return max(0, len(self._idle) - len(self.queue)) if self.open else 0

    @property
    def busy(self) -> int:
        """Slots that are in the middle of an attempt or of its hooks."""
        return len(self.slots) - len(self._idle)

    @property
    def load(self) -> int:
        """Jobs here: waiting and running."""
        return len(self.queue) + len(self.slots) - len(self._idle)

    def take_back(self, keep: int = 0) -> list[Job]:
        """Everything that has not started, but for the first `keep`."""
        back = []
        while len(self.queue) > keep:
            job = self.queue.pop()
            self.host.asked.pop(job.id, None)  # settling it will meet the request
            back.append(job)
        return back

    def stop_all(self, why: Stop) -> None:
        for slot in self.slots:
            self.stop(slot, why)

    def stop(self, slot: Slot, why: Stop) -> None:
        """Tell the attempt in `slot` to stop, and give it `grace` seconds to do so."""
        if slot.job is None or (slot.why is not None and why != "lost"):
            return
        now = self.host.clock.elapsed()
        slot.tell(why, now + self.grace, now + INSIST)
        self._wheel.turn()

    async def quiet(self) -> None:
        """Wait until no slot is busy; feed nothing meanwhile."""
        while self.busy:
            self._quiet = asyncio.Event()
            await self._quiet.wait()

    def give_up(self) -> None:
        """Abandon every attempt that is still there, without waiting for its grace to end."""
        for slot in tuple(self.slots):
            if slot.job is not None and slot.why is not None:
                self._abandon(slot)

    def close(self) -> None:
        """Let the idle slots go; call it when nothing runs any more."""
        self._closed = True
        for slot in self.slots:
            if slot.handle is not None and slot.job is None and self.busy:
                slot.handle.cancel()  # in the middle of a hook
        self._wheel.stop()
        for future in self._idle:
            if not future.done():
                future.set_result(None)
        self._idle.clear()

    def overrun(self, now: float) -> bool:
        """True when an attempt is well past its time although the loop should have stopped it. Any thread."""
        return any(slot.limit + self.grace < now for slot in self.slots)

    # -- the slots ---------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        slot = Slot()
        slot.handle = self._loop.create_task(self._serve(slot), name=f"offpath-{self.kind}-slot")
        self.slots.append(slot)

    async def _serve(self, slot: Slot) -> None:
        host, queue = self.host, self.queue
        plans, running, asked, held, elapsed = host.plans, host.running, host.asked, host.held, host.clock.elapsed
        copy, most, threaded = self._base.copy, host.concurrency, self.kind == "thread"
        assert slot.handle is not None  # noqa: S101
        cancelling = slot.handle.cancelling
        while not self._closed:
            now = elapsed()
            if not queue or not self.open or (self._turning and now > self._until) or len(running) >= most:
                await self._sleep(slot)
                continue
            if not self._turning and not self._begin_turn(now):
                continue
            job = queue.popleft()
            plan = plans.of(job)
            if plan is None:
                host.unknown(job)
                continue
            outcome: Outcome | None
            fault: BaseException | None = None
            slot.job, slot.plan, slot.started = job, plan, now
            slot.limit = now + plan.timeout
            running[job.id] = slot
            if (job.deadline is not None or asked) and (early := self._early(slot, job, now)) is not None:
                outcome = early
            else:
                try:
                    given = plan.decode(job.args)
                except BaseException as exc:
                    outcome, fault = failures.undecodable(exc), exc
                else:
                    try:
                        if host.loud:
                            signal("attempt.started", **labels(job))
                        context = copy()
                        context.run(arrive, job)
                        if host.recorded:
                            slot.span = context.run(record, job)
                        if not plan.lean:
                            outcome = await in_context(host.attempt(slot, plan, job, given), context.run)
                        elif threaded:
                            outcome = Done(await in_context(host.in_thread(slot, plan, given), context.run))
                        else:
                            value = await in_context(plan.fn(**given), context.run)
                            outcome = Done(plan.encode(value) if plan.encode is not None else None)
                        if slot.why is not None and outcome is not None:
                            outcome = endings.returned(slot, self.kind, outcome)
                    except BaseException as exc:
                        if not self._loop.is_running():  # this coroutine is being closed: nothing may be awaited
                            raise
                        outcome, fault = endings.raised(slot, exc), exc
            slot.limit = NEVER
            if slot.span is not None:
                endings.record(slot, outcome, fault)
            if slot.abandoned:
                self._returned_late(slot, job)
                return
            del running[job.id]
            slot.job = slot.plan = None
            if self.neighbour is not None and len(running) == most - 1:
                self.neighbour.wake()
            if slot.carried is not None:
                (outcome, change), slot.carried = slot.carried, None
                hooks = host.settled(job, plan, outcome, change, now)
                if hooks is not None:
                    await hooks
            elif outcome is not None:
                if slot.asked is not None:
                    job = job._replace(cancel_at=slot.asked[0], cancel_reason=slot.asked[1])
                hooks = host.settle(job, plan, outcome, now, fault)
                if hooks is not None:
                    await hooks
            del fault  # its traceback holds this frame
            if held:
                host.ended(job.id)
            if slot.why is not None or cancelling():
                await slot.calm()

    def _begin_turn(self, now: float) -> bool:
        """Once per turn of the loop: the lease is looked at, and the turn's budget begins. False: start nothing."""
        if self.host.fenced():
            self.open = False
            return False
        self._turning = True
        self._until = now + BUDGET
        self._loop.call_soon(self._end_turn)
        self._wheel.turn()
        self.wake()
        return True

    def _end_turn(self) -> None:
        self._turning = False
        if self.queue:
            self.wake()

    async def _sleep(self, slot: Slot) -> None:
        future = self._loop.create_future()
        self._idle.append(future)
        if self._quiet is not None and not self.busy:
            self._quiet.set()
        try:
            await future
        except asyncio.CancelledError:
            # A handler cancelled its own task and returned; the news arrives here, where it means nothing.
            if self._closed or self._loop.is_closed():
                raise
            if future in self._idle:
                self._idle.remove(future)
            await slot.calm()

    def _early(self, slot: Slot, job: Job, now: float) -> Outcome | None:
        """The outcome of a job that must not start: asked to stop meanwhile, or past its deadline."""
        slot.asked = self.host.asked.pop(job.id, None)
        if slot.asked is not None:
            slot.why = "cancel"
            return failures.stopped()
        if job.deadline is not None:
            left = (job.deadline - self.host.clock.now()) / 1e6
            if left <= 0:
                return Expired()
            if now + left < slot.limit:
                slot.limit = now + left
        return None

    # -- deadlines ---------------------------------------------------------------------------------------------------

    def _overdue(self, slot: Slot) -> None:
        if slot.why is None:
            job, plan = slot.job, slot.plan
            assert job is not None  # noqa: S101
            assert plan is not None  # noqa: S101
            timely = slot.started + plan.timeout
            self.stop(slot, "deadline" if slot.limit < timely else "timeout")
        else:
            self._abandon(slot)

    def _abandon(self, slot: Slot) -> None:
        """It does not stop: settle without it, let a new slot take its place, and never listen to it again."""
        job, plan, host = slot.job, slot.plan, self.host
        assert job is not None  # noqa: S101
        assert plan is not None  # noqa: S101
        slot.abandoned = True
        slot.limit = slot.again = NEVER
        self.slots.remove(slot)
        self.abandoned.add(slot)
        del host.running[job.id]
        signal("attempt.abandoned", **labels(job), seconds=host.clock.elapsed() - slot.started)
        if not self._closed and len(self.abandoned) <= STUCK * self.count:
            self._spawn()
        elif self._quiet is not None and not self.busy:
            self._quiet.set()
        outcome = endings.stopped(slot)
        endings.record(slot, outcome, None)
        if outcome is not None:
            told = job
            if slot.asked is not None:
                told = job._replace(cancel_at=slot.asked[0], cancel_reason=slot.asked[1])
            hooks = host.settle(told, plan, outcome, slot.started, None)
            if hooks is not None:
                task = self._loop.create_task(hooks)
                self._hooks.add(task)
                task.add_done_callback(self._hooks.discard)
        host.ended(job.id)

    def _returned_late(self, slot: Slot, job: Job) -> None:
        self.abandoned.discard(slot)
        if not self._closed and len(self.slots) < self.count:
            self._spawn()
        signal("attempt.ended_late", **labels(job), seconds=self.host.clock.elapsed() - slot.started)
