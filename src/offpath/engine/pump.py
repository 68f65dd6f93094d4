"""Settle and claim in one exchange after the other: what ends while one is on its way is the next one's batch.

Nothing on the hot path waits for a clock. Only a pump with nothing to send sets a timer, for the next poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core import lifecycle
from ..core.change import Change
from ..core.job import Job, State
from ..core.options import SECOND, SUSPECT
from ..core.outcome import Errored, Expired, Interrupted, Outcome
from ..core.policy import Policy
from ..errors import StoreUnavailable
from ..observe import meters, signal
from ..ports import Exchanged, Store, Verdict, Want
from . import failures
from .clock import Clock
from .intake import Intake
from .leases import Keeper
from .outage import Outage
from .slot import Slot, labels
from .stats import One, Tally

LONG = 0.020  # s: an exchange that takes longer carries too much
MOST_CHANGES = 1_000
LEAST_CHANGES = 50
PATIENCE = (0.05, 5.0)  # s, first and last pause while the store refuses
RESTS = (0.02, 1.0)  # s, first and last pause for one whose row somebody keeps locked


Then = Callable[[Job, Change | None], None]
"""What follows the store's verdict: the job as it was settled, and the change, or None when it was refused."""


class Said(NamedTuple):
    """An outcome on its way to the store, with what it takes to decide again, and what follows the verdict. `began` and
    `at`: when its attempt began, where one did, and when it was decided on (µs)."""

    change: Change
    job: Job
    outcome: Outcome
    policy: Policy
    then: Then | None = None
    began: int | None = None
    at: int = 0
    rest: float = RESTS[0]  # s, the next pause if it is locked


NOBODY: Mapping[str, Slot] = {}


class Pump:
    """The exchanges of one worker id."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        clock: Clock,
        intakes: Sequence[Intake],
        queues: Callable[[], tuple[tuple[str, int], ...]],
        *,
        policy: Callable[[Job], Policy],
        running: dict[str, Slot],
        held: dict[str, Job],
        concurrency: int,
        tally: Tally | None = None,
        mates: Mapping[str, Slot] = NOBODY,
    ) -> None:
        self.claiming = True
        self.ending = False  # leave once everything has been sent
        self.lost = False  # a verdict stands on this worker
        self.resting: frozenset[str] = frozenset()  # queues that are paused
        self.lined: frozenset[str] = frozenset()  # tasks whose jobs may wait for each other in a line
        self.short: Callable[[], None] = lambda: None  # called after a claim that found less than wanted
        self.freed: Callable[[], None] = lambda: None  # called when jobs under a limit have ended
        self._store, self._keeper, self._clock = store, keeper, clock
        self.intakes, self._queues = intakes, queues
        self._policy = policy
        self._running, self._mates, self._held, self._concurrency = running, mates, held, concurrency
        self._tally = Tally() if tally is None else tally
        self._said: list[Said] = []
        self._resting: list[tuple[float, Said]] = []  # until when (`Clock.elapsed`) who is locked is not sent
        self._curious = 0  # of them, how many want to hear the verdict
        self._suspects: set[str] = set()
        self._turn = 0
        self._roomy = False  # what is to be sent makes room under a limit
        self._over = False  # nothing is sent any more
        self._failing: float | None = None  # since when (`Clock.elapsed`) no exchange has worked
        self._outage = Outage()
        self._most = MOST_CHANGES
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    # -- from the slots and the wakers, on the loop ------------------------------------------------------------------

    def say(self, said: Said) -> None:
        """An attempt has ended; its outcome leaves with the next exchange."""
        if said.then is not None:
            self._curious += 1
        if said.job.lane is not None:
            self._make_room()
        if self._over:
            self._answered([said], ["stale"], {})
            return
        self._said.append(said)
        if self._waiter is not None:
            self.stir()

    def settled(self, job: Job, change: Change, began: int) -> None:
        """This one needs no exchange: its own transaction has carried its outcome. There is room for another."""
        self._tally.ended([One(job, change, began, self._clock.now())])
        self._suspects.discard(job.id)
        if job.lane is not None:
            self._make_room()
            self.freed()
        self.stir()

    def _make_room(self) -> None:
        """A job under a limit has ended here: whoever may start in its place is asked for once that is written."""
        self._roomy = True
        for intake in self.intakes:
            intake.hint = True

    def hint(self) -> None:
        """There may be work."""
        for intake in self.intakes:
            intake.hint = True
        self.stir()

    def stir(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def _asking(self) -> bool:
        """Not while all queues are paused: who asks for nothing is not told either whether it is still alive."""
        return self.claiming and bool(self._queues())

    @property
    def pending(self) -> int:
        """Outcomes that the store does not have yet."""
        return len(self._said) + len(self._resting)

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `ending` and everything is sent, or the worker is lost."""
        try:
            await self._run()
        finally:
            self._over = True
        # Lost: what was not sent would be refused.
        left, self._said = [*self._said, *(said for _, said in self._resting)], []
        self._resting.clear()
        refused: list[Verdict] = ["stale"] * len(left)
        self._answered(left, refused, {})

    async def _run(self) -> None:
        pause = PATIENCE[0]
        while not self.lost:
            now = self._clock.elapsed()
            if self._resting:
                self._rested(now)
            intake, want = self._wants(now) if self._asking else (None, None)
            if not self._said and want is None:
                if self.ending and not self._resting:
                    return
                await self._wait(now)
                continue
            batch, self._said = self._said[: self._most], self._said[self._most :]
            if intake is not None:
                intake.asked(now)
            sent = self._clock.awake()
            try:
                answer = await self._store.exchange(self._keeper.worker, [said.change for said in batch], want)
            except Exception as error:  # StoreUnavailable, mostly; whatever it is, the outcomes must not be lost
                # Nothing was written: keep all of it. (Had the commit gone through, the repeat would be stale.)
                self._said[:0] = batch
                if intake is not None:
                    intake.hint = True
                self._failed(error, now)
                if batch and not isinstance(error, StoreUnavailable):
                    self._narrow(batch, error)
                    continue
                await asyncio.sleep(self._clock.spread(pause, 0.5))
                pause = min(2 * pause, PATIENCE[1])
                continue
            pause = PATIENCE[0]
            if self._failing is not None:
                signal("worker.resumed", worker=self._keeper.worker, seconds=round(now - self._failing, 1))
                self._failing = None
                self._outage.over()
            took = self._clock.elapsed() - now
            if answer.alive:
                self._keeper.confirm(sent)
            else:
                self.lost = True
            if self._roomy and batch:
                self._roomy = any(said.job.lane is not None for said in self._said)
                self.freed()
            self._judged(batch, answer)
            self._paced(len(batch), took)
            if intake is not None:
                again = False
                if want is not None and want.limited is not None and intake.gate is not None:
                    again = intake.gate.seen(answer.limited, answer.full)
                self._claimed(intake, answer, len(batch), took, again)

    def _failed(self, error: Exception, now: float) -> None:
        if self._failing is None:
            self._failing = now
        if self._outage.worth_telling(error, now):
            signal("worker.failed", worker=self._keeper.worker, error=str(error))

    def _narrow(self, batch: Sequence[Said], error: Exception) -> None:
        """The store will not have something in this batch: find out what, by halves. That job fails with this reason,
        and the others do not wait for it."""
        if len(batch) > 1:
            self._most = len(batch) // 2
            return
        said = self._said.pop(0)
        reason = failures.unstorable(error)
        if said.outcome == reason:
            # Not even that: its lease will run out with this worker's, and it counts as a crash.
            if said.then is not None:
                self._curious -= 1
                said.then(said.job, None)
            return
        self._again(said, said.job, reason)

    def _wants(self, now: float) -> tuple[Intake | None, Want | None]:
        """The next lane that wants work: each in its turn, they do not compete for slots."""
        count = len(self.intakes)
        behind = max(0, len(self._said) - self._most)
        for step in range(count):
            turn = (self._turn + step) % count
            intake = self.intakes[turn]
            room = intake.room(now, sending=bool(self._said), behind=behind)
            if room:
                self._turn = turn + 1
                free = max(0, min(intake.lane.free, room, self._concurrency - len(self._running)))
                look = None if intake.gate is None else intake.gate.look(room, free)
                return intake, Want(self._queues(), intake.tasks, room, free, not self._suspects, look)
        return None, None

    async def _wait(self, now: float) -> None:
        self._waiter = waiter = self._loop.create_future()
        at = min((intake.wakes_at() for intake in self.intakes), default=float("inf")) if self._asking else float("inf")
        at = min([at, *(until for until, _ in self._resting)])
        timer = self._loop.call_later(max(0.001, at - now), self.stir) if at < float("inf") else None
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _claimed(self, intake: Intake, answer: Exchanged, settled: int, took: float, again: bool) -> None:
        jobs = answer.claimed
        if not answer.alive:
            return  # whatever came is not ours any more
        if jobs and meters.on is not None:
            now = self._clock.now()
            meters.on.waited((job.queue, job.task, max(0.0, (now - job.run_at) / SECOND)) for job in jobs)
        if any(job.crashes or job.once for job in jobs):
            # They may take the process with them, or must not wait here: first in line.
            jobs = sorted(jobs, key=lambda job: not (job.crashes or job.once))
            self._suspects.update(job.id for job in jobs if job.crashes >= SUSPECT)
        here = {**self._running, **self._mates} if self._mates else self._running
        if here and any(job.id in here for job in jobs):
            # Given up by us while we were thought dead, and claimed again: never two attempts in one process.
            self._held.update((job.id, job) for job in jobs if job.id in here)
            jobs = [job for job in jobs if job.id not in here]
        if not self.claiming:  # asked to stop while the claim was on its way
            self.give_back(jobs)
            return
        if self.resting and any(job.queue in self.resting for job in jobs):  # paused meanwhile
            self.give_back([job for job in jobs if job.queue in self.resting])
            jobs = [job for job in jobs if job.queue not in self.resting]
        intake.got(jobs, answer.full or again, settled, took)
        if not answer.full:
            self.short()

    def give_back_held(self) -> int:
        """Those that wait for an earlier attempt of theirs to end here."""
        held = list(self._held.values())
        self._held.clear()
        self.give_back(held)
        return len(held)

    def rest(self, queues: frozenset[str]) -> None:
        """These queues are paused, and no others: what is here of them and has not started goes back."""
        self.resting = queues
        if queues:
            for intake in self.intakes:
                self.give_back(intake.returned(queues))
            held = [job for job in self._held.values() if job.queue in queues]
            for job in held:
                del self._held[job.id]
            self.give_back(held)

    def give_back(self, jobs: Sequence[Job]) -> None:
        """Jobs that have not started, for another worker to take."""
        for job in jobs:
            self.decide(job, Interrupted("not started", begun=False), self._policy(job))

    def decide(
        self, job: Job, outcome: Outcome, policy: Policy, then: Then | None = None, took: float | None = None
    ) -> Change:
        """`took`: seconds since its attempt began, where one did."""
        now = self._clock.now()
        began = None if took is None else now - int(took * SECOND)
        change = lifecycle.settle(job, outcome, policy, now, self._clock.chance(), began)
        self.say(Said(change, job, outcome, policy, then, began, now))
        return change

    def _again(self, said: Said, job: Job, outcome: Outcome) -> None:
        """Decide again what the store did not take as it was."""
        if said.then is not None:
            self._curious -= 1
        took = None if said.began is None else (self._clock.now() - said.began) / SECOND
        self.decide(job, outcome, said.policy, said.then, took)

    def _rested(self, now: float) -> None:
        """Nothing has changed for these: what was said of them is sent as it was."""
        self._said += [said for until, said in self._resting if until <= now]
        self._resting = [(until, said) for until, said in self._resting if until > now]

    def _judged(self, batch: Sequence[Said], answer: Exchanged) -> None:
        whole = answer.verdicts.count("applied") == len(batch)
        applied = batch if whole else [said for said, v in zip(batch, answer.verdicts, strict=True) if v == "applied"]
        self._tally.ended(applied)
        if self._suspects:
            self._suspects.difference_update(said.job.id for said in batch)
        if any(said.job.key is not None or said.job.task in self.lined for said in batch):
            self.hint()  # another one may have waited for the key, or behind it in its line
        if meters.on is not None and batch:
            self._count(meters.on, batch, answer.verdicts)
        if self._curious or not whole:
            self._answered(batch, answer.verdicts, answer.asked)

    def _count(self, tally: meters.Tally, batch: Sequence[Said], verdicts: Sequence[Verdict]) -> None:
        """A verdict "changed" is none yet."""
        now = self._clock.now()
        ends = []
        for said, verdict in zip(batch, verdicts, strict=True):
            took = None if said.began is None else max(0, said.at - said.began) / SECOND
            if verdict == "applied":
                ends.append((said.job.queue, said.job.task, ended(said.change, said.outcome), took))
                if said.job.cancel_at is not None:
                    tally.took("offpath_cancel_seconds", (said.job.task,), max(0, now - said.job.cancel_at) / SECOND)
            elif verdict == "stale":
                ends.append((said.job.queue, said.job.task, "stale", took))
        tally.ended(ends)

    def _answered(self, batch: Sequence[Said], verdicts: Sequence[Verdict], asked: Mapping[str, Any]) -> None:
        for said, verdict in zip(batch, verdicts, strict=True):
            job = said.job
            if verdict == "changed":  # someone asked it to stop while the outcome was on its way
                at, reason = asked[job.id]
                if (at is None) == (job.cancel_at is None):  # nobody did: its row is locked, and may be for long
                    rest = said._replace(rest=min(2 * said.rest, RESTS[1]))
                    self._resting.append((self._clock.elapsed() + said.rest, rest))
                    continue
                self._again(said, job._replace(cancel_at=at, cancel_reason=reason), said.outcome)
                continue
            if verdict == "stale":
                signal("attempt.stale", **labels(job), fence=job.fence)
            if said.then is not None:
                self._curious -= 1
                said.then(job, said.change if verdict == "applied" else None)

    def _paced(self, sent: int, took: float) -> None:
        """A finished job is to be durable soon: no exchange may grow so large that the next waits long for it."""
        if took > LONG and 2 * sent >= self._most:
            self._most = max(LEAST_CHANGES, self._most // 2)
        elif took < LONG / 2:
            self._most = min(MOST_CHANGES, 2 * self._most)


_ENDS = {State.SUCCEEDED: "succeeded", State.FAILED: "failed", State.CANCELED: "canceled"}


def ended(change: Change, outcome: Outcome) -> str:
    """An attempt in one word, as it is counted."""
    if isinstance(outcome, Expired):
        return "expired"
    if (end := _ENDS.get(change.state)) is not None:
        return end
    return "errored" if isinstance(outcome, Errored) else "returned" if isinstance(outcome, Interrupted) else "snoozed"
