"""Batches of a lane: jobs of one task gather until they are enough or have waited enough, then one call runs them all.

A job that gathers takes no slot: it waits beside the lane's deque. When its batch is due, the first of it stands at the
head of the deque for all, and the slot that takes it runs the call. Each is settled by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Coroutine
from typing import TYPE_CHECKING, Any

from ..core.batches import alone
from ..core.job import Job, principal
from ..core.outcome import Expired, Outcome
from ..observe import signal
from ..privacy.known import forget, learn
from ..tracing import Span, arrive, record
from . import endings, failures
from .plans import Plan
from .slot import NEVER, Slot, in_context, labels

if TYPE_CHECKING:
    from .slots import Lane


class Member:
    """One job of a running batch.

    asked  when someone asked it to stop (store time), and why
    lost   the store has refused a write of it: another worker has it
    said   what became of it, and the exception behind that; None until then
    """

    __slots__ = ("asked", "job", "lost", "said", "span", "value")

    def __init__(self, job: Job, value: Any) -> None:
        self.job, self.value = job, value
        self.asked: tuple[int, str] | None = None
        self.lost = False
        self.said: tuple[Outcome, BaseException | None] | None = None
        self.span: Span | None = None

    def told(self) -> Job:
        """The job as its settling is to know it."""
        return (
            self.job if self.asked is None else self.job._replace(cancel_at=self.asked[0], cancel_reason=self.asked[1])
        )


class Gathered:
    """Jobs of one plan that will be one call."""

    __slots__ = ("jobs", "plan", "timer")

    def __init__(self, plan: Plan, first: Job) -> None:
        self.plan, self.jobs = plan, [first]
        self.timer: asyncio.TimerHandle | None = None


class Batches:
    """Those of one lane. On the loop."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._forming: dict[int, Gathered] = {}  # by the identity of their plan
        self._due: dict[str, Gathered] = {}  # by the job that stands for them in the deque

    @property
    def waiting(self) -> int:
        """Jobs that are not in the deque."""
        if not (self._forming or self._due):
            return 0
        return sum(len(one.jobs) for one in self._forming.values()) + sum(
            len(one.jobs) - 1 for one in self._due.values()
        )

    def jobs(self) -> list[Job]:
        """All that wait in a batch."""
        return [job for some in (self._forming, self._due) for one in some.values() for job in one.jobs]

    def ids(self) -> set[str]:
        return {job.id for job in self.jobs()}

    def take(self, job: Job, plan: Plan) -> Gathered | None:
        """The batch that is to run now; None: this job waits in one."""
        self._lane.host.gathered()
        assert plan.batch is not None  # noqa: S101
        size, wait = plan.batch
        if (due := self._due.pop(job.id, None)) is not None:
            if job.id not in self._lane.host.asked:  # that one goes alone, to be told off
                self._add_waiting(due, size)
            return due
        if alone(job):
            return Gathered(plan, job)
        forming = self._forming.get(id(plan))
        if forming is not None:
            forming.jobs.append(job)
            return self._close(forming) if len(forming.jobs) >= size else None
        forming = Gathered(plan, job)
        if wait == 0 or job.once:  # what may have begun is never repeated: it must not wait here, where we may die
            self._add_waiting(forming, size)
        if wait == 0 or job.once or size == 1:
            return forming
        self._forming[id(plan)] = forming
        forming.timer = asyncio.get_running_loop().call_later(wait, self._complete, forming)
        return None

    def _add_waiting(self, forming: Gathered, size: int) -> None:
        """Those of the same plan that are in the deque."""
        lane = self._lane
        rest: list[Job] = []
        while lane.queue and len(forming.jobs) < size:
            job = lane.queue.popleft()
            mate = job.id not in self._due and not alone(job) and lane.host.plans.of(job) is forming.plan
            (forming.jobs if mate else rest).append(job)
        lane.queue.extendleft(reversed(rest))

    def _close(self, forming: Gathered) -> Gathered:
        """It takes no more."""
        self._forming.pop(id(forming.plan), None)
        if forming.timer is not None:
            forming.timer.cancel()
        return forming

    def _complete(self, forming: Gathered) -> None:
        self._stand(self._close(forming))

    def _stand(self, due: Gathered) -> None:
        self._due[due.jobs[0].id] = due
        self._lane.queue.appendleft(due.jobs[0])
        self._lane.wake()

    # -- those that shall not wait any more --------------------------------------------------------------------------

    def of(self, job: Job) -> list[Job]:
        """All that this job of the deque stands for, taken from here."""
        due = self._due.pop(job.id, None)
        return [job] if due is None else due.jobs

    def give_up(self, queues: Container[str] | None = None) -> list[Job]:
        """All that gather (of these queues), taken from here. Those of one batch are of one queue, as of one plan."""
        forming = [one for one in self._forming.values() if queues is None or one.jobs[0].queue in queues]
        return [job for one in forming for job in self._close(one).jobs]

    def drop(self, job: str) -> None:
        """Someone has asked it to stop: it leaves the batch that gathers, and goes to a slot alone. (In one that is due
        it is met there.)"""
        for forming in tuple(self._forming.values()):
            for n, waiting in enumerate(forming.jobs):
                if waiting.id != job:
                    continue
                if len(forming.jobs) == 1:
                    self._complete(forming)
                else:
                    del forming.jobs[n]
                    self._stand(Gathered(forming.plan, waiting))
                return

    # -- the call ----------------------------------------------------------------------------------------------------

    async def serve(self, slot: Slot, gathered: Gathered) -> bool:
        """Run one batch in this slot. False: it has been given up meanwhile, and so is the slot."""
        lane, plan = self._lane, gathered.plan
        host = lane.host
        now = host.clock.elapsed()
        hooks: list[Coroutine[Any, Any, None]] = []

        def settle(job: Job, outcome: Outcome, fault: BaseException | None) -> None:
            if (hook := host.settle(job, plan, outcome, now, fault)) is not None:
                hooks.append(hook)

        slot.batch = [Member(job, None) for job in gathered.jobs]  # for the case that what follows breaks
        members = self._able(gathered, settle)
        slot.batch = members or None
        if members:
            await self._call(slot, plan, members, now)
            if slot.abandoned:
                lane._returned_late(slot, members[0].job)
                _forget(members)
                return False
            for member in members:
                if member.said is not None:
                    settle(member.told(), *member.said)
            self.release(slot)
        if slot.why is not None or (slot.handle is not None and slot.handle.cancelling()):
            await slot.calm()
        for hook in hooks:
            await hook
        _forget(members)
        if host.held:
            for member in members:
                host.ended(member.job.id)
        return True

    def _able(self, gathered: Gathered, settle: Any) -> list[Member]:
        """Those that can run. The others drop out, each by itself: asked to stop meanwhile, past their deadline, or
        with arguments that do not fit."""
        host, plan = self._lane.host, gathered.plan
        members: list[Member] = []
        for job in gathered.jobs:
            if (asked := host.asked.pop(job.id, None)) is not None:
                settle(job._replace(cancel_at=asked[0], cancel_reason=asked[1]), failures.stopped(), None)
                continue
            if job.deadline is not None and job.deadline <= host.clock.now():
                settle(job, Expired(), None)
                continue
            try:
                value = plan.decode(job.args)[plan.parameter]
            except BaseException as exc:
                settle(job, failures.undecodable(exc), exc)
                continue
            if plan.secret:
                learn((job.id, job.fence), value)
            members.append(Member(job, value))
        return members

    async def _call(self, slot: Slot, plan: Plan, members: list[Member], now: float) -> None:
        """One attempt of all of them: each has said something after it, or is not ours any more."""
        lane, host = self._lane, self._lane.host
        first = members[0].job
        slot.job, slot.plan, slot.started, slot.batch = first, plan, now, members
        slot.limit = now + plan.timeout
        deadlines = [member.job.deadline for member in members if member.job.deadline is not None]
        if len(deadlines) == len(members):  # the others would go on: one deadline does not end the call of all
            slot.limit = min(slot.limit, now + (max(deadlines) - host.clock.now()) / 1e6)
        host.running[first.id] = slot
        for member in members[1:]:
            host.mates[member.job.id] = slot
        context = lane._base.copy()
        alike = len({principal(member.job) for member in members}) == 1
        context.run(arrive, first if alike else first._replace(owner=None))  # what is enqueued has the owner of all
        try:
            for member in members:
                if host.loud:
                    signal("attempt.started", **labels(member.job))
                if host.recorded:
                    if member is members[0]:
                        member.span = context.run(record, first, [other.job for other in members[1:]])
                    else:
                        member.span = lane._base.copy().run(record, member.job)
            await in_context(host.together(slot, plan, members), context.run)
            if slot.why is not None:
                seconds = host.clock.elapsed() - now
                for member in members:
                    if member.said is None:
                        continue
                    said, fault = endings.after_all(slot, lane.kind, member.said[0], member.job, seconds)
                    member.said = None if said is None else (said, fault or member.said[1])
        except BaseException as exc:
            if not asyncio.get_running_loop().is_running():  # this coroutine is being closed: nothing may be awaited
                raise
            outcome, fault = endings.raised(slot, exc), endings.fault(slot, exc)
            for member in members:
                if member.said is None and outcome is not None:
                    member.said = outcome, fault
        slot.limit = NEVER
        if not slot.abandoned:
            self.recorded(slot)

    def recorded(self, slot: Slot) -> None:
        """End the spans of the batch in this slot."""
        for member in slot.batch or ():
            outcome, fault = member.said if member.said is not None else (None, None)
            slot.span, member.span = member.span, None
            endings.record(slot, outcome, fault)

    def abandon(self, slot: Slot, outcome: Outcome | None) -> list[Job]:
        """The batch in this slot does not stop: the jobs that are to be settled without it."""
        told = []
        for member in slot.batch or ():
            member.said = None if outcome is None else (outcome, None)
            self._lane.host.mates.pop(member.job.id, None)
            told.append(member.told())
        self.recorded(slot)
        return told

    def release(self, slot: Slot) -> None:
        """Its jobs do not run here any more."""
        lane, host = self._lane, self._lane.host
        for member in slot.batch or ():
            host.mates.pop(member.job.id, None)
        if slot.job is not None:
            host.running.pop(slot.job.id, None)
        slot.job = slot.plan = slot.batch = None
        if len(host.running) == host.concurrency - 1:
            for neighbour in lane.neighbours:
                neighbour.wake()


def _forget(members: list[Member]) -> None:
    for member in members:
        forget((member.job.id, member.job.fence))


def ask(slot: Slot, job: str, fence: int, at: int, reason: str) -> bool:
    """Someone has asked one job of the batch in this slot to stop. True: all have been asked to by now."""
    members: list[Member] = slot.batch or []
    for member in members:
        if member.job.id == job and member.job.fence == fence and member.asked is None:
            member.asked = at, reason
    return all(member.asked is not None for member in members)
