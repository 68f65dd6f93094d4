"""The slots of one process and what surrounds them: it outlives the ids under which the process works."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from ..core.change import Change
from ..core.job import Job, State
from ..core.options import SECOND
from ..core.outcome import Canceled, Done, Errored, Expired, Interrupted, Outcome, Snoozed
from ..core.policy import Policy
from ..errors import StoreError
from ..observe import heard, meters, signal
from ..ports import Announce, Store
from ..privacy.known import forget
from ..settings import Settings
from ..tasks import Registry
from ..tracing import recording
from . import attempt as dress
from . import failures
from .batches import Member, ask
from .children.pool import Pool
from .clock import Clock
from .inject import Recipes, Shared
from .intake import Intake
from .leases import Keeper
from .plans import Plan, Plans
from .pump import Pump, ended
from .slot import Slot, Stop, labels
from .slots import Lane
from .stats import Tally
from .threads import Threads
from .together import together
from .transaction import Outside
from .wake import Alarm

CLOSING = 10.0  # s for providers to close
UNKNOWN = 60.0  # s until a job of a task that nobody here knows is looked at again


class Crew:
    """See `host.Host`. `pump`, `keeper` and `alarm` are those of the present id."""

    pump: Pump
    keeper: Keeper
    alarm: Alarm

    def __init__(self, store: Store, registry: Registry, settings: Settings, clock: Clock, announce: Announce) -> None:
        self.clock = clock
        self.concurrency = settings.concurrency
        self.running: dict[str, Slot] = {}
        self.mates: dict[str, Slot] = {}
        self.asked: dict[str, tuple[int, str]] = {}
        self.held: dict[str, Job] = {}
        self.succeeded = self.failed = 0
        self.tally = Tally()
        recipes = Recipes(registry)
        recipes.check()
        self.plans = Plans(registry, recipes)
        self.threads = Threads(settings.threads)
        self.shared = Shared()
        self.pool = Pool(registry, settings, clock) if registry.claims("process") else None
        self._store, self._registry = store, registry
        outside = Outside(store, clock, announce, settings.url.startswith("sqlite:"))
        self._stage = dress.Stage(
            outside, self.threads, self.shared, self.pool, registry.authorizer, lambda slot: self._stop(slot, "lost")
        )
        self.loud = self.recorded = False
        self.until_empty = False
        self.lanes = self._make_lanes(settings)
        self._reading: asyncio.Task[None] | None = None

    def _make_lanes(self, settings: Settings) -> list[Lane]:
        """Only lanes that some task needs: a worker with coroutines only starts no threads, and claims for one lane."""
        grace, most = settings.cancel_grace, settings.concurrency
        lanes = []
        if self._registry.claims("async"):
            lanes.append(Lane("async", most, self, grace))
        if self._registry.claims("thread"):
            lanes.append(Lane("thread", min(settings.threads, most), self, grace))
        if self.pool is not None:
            lanes.append(Lane("process", min(settings.processes or cores(), most), self, grace))
        for lane in lanes:
            lane.neighbours = tuple(other for other in lanes if other is not lane)
        return lanes

    def intakes(self, poll: float) -> list[Intake]:
        return [Intake(lane, json.dumps(self._registry.claims(lane.kind)), self.clock, poll) for lane in self.lanes]

    # -- one id after the other --------------------------------------------------------------------------------------

    def start(self) -> None:
        for lane in self.lanes:
            lane.start()

    def begin(self, keeper: Keeper, pump: Pump, alarm: Alarm) -> None:
        self.keeper, self.pump, self.alarm = keeper, pump, alarm

    def confirmed(self) -> None:
        """The lease stands (again): start work."""
        for lane in self.lanes:
            lane.open = True
            lane.wake()
        self.pump.stir()

    def lost(self) -> None:
        """The jobs here belong to others: forget those that have not started, tell those that run."""
        signal("worker.lapsed", worker=self.keeper.worker, running=len(self.running))
        for lane in self.lanes:
            lane.take_back()
            lane.stop_all("lost")
        self.held.clear()
        self.asked.clear()

    async def close(self) -> None:
        for lane in self.lanes:
            lane.stop_all("lost")  # nothing runs any more, unless the worker itself has broken down
            lane.close()
        if self._reading is not None:
            self._reading.cancel()
        try:
            async with asyncio.timeout(CLOSING):
                await self.shared.close()
        except Exception as error:
            signal("worker.crashed", worker=self.keeper.worker, error=f"closing a provider: {error}", exc_info=error)
        if self.pool is not None:
            await self.pool.close()
        self.threads.close()

    @property
    def load(self) -> int:
        return sum(lane.load + lane.batches.waiting for lane in self.lanes) + len(self.held)

    def holds(self) -> Counter[str]:
        """Jobs here by queue, waiting and running."""
        here = {id: slot.job.queue for id, slot in self.running.items() if slot.job is not None}
        for slot in {*self.mates.values()}:
            here.update((member.job.id, member.job.queue) for member in slot.batch or ())
        for lane in self.lanes:
            here.update((job.id, job.queue) for job in (*lane.queue, *lane.batches.jobs()))
        here.update((job.id, job.queue) for job in self.held.values())
        return Counter(here.values())

    # -- for the slots (see `host.Host`) ----------------------------------------------------------------------------

    def fenced(self) -> bool:
        self.loud, self.recorded = heard("attempt.started"), recording()  # once per turn of the loop is often enough
        return self.keeper.fenced()

    async def attempt(self, slot: Slot, plan: Plan, job: Job, given: dict[str, Any]) -> Outcome | None:
        return await dress.attempt(self._stage, self.keeper.worker, slot, plan, job, given)

    async def together(self, slot: Slot, plan: Plan, members: list[Member]) -> None:
        await together(self._stage, self.keeper.worker, slot, plan, members)

    async def in_thread(self, slot: Slot, plan: Plan, given: dict[str, Any]) -> str | None:
        return await dress.in_thread(self.threads, slot, functools.partial(dress.call, plan, given))

    def settle(
        self, job: Job, plan: Plan, outcome: Outcome, started: float, fault: BaseException | None
    ) -> Coroutine[Any, Any, None] | None:
        if type(outcome) is Done:
            self.succeeded += 1
        duration = self.clock.elapsed() - started
        if type(outcome) is Done and not self.loud and not plan.hooks:
            self.pump.decide(job, outcome, plan.policy, None, duration)
            return None
        hooked = plan.hooks and not isinstance(outcome, Interrupted)
        verdict: asyncio.Future[Change | None] | None = None
        if hooked:
            verdict = asyncio.get_running_loop().create_future()

        def then(job: Job, change: Change | None) -> None:
            """Only what the store has taken is told: a job may belong to another worker by now."""
            if change is not None:
                if change.state is State.FAILED:
                    self.failed += 1
                _tell(job, plan, outcome, change, duration, fault)
            if verdict is not None and not verdict.done():
                verdict.set_result(change)

        change = self.pump.decide(job, outcome, plan.policy, then, duration)
        if change.state is State.SCHEDULED:
            self.alarm.at(change.run_at)
        return self._hooks(verdict, plan, job, outcome, fault, duration) if verdict is not None else None

    def settled(
        self, job: Job, plan: Plan, outcome: Outcome, change: Change, started: float
    ) -> Coroutine[Any, Any, None] | None:
        self.succeeded += 1
        self._store.released(job.worker or "", job.id)
        duration = self.clock.elapsed() - started
        if meters.on is not None:
            meters.on.ended([(job.queue, job.task, ended(change, outcome), duration)])
        self.pump.settled(job, change, self.clock.now() - round(duration * SECOND))
        _tell(job, plan, outcome, change, duration, None)
        if not plan.hooks:
            if self.until_empty:
                self.pump.hint()
            return None
        verdict: asyncio.Future[Change | None] = asyncio.get_running_loop().create_future()
        verdict.set_result(change)
        return self._hooks(verdict, plan, job, outcome, None, duration)

    async def _hooks(
        self,
        verdict: asyncio.Future[Change | None],
        plan: Plan,
        job: Job,
        outcome: Outcome,
        fault: BaseException | None,
        duration: float,
    ) -> None:
        change = await verdict
        if change is not None:
            await dress.after(self._stage, plan, job, outcome, change, fault, duration)
        if self.until_empty:
            self.pump.hint()  # the claim that carried the verdict met a busy slot
        else:
            self.pump.stir()  # so did this one, and what it left is not to wait for the next poll

    def policy(self, job: Job) -> Policy:
        """What applies to a job that is given back unstarted."""
        plan = self.plans.of(job)
        return plan.policy if plan is not None else Policy(retention=self._registry.retention)

    def unknown(self, job: Job) -> None:
        """Claimed although its task is not known here (it was, when the claim left): back to the queue with it."""
        signal("worker.unknown", task=job.task, version=job.version, jobs=1)
        self.pump.decide(job, Snoozed(UNKNOWN), self.policy(job))

    def broke(self, jobs: Sequence[Job], error: Exception) -> None:
        """Told, and settled as attempts that failed: they must neither be held for ever nor go round and round."""
        if not jobs:
            signal("worker.broken", worker=self.keeper.worker, error=repr(error), exc_info=error)
        for job in jobs:
            signal("attempt.broken", **labels(job), error=failures.text(error), exc_info=error)
            forget((job.id, job.fence))
            try:
                policy = self.policy(job)
            except Exception:
                policy = Policy(retention=self._registry.retention)
            with contextlib.suppress(Exception):  # then it is taken from this worker when its lease ends
                self.pump.decide(job, failures.outcome(error, policy.retry), policy)
                self.ended(job.id)

    def gathered(self) -> None:
        self.pump.stir()

    def ended(self, job: str) -> None:
        if (held := self.held.pop(job, None)) is not None:
            plan = self.plans.of(held)
            for lane in self.lanes:
                if plan is None or lane.kind == plan.executor:
                    lane.feed([held])
                    return

    # -- cancel requests ---------------------------------------------------------------------------------------------

    def look_for_cancels(self) -> None:
        """Someone may have asked a job of ours to stop."""
        if self._reading is None and (self.running or self.load):
            self._reading = asyncio.get_running_loop().create_task(self._read_cancels())

    async def _read_cancels(self) -> None:
        try:
            self.stop_asked(await self._store.read(self._store.verbs.canceling(self.keeper.worker)))
        except StoreError:
            return  # asked again at the next renewal; settling meets the request in any case
        finally:
            self._reading = None

    def stop_asked(self, rows: Iterable[tuple[str, int, int, str]]) -> None:
        waiting: set[str] | None = None
        for job, fence, at, reason in rows:
            slot = self.running.get(job) or self.mates.get(job)
            if slot is not None and slot.job is not None:
                if slot.batch is not None:
                    if ask(slot, job, fence, at, reason):
                        self._stop(slot, "cancel")
                elif slot.job.fence == fence and slot.asked is None:
                    slot.asked = (at, reason)
                    self._stop(slot, "cancel")
                continue
            if waiting is None:
                waiting = {one.id for lane in self.lanes for one in lane.queue}
                waiting.update(*(lane.batches.ids() for lane in self.lanes))
            if job in waiting:
                self.asked[job] = (at, reason)
                for lane in self.lanes:
                    lane.batches.drop(job)

    def _stop(self, slot: Slot, why: Stop) -> None:
        plan = slot.plan
        for lane in self.lanes:
            if plan is not None and lane.kind == plan.executor:
                lane.stop(slot, why)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(job: Job, plan: Plan, outcome: Outcome, change: Change, duration: float, fault: BaseException | None) -> None:
    """The signals of one ended attempt, as the store has it."""
    this = labels(job)
    if job.cancel_at is not None:  # cancel wins over whatever the attempt said
        signal("attempt.canceled", **this, reason=job.cancel_reason or "")
        return
    match outcome:
        case Done():
            signal("attempt.succeeded", **this, duration=duration)
        case Errored(said):
            data = json.loads(said)
            kind = data["kind"]
            if kind == "timeout":
                signal("attempt.timeout", **this, seconds=duration)
            error = kind
            if "class" in data:  # as it is stored: the secrets that it knew may be forgotten by now
                error = f"{data['class']}: {data.get('detail', '')}"
            elif fault is not None:
                error = f"{failures.name(fault)}: {failures.text(fault)}"
            if kind == "undecodable":
                signal("attempt.undecodable", **this, error=error)
            else:
                signal(
                    "attempt.exhausted" if change.state is State.FAILED else "attempt.errored",
                    **this,
                    max_attempts=plan.policy.max_attempts,
                    duration=duration,
                    error=error,
                )
        case Snoozed(delay):
            signal("attempt.snoozed", **this, delay=delay)
        case Canceled(reason):
            signal("attempt.canceled", **this, reason=reason)
        case Interrupted(reason):
            signal("attempt.returned", **this, reason=reason)
        case Expired():
            signal("attempt.expired", **this)
