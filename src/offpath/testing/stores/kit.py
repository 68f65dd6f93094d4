"""What every test of a store needs: jobs to put in, a worker as a store sees one, and short ways to ask."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from itertools import count
from typing import Any, TypeVar

from ...core import lifecycle
from ...core.change import Change
from ...core.events import Event
from ...core.ids import uuid7
from ...core.job import Finished, Job, State
from ...core.options import SECOND
from ...core.outcome import Done, Outcome
from ...core.policy import Policy, Retention
from ...core.retry import Backoff
from ...ports import (
    Enqueued,
    Exchanged,
    NewJob,
    NewOperation,
    OperationRow,
    Pending,
    Statement,
    Store,
    Verb,
    Verdict,
    Want,
)

R = TypeVar("R")
TIMEOUT = 60.0
KEEP = Retention()
POLICY = Policy(max_attempts=3, backoff=Backoff.fixed(60), retention=KEEP)
HOUR = 3600 * SECOND

_serial = count(1)


def now() -> int:
    return time.time_ns() // 1000


def fresh() -> str:
    """An id that is greater than all before it in this process (a real one is so only to the millisecond)."""
    return uuid7(now() + next(_serial) * 1000, os.urandom(10))


def new_job(*, operation: NewOperation | None = None, **given: Any) -> NewJob:
    """A ready job of task "mail", with whatever the test says instead."""
    at = now() - SECOND
    fields: dict[str, Any] = {
        "id": fresh(),
        "task": "mail",
        "version": 1,
        "args": "{}",
        "queue": "default",
        "priority": 5,
        "state": State.READY,
        "run_at": at,
        "deadline": None,
        "key": None,
        "attempt": 1,
        "crashes": 0,
        "fence": 0,
        "worker": None,
        "cancel_at": None,
        "once": False,
        "watched": operation is not None,
        "owner": None,
        "options": None,
    }
    return NewJob(Job(**(fields | given)), Event("queued", {}), operation)


def watched(by: str = "alice", /, *, tenant: str = "acme", label: str = "", **given: Any) -> NewJob:
    """A job that HTTP shows to `by`."""
    return new_job(operation=NewOperation(tenant, by, given.get("task", "mail"), label), **given)


def put(store: Store, *jobs: NewJob) -> list[Enqueued]:
    return store.enqueue(jobs).result(TIMEOUT)


def perform(store: Store, verb: Verb[R]) -> R:
    return store.perform(verb).result(TIMEOUT)


def ask(store: Store, verb: Verb[R]) -> R:
    return store.read(verb).result(TIMEOUT)


async def wait(pending: Pending[R]) -> R:
    """For what wants a coroutine: tasks, gather."""
    return await pending


def erase(store: Store, table: str, id: str) -> None:
    """What no verb does: a row vanishes. The cast is for stores whose ids are not text."""

    def verb() -> Verb[int]:
        sql = f"delete from {table} where cast(id as text) = :id"
        gone: int = yield Statement(sql, {"id": id}, lambda rows: rows[0][0])
        return gone

    assert perform(store, verb()) == 1


def live(store: Store, id: str) -> Job:
    """The job's row; it must be live."""
    found = ask(store, store.verbs.find(id))
    assert found is not None, f"no job {id}"
    assert found.job is not None, f"{id} has ended: {found.finished}"
    return found.job


def ended(store: Store, id: str) -> Finished:
    """The job's row of history; it must have ended."""
    found = ask(store, store.verbs.find(id))
    assert found is not None, f"no job {id}"
    assert found.finished is not None, f"{id} is live: {found.job}"
    return found.finished


def shown(store: Store, id: str) -> OperationRow:
    row = ask(store, store.verbs.operation(id))
    assert row is not None, f"no operation {id}"
    return row


def told(store: Store, id: str) -> list[tuple[int, str, Any]]:
    """(seq, type, data) of every event of an operation; their numbers must have no gap and agree with the row."""
    events = ask(store, store.verbs.events(id, 0, 1000))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert shown(store, id).seq == len(events)
    assert [event.at for event in events] == sorted(event.at for event in events)
    return [(event.seq, event.type, json.loads(event.data)) for event in events]


class Hand:
    """A worker, reduced to what a store sees of it. `seconds`: its lease; a negative one has already run out."""

    def __init__(
        self, store: Store, seconds: float = 60.0, *, id: str | None = None, tasks: Sequence[str] = ("mail@1",)
    ):
        self.id = id or fresh()
        self.store = store
        self.tasks = json.dumps(list(tasks))
        self.lease = store.lease()
        try:
            self.lease.register(self.id, seconds, self.tasks, "test")
        except BaseException:
            self.lease.close()
            raise

    def exchange(self, changes: Sequence[Change] = (), want: Want | None = None) -> Exchanged:
        return self.store.exchange(self.id, changes, want).result(TIMEOUT)

    def want(self, limit: int = 100, **given: Any) -> Want:
        fields: dict[str, Any] = {"queues": (("default", 1),), "tasks": self.tasks, "free": limit, "suspect": True}
        return Want(limit=limit, **(fields | given))

    def claim(self, limit: int = 100, **given: Any) -> list[Job]:
        return self.exchange(want=self.want(limit, **given)).claimed

    def claim_one(self, **given: Any) -> Job:
        [job] = self.claim(1, **given)
        return job

    def settle(self, *changes: Change) -> list[Verdict]:
        return self.exchange(changes).verdicts

    def say(self, job: Job, outcome: Outcome, policy: Policy = POLICY) -> Verdict:
        """Settle one job with what its attempt said."""
        [verdict] = self.settle(change(job, outcome, policy))
        return verdict

    def finish(self, *jobs: Job) -> list[Verdict]:
        return self.settle(*(change(job, Done(None)) for job in jobs))

    def close(self) -> None:
        self.lease.close()


def change(job: Job, outcome: Outcome, policy: Policy = POLICY) -> Change:
    return lifecycle.settle(job, outcome, policy, now(), 0.0)


def lose(hand: Hand, judge: Hand) -> None:
    """The verdict on `hand`, whose lease must have run out."""
    assert hand.id in judge.lease.judge()


def expire(store: Store, worker: str, limit: int = 500) -> int:
    return perform(store, store.verbs.expire(worker, limit))
