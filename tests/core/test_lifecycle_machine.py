"""Whole lives of jobs, in any order of events. The model is a dict of rows that only `core/lifecycle.py` may move.

What a store adds is modelled in a line each: `claim` raises the fence, `apply` compares fence and cancel before it
writes, `tick` makes due jobs ready. The counts the invariants compare with are kept here, beside the rows, by hand.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from offpath.core.call import Call
from offpath.core.change import Change
from offpath.core.events import TERMINAL as LAST_EVENTS
from offpath.core.events import Event
from offpath.core.job import TERMINAL, Finished, Job, State
from offpath.core.lifecycle import MOVES, again, cancel, expire, new, overdue, settle, started
from offpath.core.options import MAX_CRASHES, SECOND, CallOptions, TaskOptions
from offpath.core.outcome import Canceled, Done, Errored, Expired, Interrupted, Outcome, Snoozed
from offpath.core.policy import Policy, resolve
from offpath.core.policy import Retention as Kept
from offpath.core.retry import Backoff, Retry
from tests.core.values import BOOM, NOW, OUTCOMES, finished, uniform

WORKERS = ["w1", "w2", "w3"]
RETENTION = Kept()


@dataclass
class Life:
    """One job: its row, and what the test itself has counted about it."""

    job: Job
    policy: Policy
    end: Finished | None = None
    frozen: tuple[Finished, tuple[Event, ...]] | None = None
    failures: int = 0
    crashes: int = 0
    claims: int = 0
    asked: bool = False  # for a cancel, while it ran
    spoiled: bool = False  # an at-most-once delivery began and did not come to an orderly end
    log: list[Event] = field(default_factory=list)
    moves: list[tuple[State, State]] = field(default_factory=list)


class Lives(RuleBasedStateMachine):
    decided = Bundle("decided")

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.lives: dict[str, Life] = {}
        self.enqueued = 0

    # -- what a store does ----------------------------------------------------------------------------------------

    def insert(self, job: Job, event: Event, policy: Policy) -> None:
        self.lives[job.id] = Life(job, policy, log=[event] if job.watched else [])
        self.enqueued += 1

    def apply(self, change: Change) -> str:
        """The guard of every store, then the write."""
        life = self.lives[change.id]
        job = life.job
        if life.end is not None or job.fence != change.fence:
            return "stale"
        if (job.cancel_at is not None) != change.seen_cancel:
            return "changed"
        life.moves.append((job.state, change.state))
        life.log.extend(change.events)
        life.job = job._replace(
            state=change.state,
            run_at=change.run_at,
            attempt=change.attempt,
            crashes=change.crashes,
            cancel_at=change.cancel_at,
            cancel_reason=change.cancel_reason,
            worker=job.worker if change.state is State.RUNNING else None,
        )
        if change.state in TERMINAL:
            life.end = finished(
                life.job, change.state, self.now, result=change.result, error=change.error, expires=change.expires_at
            )
            life.frozen = (life.end, tuple(life.log))
        return "applied"

    def those(self, *states: State) -> list[Life]:
        return [life for life in self.lives.values() if life.end is None and life.job.state in states]

    def pick(self, data: st.DataObject, *states: State) -> Life:
        return data.draw(st.sampled_from(self.those(*states)))

    # -- what happens ---------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        for worker in range(2):
            options = TaskOptions(delivery="at_most_once" if worker else "at_least_once")
            job, event = new(Call("t", 1, "{}", options, CallOptions(), True), None, self.now, f"first-{worker}")
            self.insert(job, event, resolve(options, None, None, RETENTION))

    @rule(
        most=st.integers(1, 4),
        delay=st.none() | st.integers(0, 100),
        deadline=st.none() | st.integers(1, 300),
        once=st.booleans(),
        watched=st.booleans(),
    )
    def enqueue(self, most: int, delay: int | None, deadline: int | None, once: bool, watched: bool) -> None:
        options = TaskOptions(
            retry=None if once else Retry(most, Backoff.exponential(first=5)),
            deadline=deadline,
            delivery="at_most_once" if once else "at_least_once",
        )
        call = Call("t", 1, "{}", options, CallOptions(delay=delay), watched)
        job, event = new(call, None, self.now, f"job-{self.enqueued}")
        self.insert(job, event, resolve(options, None, job.options, RETENTION))

    @rule(seconds=st.integers(1, 60))
    def tick(self, seconds: int) -> None:
        """Upkeep: what is late ends, what is due becomes ready."""
        self.now += seconds * SECOND
        for life in self.those(State.SCHEDULED, State.WAITING, State.READY):
            late = overdue(life.job, RETENTION, self.now)
            if late is not None:
                assert self.apply(late) == "applied"
            elif life.job.state is State.SCHEDULED and life.job.run_at <= self.now:
                life.moves.append((life.job.state, State.READY))
                life.job = life.job._replace(state=State.READY)
        for life in self.those(State.SCHEDULED, State.WAITING, State.READY):
            assert life.job.deadline is None or life.job.deadline > self.now, "late work is still waiting to start"

    @precondition(lambda self: self.those(State.READY))
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def claim(self, data: st.DataObject, worker: str) -> None:
        """A worker takes a ready job. What became late since upkeep last looked is claimed, but never started."""
        life = self.pick(data, State.READY)
        late = overdue(life.job, RETENTION, self.now) is not None
        assert life.job.run_at <= self.now, "it was about to start too early"
        assert not life.spoiled, "at-most-once work was about to start again"
        life.moves.append((life.job.state, State.RUNNING))
        life.claims += 1
        life.job = life.job._replace(state=State.RUNNING, fence=life.job.fence + 1, worker=worker)
        if life.job.watched:
            life.log.append(started(life.job.attempt))
        if late:
            self.finish(life, Expired(), 0)
            assert life.job.state is State.FAILED, "expired work was about to start"

    @precondition(lambda self: self.those(State.RUNNING))
    @rule(data=st.data(), said=st.sampled_from(sorted(OUTCOMES)), u=uniform)
    def end_attempt(self, data: st.DataObject, said: str, u: float) -> None:
        life = self.pick(data, State.RUNNING)
        self.finish(life, OUTCOMES[said], u)

    def finish(self, life: Life, outcome: Outcome, u: float) -> None:
        change = settle(life.job, outcome, life.policy, self.now, u)
        assert self.apply(change) == "applied"
        if isinstance(outcome, Errored):
            life.failures += 1
        if life.job.once and isinstance(outcome, Errored | Interrupted):
            life.spoiled = True

    @precondition(lambda self: self.those(State.RUNNING))
    @rule(target=decided, data=st.data(), said=st.sampled_from(sorted(OUTCOMES)), u=uniform)
    def decide_only(self, data: st.DataObject, said: str, u: float) -> tuple[Change, Outcome, float]:
        """The decision is made; its write is on the way and will arrive later, or too late."""
        life = self.pick(data, State.RUNNING)
        return settle(life.job, OUTCOMES[said], life.policy, self.now, u), OUTCOMES[said], u

    @rule(target=decided, late=consumes(decided))
    def arrive(self, late: tuple[Change, Outcome, float]) -> object:
        change, outcome, u = late
        life = self.lives[change.id]
        before = life.job
        if before.state is not State.RUNNING:
            return multiple()  # the store matches state = running too
        verdict = self.apply(change)
        if verdict == "stale":
            assert life.job == before
            assert change.fence < life.job.fence or life.end is not None
        elif verdict == "changed":
            assert life.asked, "only a cancel in between makes us decide again"
            self.finish(life, outcome, u)
        else:
            life.failures += isinstance(outcome, Errored)
            life.spoiled |= life.job.once and isinstance(outcome, Errored | Interrupted)
        return multiple()

    @precondition(lambda self: self.those(State.RUNNING))
    @rule(worker=st.sampled_from(WORKERS))
    def worker_dies(self, worker: str) -> None:
        for life in self.those(State.RUNNING):
            if life.job.worker == worker:
                assert self.apply(expire(life.job, RETENTION, self.now)) == "applied"
                life.crashes += 1
                life.spoiled |= life.job.once

    @precondition(lambda self: self.those(*State))
    @rule(data=st.data())
    def ask_to_stop(self, data: st.DataObject) -> None:
        life = self.pick(data, *State)
        was = life.job.state
        change = cancel(life.job, "customer left", RETENTION, self.now)
        if change is None:
            assert life.asked
            return
        assert self.apply(change) == "applied"
        if was is State.RUNNING:
            life.asked = True
        else:
            assert life.job.state is State.CANCELED, "a job that does not run stops at once"

    @precondition(lambda self: any(life.end for life in self.lives.values()))
    @rule(data=st.data())
    def run_again(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from([life for life in self.lives.values() if life.end is not None]))
        assert old.end is not None
        job, event = again(old.end, self.now, f"job-{self.enqueued}")
        assert job.retry_of == old.job.id
        assert (job.state, job.attempt, job.crashes, job.fence, job.worker) == (State.READY, 1, 0, 0, None)
        self.insert(job, event, old.policy)

    # -- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def only_moves_of_the_table(self) -> None:
        for life in self.lives.values():
            for a, b in life.moves:
                assert b in MOVES[a].values(), f"{a.name} → {b.name}"

    @invariant()
    def budgets(self) -> None:
        for life in self.lives.values():
            job = life.job
            assert job.fence == life.claims, "a fence is raised by claims and by nothing else"
            assert 1 <= job.attempt <= life.policy.max_attempts
            # The failure that ended the job is not followed by an attempt; nothing but failures ever counts.
            assert job.attempt in (1 + life.failures, life.failures)
            assert job.attempt == 1 + life.failures or life.end is not None
            assert job.crashes == life.crashes <= MAX_CRASHES
            if life.crashes == MAX_CRASHES:
                assert job.state in (State.FAILED, State.CANCELED), "three dead workers and it is still in the game"
            assert (job.worker is not None) == (job.state is State.RUNNING)

    @invariant()
    def cancel_wins(self) -> None:
        for life in self.lives.values():
            if life.asked:
                assert life.job.state in (State.RUNNING, State.CANCELED)
                assert life.job.cancel_at is not None

    @invariant()
    def never_repeated(self) -> None:
        for life in self.lives.values():
            if life.spoiled:
                assert life.job.state in TERMINAL

    @invariant()
    def what_ended_is_frozen(self) -> None:
        for life in self.lives.values():
            assert (life.end is not None) == (life.job.state in TERMINAL)
            if life.frozen is not None:
                assert (life.end, tuple(life.log)) == life.frozen
                assert life.end is not None
                if life.end.state is State.SUCCEEDED:
                    assert life.end.error is None
                else:
                    assert life.end.error is not None
                    assert life.end.result is None

    @invariant()
    def the_log_tells_the_story(self) -> None:
        for life in self.lives.values():
            types = [event.type for event in life.log]
            if not life.job.watched:
                assert types == [], "no one can watch it, so nothing is written"
                continue
            assert types[0] == "queued"
            assert types.count("queued") == 1
            assert types.count("started") == life.claims
            assert types.count("canceling") == life.asked
            terminal = [kind for kind in types if kind in LAST_EVENTS]
            if life.end is None:
                assert terminal == []
            else:
                assert terminal == [life.end.state.name.lower()] == types[-1:]
            back = sum(1 for a, b in life.moves if a is State.RUNNING and b in (State.READY, State.SCHEDULED))
            assert types.count("retrying") + types.count("requeued") == back
            assert types.count("retrying") == life.job.attempt - 1

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.lives) == self.enqueued
        alive = self.those(State.SCHEDULED, State.WAITING, State.READY, State.RUNNING)
        assert len(alive) + sum(life.end is not None for life in self.lives.values()) == self.enqueued

    def teardown(self) -> None:
        """Whatever has happened: from here each job comes to an end, if workers live and attempts succeed."""
        for life in self.those(*State):
            for _ in range(4):
                if life.end is not None:
                    break
                if life.job.state is State.RUNNING:
                    outcome: Outcome = Canceled("asked to") if life.asked else Done(None)
                    assert self.apply(settle(life.job, outcome, life.policy, self.now, 0)) == "applied"
                else:
                    self.now = max(self.now, life.job.run_at)
                    late = overdue(life.job, RETENTION, self.now)
                    if late is not None:
                        assert self.apply(late) == "applied"
                    else:
                        life.job = life.job._replace(state=State.RUNNING, fence=life.job.fence + 1, worker="w")
            assert life.end is not None, "a job that can never end"


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)


def test_a_snooze_can_go_on_for_ever() -> None:
    """Snoozes spend nothing: the thousandth leaves the job with its first attempt."""
    options = TaskOptions()
    policy = resolve(options, None, None, RETENTION)
    job, _ = new(Call("t", 1, "{}", options, CallOptions()), None, NOW, "a")
    for _ in range(1000):
        running = job._replace(state=State.RUNNING, fence=job.fence + 1, worker="w")
        change = settle(running, Snoozed(1), policy, NOW, 0)
        job = running._replace(state=change.state, attempt=change.attempt, worker=None)
    assert (job.state, job.attempt, job.fence) == (State.SCHEDULED, 1, 1000)


def test_what_a_job_says_last_is_what_it_ends_with() -> None:
    options = TaskOptions(retry=Retry(3))
    policy = resolve(options, None, None, RETENTION)
    job, _ = new(Call("t", 1, "{}", options, CallOptions()), None, NOW, "a")
    for attempt in (1, 2, 3):
        running = job._replace(state=State.RUNNING, fence=job.fence + 1, worker="w")
        assert running.attempt == attempt
        change = settle(running, Errored(BOOM), policy, NOW, 0.5)
        job = running._replace(state=change.state, attempt=change.attempt, worker=None)
    assert (job.state, job.attempt, change.error) == (State.FAILED, 3, BOOM)
