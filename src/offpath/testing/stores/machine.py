"""A real store and a dict are driven side by side through everything that can happen to a job.

The dict is moved by `core/lifecycle.py`; the store by its verbs. After every step both must hold the same jobs, and
every operation a log without a gap that tells the same story.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ...core import lifecycle
from ...core.change import Change
from ...core.job import Job, State
from ...core.options import MAX_CRASHES, SECOND
from ...core.outcome import Canceled, Done, Errored, Interrupted, Outcome, Snoozed, error
from ...core.policy import Policy, Retention
from ...core.retry import Backoff
from ...ports import JobFilter, NewJob, OperationFilter, Verdict
from .fixtures import Databases
from .kit import HOUR, KEEP, TIMEOUT, Hand, ask, expire, fresh, new_job, now, perform, put, told, watched
from .model import Model, close_to

KEPT = Policy(max_attempts=2, backoff=Backoff.fixed(0), retention=KEEP)
GONE = KEPT._replace(retention=Retention(-SECOND, -SECOND, -SECOND))
"""What ends under it is forgotten by the next pruning."""

OUTCOMES: list[Outcome] = [
    Done('"done"'),
    Errored(error("raised", "boom")),
    Errored(error("raised", "boom"), retryable=False),
    Snoozed(0),
    Snoozed(3600),
    Canceled("left"),
    Interrupted(),
    Interrupted(begun=False),
]
ALL = OperationFilter("acme", "alice")
MANY = 100
"""Who tries fewer histories has no time to look for the shortest that fails either: it takes hundreds."""

choice = st.integers(0, 10**6)


class Worker:
    def __init__(self, hand: Hand, late: bool) -> None:
        self.hand = hand
        self.late = late
        self.dead = False
        self.memory: list[Job] = []  # everything it ever claimed, as it was then: much of it is stale


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self.stack = ExitStack()
        build = self.stack.enter_context(databases())
        self.store = build(announce=lambda hints: None, retention=KEEP)
        self.store.open()
        self.model = Model()
        self.workers: list[Worker] = []
        self.read: dict[str, int] = {}  # up to which number each story has been compared

    def teardown(self) -> None:
        for worker in self.workers:
            worker.hand.close()
        self.store.close()
        self.stack.close()

    # ── what can happen ──────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        many=st.lists(
            st.fixed_dictionaries(
                {
                    "shown": st.booleans(),
                    "task": st.sampled_from(["mail", "mail", "mail", "ghost"]),
                    "key": st.sampled_from([None, None, "a", "b"]),
                    "priority": st.integers(1, 3),
                    "when": st.sampled_from([-2 * HOUR, -HOUR, HOUR]),
                    "waits": st.booleans(),
                    "once": st.sampled_from([False, False, True]),
                    "late": st.sampled_from([None, None, HOUR, -HOUR]),
                }
            ),
            min_size=1,
            max_size=4,
        )
    )
    def enqueue(self, many: list[dict[str, Any]]) -> None:
        at = now()
        jobs: list[NewJob] = []
        for wish in many:
            given = {name: wish[name] for name in ("task", "key", "priority", "once")}
            given["run_at"] = at + wish["when"]
            given["state"] = State.SCHEDULED if wish["waits"] or wish["when"] > 0 else State.READY
            given["deadline"] = None if wish["late"] is None else at + wish["late"]
            jobs.append(watched(**given) if wish["shown"] else new_job(**given))
        said = put(self.store, *jobs)
        for new, answer in zip(jobs, said, strict=True):
            self.insert(new.job, answer.id, answer.existing)

    def insert(self, job: Job, id: str, existing: bool) -> None:
        holder = next(
            (
                other.id
                for other in self.model.live.values()
                if job.key and (other.task, other.key) == (job.task, job.key)
            ),
            None,
        )
        assert (id, existing) == ((job.id, False) if holder is None else (holder, True))
        if holder is None:
            self.model.add(job, "queued")

    @precondition(lambda self: sum(not worker.dead for worker in self.workers) < 3)
    @rule(late=st.booleans())
    def hire(self, late: bool) -> None:
        self.workers.append(Worker(Hand(self.store, -1.0 if late else 600.0), late))

    @precondition(lambda self: self.workers)
    @rule(which=choice, limit=st.integers(1, 6), free=st.integers(0, 6), suspect=st.booleans())
    def claim(self, which: int, limit: int, free: int, suspect: bool) -> None:
        worker = self.workers[which % len(self.workers)]
        said = worker.hand.exchange(want=worker.hand.want(limit, free=free, suspect=suspect))
        assert said.alive is not worker.dead
        self.took(worker, said.claimed, limit, free, suspect)

    def took(self, worker: Worker, claimed: list[Job], limit: int, free: int, suspect: bool) -> None:
        expected = [] if worker.dead else self.model.claimable(now(), limit, free, suspect)
        assert [job.id for job in claimed] == [job.id for job in expected]
        for job in claimed:
            before = self.model.live[job.id]
            assert job == before._replace(state=State.RUNNING, fence=before.fence + 1, worker=worker.hand.id)
            self.model.live[job.id] = job
            if job.watched:
                self.model.told[job.id].append("started")
        worker.memory += claimed

    @precondition(lambda self: any(worker.memory for worker in self.workers))
    @rule(
        which=choice,
        picks=st.lists(
            st.tuples(choice, st.sampled_from(OUTCOMES), st.booleans(), st.booleans()), min_size=1, max_size=6
        ),
        claims=st.booleans(),
        stranger=st.sampled_from([False, False, False, True]),
    )
    def settle(self, which: int, picks: list[Any], claims: bool, stranger: bool) -> None:
        """A worker's word, in time or late, knowing of a cancel request or not; now and then from the wrong worker."""
        busy = [worker for worker in self.workers if worker.memory]
        source = busy[which % len(busy)]
        worker = self.workers[which % len(self.workers)] if stranger else source
        changes: dict[str, Change] = {}
        expected: dict[str, Verdict] = {}
        for pick, outcome, knows, kept in picks:
            job = source.memory[-1 - pick % len(source.memory)]
            row = self.model.live.get(job.id)
            if knows and row is not None:
                job = job._replace(cancel_at=row.cancel_at, cancel_reason=row.cancel_reason)
            if job.id in changes:
                continue
            changes[job.id] = change = lifecycle.settle(job, outcome, KEPT if kept else GONE, now(), 0.0)
            if row is None or (row.state, row.fence, row.worker) != (State.RUNNING, job.fence, worker.hand.id):
                expected[job.id] = "stale"
            elif (row.cancel_at is not None) != change.seen_cancel:
                expected[job.id] = "changed"
            else:
                expected[job.id] = "applied"
        want = worker.hand.want(3) if claims else None
        said = self.store.exchange(worker.hand.id, list(changes.values()), want).result(TIMEOUT)
        assert said.verdicts == list(expected.values())
        for id, verdict in expected.items():
            if verdict == "applied":
                self.model.apply(changes[id])
        if claims:
            self.took(worker, said.claimed, 3, 3, True)

    @precondition(lambda self: self.former())
    @rule(which=choice)
    def late_word(self, which: int) -> None:
        """What a worker says of its former attempt at a job that it holds again."""
        former = self.former()
        worker, job = former[which % len(former)]
        change = lifecycle.settle(job, Done("1"), KEPT, now(), 0.0)
        assert worker.hand.settle(change) == ["stale"]

    def former(self) -> list[tuple[Worker, Job]]:
        found: list[tuple[Worker, Job]] = []
        for worker in self.workers:
            for job in worker.memory:
                row = self.model.live.get(job.id)
                if row is not None and row.worker == worker.hand.id and row.fence != job.fence:
                    found.append((worker, job))
        return found

    @precondition(lambda self: self.workers)
    @rule(which=choice)
    def renew(self, which: int) -> None:
        worker = self.workers[which % len(self.workers)]
        assert worker.hand.lease.renew(worker.hand.id, -1.0 if worker.late else 600.0) is not worker.dead

    @precondition(lambda self: self.workers)
    @rule(which=choice)
    def judge(self, which: int) -> None:
        judged = set(self.workers[which % len(self.workers)].hand.lease.judge())
        for worker in self.workers:
            worker.dead = worker.dead or worker.late
        assert judged >= {worker.hand.id for worker in self.workers if worker.dead and self.held(worker)}
        assert judged <= {worker.hand.id for worker in self.workers if worker.dead}

    def held(self, worker: Worker) -> list[Job]:
        return [job for job in self.model.live.values() if job.worker == worker.hand.id]

    @precondition(lambda self: self.workers)
    @rule(which=choice, limit=st.integers(1, 3))
    def expire(self, which: int, limit: int) -> None:
        worker = self.workers[which % len(self.workers)]
        held = self.held(worker)
        taken = expire(self.store, worker.hand.id, limit)
        assert taken == (min(limit, len(held)) if worker.dead else 0)
        gone = held if taken == len(held) else [job for job in held if not self.running(job.id)]
        assert len(gone) == taken or not worker.dead
        for job in gone if worker.dead else []:
            self.model.apply(lifecycle.expire(job, KEEP, now()))

    def running(self, id: str) -> bool:
        found = ask(self.store, self.store.verbs.find(id))
        return found is not None and found.job is not None and found.job.state is State.RUNNING

    @precondition(lambda self: self.model.live or self.model.ended)
    @rule(which=choice)
    def cancel(self, which: int) -> None:
        id = self.pick(which, [*self.model.live, *self.model.ended])
        perform(self.store, self.store.verbs.cancel(id, "asked"))
        job = self.model.live.get(id)
        change = None if job is None else lifecycle.cancel(job, "asked", KEEP, now())
        if change is not None:
            self.model.apply(change)

    @rule()
    def overdue(self) -> None:
        late = [job for job in self.model.live.values() if lifecycle.overdue(job, KEEP, now())]
        assert perform(self.store, self.store.verbs.overdue(1000)) == len(late)
        for job in late:
            change = lifecycle.overdue(job, KEEP, now())
            assert change is not None
            self.model.apply(change)

    @precondition(lambda self: any(worker.memory for worker in self.workers))
    @rule(which=choice, pick=choice)
    def progress(self, which: int, pick: int) -> None:
        busy = [worker for worker in self.workers if worker.memory]
        worker = busy[which % len(busy)]
        job = worker.memory[-1 - pick % len(worker.memory)]
        row = self.model.live.get(job.id)
        ours = row is not None and (row.fence, row.worker) == (job.fence, worker.hand.id)
        assert perform(self.store, self.store.verbs.progress(job.id, job.fence, worker.hand.id, "{}")) is ours
        if ours and job.watched:
            self.model.told[job.id].append("progress")

    @precondition(lambda self: self.model.ended)
    @rule(which=choice)
    def again(self, which: int) -> None:
        old = self.model.ended[self.pick(which, list(self.model.ended))]
        job, _ = lifecycle.again(old, now(), fresh())
        said = perform(self.store, self.store.verbs.retry(old.id, job.id))
        self.insert(job, said.id, said.existing)

    @precondition(lambda self: self.model.ended)
    @rule(which=choice)
    def delete(self, which: int) -> None:
        id = self.pick(which, list(self.model.ended))
        assert perform(self.store, self.store.verbs.delete(id))
        del self.model.ended[id]
        self.model.told.pop(id, None)

    @rule()
    def prune(self) -> None:
        while perform(self.store, self.store.verbs.prune(1000)):  # one kind of rows at a time
            pass
        for job in list(self.model.ended.values()):
            if job.expires_at is not None and job.expires_at <= now():
                del self.model.ended[job.id]
                if self.model.told.pop(job.id, None):
                    self.model.forgotten.add(job.id)
                    self.read.pop(job.id, None)

    @rule()
    def read_all_again(self) -> None:
        """A story that nobody had a reason to change may not have changed."""
        self.read.clear()

    @rule(now_and_then=st.sampled_from([False, False, False, True]))
    def reopen(self, now_and_then: bool) -> None:
        """The process ends in order and another begins."""
        if now_and_then:
            self.store.close()
            self.store.open()

    @staticmethod
    def pick(which: int, ids: list[str]) -> str:
        return sorted(ids)[which % len(ids)]

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def both_agree(self) -> None:
        self.the_same_jobs_stand_in_both()
        self.every_operation_tells_the_same_story()

    def the_same_jobs_stand_in_both(self) -> None:
        found = ask(self.store, self.store.verbs.list_jobs(JobFilter(), None, 10_000))
        live = {one.job.id: one.job for one in found if one.job is not None}
        ended = {one.finished.id: one.finished for one in found if one.finished is not None}
        assert len(live) + len(ended) == len(found)
        assert live.keys() == self.model.live.keys()
        assert ended.keys() == self.model.ended.keys()
        for id, job in live.items():
            self.model.live[id] = close_to(self.model.live[id], job, ("run_at", "cancel_at"))
        for id, done in ended.items():
            mine = self.model.ended[id]
            assert (done.error is None) == (mine.error is None)
            if done.error and mine.error:
                assert json.loads(done.error)["kind"] == json.loads(mine.error)["kind"]
                mine = mine._replace(error=done.error)  # it may hold a time
            self.model.ended[id] = close_to(mine, done, ("run_at", "finished_at", "expires_at"))
        for job in live.values():
            assert job.crashes < MAX_CRASHES

    def every_operation_tells_the_same_story(self) -> None:
        shown = ask(self.store, self.store.verbs.list_operations(ALL, None, 10_000))
        assert {row.id for row in shown} == self.model.told.keys()
        for row in shown:
            events = self.model.told[row.id]
            job = self.model.live.get(row.id) or self.model.ended[row.id]
            assert (row.seq, row.expired) == (len(events), False)
            assert row.status == job.state or {row.status, int(job.state)} == {State.SCHEDULED, State.READY}
            if isinstance(job, Job):
                assert row.cancel_at == job.cancel_at
            if self.read.get(row.id) != row.seq:
                assert [type for _, type, _ in told(self.store, row.id)] == events
                self.read[row.id] = row.seq
        for id in self.model.forgotten - self.read.keys():
            tombstone = ask(self.store, self.store.verbs.operation(id))
            assert tombstone is not None
            assert tombstone.expired
            self.read[id] = 0


def test_store_and_model_go_the_same_way(migrated: Databases, examples: int) -> None:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(migrated)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            phases=[phase for phase in Phase if examples >= MANY or phase not in (Phase.shrink, Phase.explain)],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
