"""Resident coroutines that take jobs from a deque and run them: no task, no timer and no queue hop per job.

A slot that finds nothing sleeps on a future. One that finds work runs job after job, and the pump sends what is done.
Handlers that never suspend would keep the loop to themselves, so all slots of a lane share a millisecond per turn of
the loop. Deadlines are looked at together, a few times a second.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections import deque
from collections.abc import Container, Iterable

from ..core.job import Job
from ..core.outcome import Done, Expired, Outcome
from ..observe import signal
from ..privacy.known import forget, learn
from ..tracing import arrive, record
from . import endings, failures
from .batches import Batches
from .host import Host
from .slot import NEVER, Executor, Slot, Stop, in_context, labels
from .wheel import INSIST, Wheel

BUDGET = 0.001  # s of one turn of the loop for handlers that never suspend
KILLED = 10.0  # s for the kernel to take a killed process away
STUCK = 4  # times the number of slots: so many abandoned attempts are replaced, then capacity shrinks


class Lane:
    """N slots on one deque: coroutines on the loop, or functions in as many threads or processes."""

    def __init__(self, kind: Executor, count: int, host: Host, grace: float) -> None:
        """`grace`: seconds that an attempt which has been told to stop may take to do so."""
        self.kind: Executor = kind
        self.count, self.host, self.grace = count, host, grace
        self.queue: deque[Job] = deque()
        self.slots: list[Slot] = []
        self.abandoned: set[Slot] = set()
        self.open = True  # False: start nothing
        self.neighbours: tuple[Lane, ...] = ()  # the lanes that share `host.concurrency` with this one
        self.batches = Batches(self)
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

    @property
    def crowded(self) -> bool:
        """Every slot has an attempt, or the worker as many as it may."""
        return len(self.host.running) >= self.host.concurrency or all(slot.job is not None for slot in self.slots)

    def take_back(self, keep: int | None = None) -> list[Job]:
        """Everything that has not started; with `keep`, but for the first so many, and for what gathers in batches."""
        back = [] if keep is not None else self.batches.give_up()
        while len(self.queue) > (keep or 0):
            back += self.batches.of(self.queue.pop())
        for job in back:
            self.host.asked.pop(job.id, None)  # settling it will meet the request
        return back

    def take_back_of(self, queues: Container[str]) -> list[Job]:
        """Of what has not started, all that is of these queues."""
        back = self.batches.give_up(queues)
        standing = [job for job in self.queue if job.queue in queues]
        if standing:
            kept = [job for job in self.queue if job.queue not in queues]
            self.queue.clear()
            self.queue.extend(kept)
            for job in standing:
                back += self.batches.of(job)
        for job in back:
            self.host.asked.pop(job.id, None)  # settling it will meet the request
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

    def kill(self) -> int:
        """Kill the processes of attempts that have been told to stop; how many there were."""
        return sum(self._kill(slot) for slot in self.slots if slot.why is not None)

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
        slot.handle.add_done_callback(functools.partial(self._ended, slot))
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
            job = slot.job = queue.popleft()
            plan = plans.of(job)
            if plan is None:
                slot.job = None
                host.unknown(job)
                continue
            if plan.batch is not None:
                gathered = self.batches.take(job, plan)
                slot.job = None
                if gathered is not None and not await self.batches.serve(slot, gathered):
                    return
                continue
            outcome: Outcome | None
            fault: BaseException | None = None
            slot.plan, slot.started = plan, now
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
                        if plan.secret:
                            learn((job.id, job.fence), given)
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
                            outcome, fault = endings.after_all(slot, self.kind, outcome, job, elapsed() - now)
                    except BaseException as exc:
                        if not self._loop.is_running():  # this coroutine is being closed: nothing may be awaited
                            raise
                        outcome = endings.raised(slot, exc)
                        fault = endings.fault(slot, exc)
            slot.limit = NEVER
            if slot.span is not None:
                endings.record(slot, outcome, fault)
            if slot.abandoned:
                self._returned_late(slot, job)
                return
            del running[job.id]
            hooks = None
            if slot.carried is not None:
                (outcome, change), slot.carried = slot.carried, None
                hooks = host.settled(job, plan, outcome, change, now)
            elif outcome is not None:
                if slot.asked is not None:
                    job = job._replace(cancel_at=slot.asked[0], cancel_reason=slot.asked[1])
                hooks = host.settle(job, plan, outcome, now, fault)
            slot.job = slot.plan = None
            if self.neighbours and len(running) == most - 1:
                for neighbour in self.neighbours:
                    neighbour.wake()
            if slot.why is not None or cancelling():
                await slot.calm()
            if hooks is not None:
                await hooks
            if plan.secret:
                forget((job.id, job.fence))
            del fault  # its traceback holds this frame
            if held:
                host.ended(job.id)

    def _ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        """Of something that nobody has foreseen no slot may die for good: what it held counts as failed, and another
        takes its place."""
        error = None if task.cancelled() else task.exception()
        if task.cancelled() and not self._closed and slot.job is None and not slot.abandoned:
            pass  # in the middle of a hook, by the hook itself or by a timer of its attempt
        elif not isinstance(error, Exception):
            return
        jobs = [member.told() for member in slot.batch or ()] or ([] if slot.job is None else [slot.job])
        if slot.abandoned:
            self._returned_late(slot, jobs[0])
            return
        self.slots.remove(slot)
        self.batches.release(slot)
        if not self._closed:
            self._spawn()
        elif self._quiet is not None and not self.busy:
            self._quiet.set()
        if isinstance(error, Exception):
            self.host.broke(jobs, error)

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
        elif not self._kill(slot):
            self._abandon(slot)

    def _kill(self, slot: Slot) -> bool:
        """Whether there is a process to kill; its end is the attempt's, in a moment."""
        if slot.process is None or slot.killed:
            return False
        slot.killed = True
        slot.limit = self.host.clock.elapsed() + KILLED
        slot.process.kill()
        return True

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
        if slot.asked is not None:
            job = job._replace(cancel_at=slot.asked[0], cancel_reason=slot.asked[1])
        told = [job]
        if slot.batch is None:
            endings.record(slot, outcome, None)
        else:
            told = self.batches.abandon(slot, outcome)
        for job in told:
            fault = endings.fault(slot, None)
            if outcome is not None and (hooks := host.settle(job, plan, outcome, slot.started, fault)) is not None:
                task = self._loop.create_task(hooks)
                self._hooks.add(task)
                task.add_done_callback(self._hooks.discard)
            host.ended(job.id)

    def _returned_late(self, slot: Slot, job: Job) -> None:
        if self.kind == "thread" and slot.handle is not None and slot.handle.cancelling():
            return  # the loop ends, and this coroutine with it; the function runs on
        self.abandoned.discard(slot)
        forget((job.id, job.fence))
        if not self._closed and len(self.slots) < self.count:
            self._spawn()
        signal("attempt.ended_late", **labels(job), seconds=self.host.clock.elapsed() - slot.started)
