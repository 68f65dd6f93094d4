"""The decisions of `core/lifecycle.py`, row by row."""

import itertools
import json
from typing import Any

import pytest

from offpath.core.call import Call
from offpath.core.change import Change
from offpath.core.events import TERMINAL as LAST_EVENTS
from offpath.core.job import LIVE, TERMINAL, Job, State
from offpath.core.lifecycle import MOVES, again, cancel, expire, new, overdue, settle, started
from offpath.core.options import DAY, MAX_CRASHES, SECOND, CallOptions, TaskOptions
from offpath.core.outcome import Canceled, Done, Errored, Expired, Interrupted, Outcome, Snoozed
from offpath.core.policy import Retention
from offpath.core.retry import Backoff
from offpath.errors import Conflict
from tests.core.values import BOOM, HOUR, ID, NOW, OUTCOMES, a_job, finished, policy

kept = Retention()

Row = tuple[State, int, str, str | None]

# Without a cancel: outcome → (state, attempts spent, event, kind of error), while attempts are left and on the last.
SETTLED: dict[str, tuple[Row, ...]] = {
    "done": ((State.SUCCEEDED, 0, "succeeded", None),) * 2,
    "errored": ((State.SCHEDULED, 1, "retrying", None), (State.FAILED, 0, "failed", "raised")),
    "errored for good": ((State.FAILED, 0, "failed", "raised"),) * 2,
    "snoozed": ((State.SCHEDULED, 0, "requeued", None),) * 2,
    "canceled": ((State.CANCELED, 0, "canceled", "canceled"),) * 2,
    "interrupted": ((State.READY, 0, "requeued", None),) * 2,
    "expired": ((State.FAILED, 0, "failed", "deadline"),) * 2,
}
# Work that must never repeat: what differs.
ONCE: dict[str, Row] = {
    "errored": (State.FAILED, 0, "failed", "raised"),
    "interrupted": (State.FAILED, 0, "failed", "lost"),
}


def kind_of(change: Change) -> str | None:
    return None if change.error is None else json.loads(change.error)["kind"]


@pytest.mark.parametrize(
    ("said", "asked", "last", "once", "watched"),
    [*itertools.product(OUTCOMES, [False, True], [False, True], [False, True], [False, True])],
)
def test_settle(said: str, asked: bool, last: bool, once: bool, watched: bool) -> None:
    attempt = policy.max_attempts if last else 1
    job = a_job(attempt=attempt, once=once, watched=watched, cancel_at=NOW - 5 if asked else None)
    if asked:
        expected: Row = (State.CANCELED, 0, "canceled", "canceled")
    elif once and said in ONCE:
        expected = ONCE[said]
    else:
        expected = SETTLED[said][last]
    state, spent, event, kind = expected

    change = settle(job, OUTCOMES[said], policy, NOW, 0.5)

    assert change.state is state
    assert change.attempt == attempt + spent
    assert change.crashes == job.crashes
    assert (change.id, change.fence, change.seen_cancel) == (job.id, job.fence, asked)
    assert kind_of(change) == kind
    assert [e.type for e in change.events] == ([event] if watched else [])
    assert (change.result is not None) == (state is State.SUCCEEDED)
    assert change.state in MOVES[State.RUNNING].values()
    if state in TERMINAL:
        keep = kept.operation if watched else kept.failed if state is State.FAILED else kept.finished
        assert change.expires_at == (None if keep is None else NOW + keep)
        assert change.cancel_at == (NOW - 5 if asked else NOW if state is State.CANCELED else None)
    else:
        assert change.expires_at is None
        assert change.cancel_at is None


def test_every_outcome_is_in_the_table() -> None:
    assert {type(o) for o in OUTCOMES.values()} == set(Outcome.__args__)
    assert set(SETTLED) == set(OUTCOMES)


def test_when_it_comes_again() -> None:
    job = a_job(attempt=2)
    patient = policy._replace(backoff=Backoff.exponential(first=10, jitter=0.5))
    assert settle(job, Errored(BOOM), patient, NOW, 0.0).run_at == NOW + 10 * SECOND
    assert settle(job, Errored(BOOM), patient, NOW, 0.5).run_at == NOW + 20 * SECOND
    assert settle(job, Snoozed(1.5), policy, NOW, 0.0).run_at == NOW + 3 * SECOND // 2
    assert settle(job, Interrupted(), policy, NOW, 0.0).run_at == job.run_at, "it keeps its place in the queue"
    event = settle(job, Errored(BOOM), patient, NOW, 0.5).events[0]
    assert event.data == {"attempt": 3, "delay": 20.0, "error": BOOM}


def test_a_result_is_kept_or_not() -> None:
    assert settle(a_job(), Done("1"), policy, NOW, 0).result == "1"
    assert settle(a_job(), Done("1"), policy._replace(keep_result=False), NOW, 0).result is None
    assert settle(a_job(), Done(None), policy, NOW, 0).result is None


@pytest.mark.parametrize(
    ("deadline", "goes_on"), [(None, True), (NOW + 60 * SECOND, True), (NOW + SECOND, False), (NOW - HOUR, False)]
)
def test_no_attempt_is_promised_for_after_the_deadline(deadline: int | None, goes_on: bool) -> None:
    """The first backoff is one second: a deadline at that very moment is too early (see `overdue`)."""
    change = settle(a_job(deadline=deadline), Errored(BOOM), policy, NOW, 0.5)
    assert (change.state is State.SCHEDULED) == goes_on
    if goes_on:
        waiting = a_job(state=State.SCHEDULED, deadline=deadline, run_at=change.run_at)
        assert overdue(waiting, kept, change.run_at) is None
    else:
        assert change.error is not None
        said = json.loads(change.error)
        assert said["kind"] == "deadline"
        assert said["last_error"] == json.loads(BOOM), "plain data, not text cut in the middle"


def test_work_that_never_began_goes_back_even_if_it_must_not_repeat() -> None:
    job = a_job(once=True)
    assert settle(job, Interrupted(begun=False), policy, NOW, 0).state is State.READY
    assert settle(job, Interrupted(), policy, NOW, 0).state is State.FAILED
    assert settle(job, Snoozed(1), policy, NOW, 0).state is State.SCHEDULED, "its own word that it may come again"


@pytest.mark.parametrize(
    ("state", "asked", "watched"), [*itertools.product(sorted(LIVE), [False, True], [False, True])]
)
def test_cancel(state: State, asked: bool, watched: bool) -> None:
    if asked and state is not State.RUNNING:
        return  # only running jobs remember a request; the others end at once
    job = a_job(state=state, watched=watched, cancel_at=NOW - 9 if asked else None)
    change = cancel(job, "customer left", kept, NOW)
    if asked:
        assert change is None
        return
    assert change is not None
    assert change.cancel_at == NOW
    assert change.seen_cancel is False
    if state is State.RUNNING:
        assert change.state is State.RUNNING
        assert change.expires_at is None
        assert change.error is None
        expected = "canceling"
    else:
        assert change.state is State.CANCELED
        assert change.error is not None
        said = json.loads(change.error)
        assert (said["kind"], said["reason"], said["requested_at"]) == ("canceled", "customer left", NOW)
        assert said["public"] is True
        expected = "canceled"
    assert [(e.type, e.data) for e in change.events] == ([(expected, {"reason": "customer left"})] if watched else [])


@pytest.mark.parametrize("said", [*OUTCOMES, "its worker died"])
def test_the_reason_of_whoever_asked_is_kept_whatever_the_attempt_says(said: str) -> None:
    asked = cancel(a_job(), "customer\x00left", kept, NOW)
    assert asked is not None
    assert asked.cancel_reason == "customer\\x00left"
    job = a_job(cancel_at=asked.cancel_at, cancel_reason=asked.cancel_reason)
    change = settle(job, OUTCOMES[said], policy, NOW + 1, 0.5) if said in OUTCOMES else expire(job, kept, NOW + 1)
    assert change.error is not None
    error = json.loads(change.error)
    assert (error["reason"], error["detail"], error["requested_at"]) == ("customer\\x00left", "customer\\x00left", NOW)
    assert [event.data for event in change.events] == [{"reason": "customer\\x00left"}]


def test_a_job_that_has_been_taken_up_before_is_not_said_never_to_have_started() -> None:
    never, again = "before an attempt could start", "waited to be taken up again"
    for fence, words in ((0, never), (1, again)):
        late = overdue(a_job(state=State.READY, fence=fence, deadline=NOW), kept, NOW)
        assert late is not None
        assert words in (late.error or "")
    for fence, words in ((1, never), (2, again)):  # the claim that found it too late is one of them
        assert words in (settle(a_job(fence=fence), Expired(), policy, NOW, 0).error or "")


@pytest.mark.parametrize(
    ("crashes", "asked", "once", "watched"),
    [*itertools.product(range(MAX_CRASHES), [False, True], [False, True], [False, True])],
)
def test_expire(crashes: int, asked: bool, once: bool, watched: bool) -> None:
    job = a_job(crashes=crashes, once=once, watched=watched, attempt=2, cancel_at=NOW - 5 if asked else None)
    change = expire(job, kept, NOW)
    assert change.crashes == crashes + 1
    assert change.attempt == 2, "a crash spends no attempt"
    assert change.seen_cancel is asked
    if asked:
        state, kind, event = State.CANCELED, "canceled", "canceled"
    elif once:
        state, kind, event = State.FAILED, "lost", "failed"
    elif crashes + 1 == MAX_CRASHES:
        state, kind, event = State.FAILED, "quarantined", "failed"
    else:
        state, kind, event = State.READY, None, "requeued"
    assert (change.state, kind_of(change)) == (state, kind)
    assert [e.type for e in change.events] == ([event] if watched else [])


@pytest.mark.parametrize(("state", "deadline"), [*itertools.product(sorted(LIVE), [None, NOW - 1, NOW, NOW + 1])])
def test_overdue(state: State, deadline: int | None) -> None:
    change = overdue(a_job(state=state, deadline=deadline), kept, NOW)
    if state is State.RUNNING or deadline is None or deadline > NOW:
        assert change is None
    else:
        assert change is not None
        assert (change.state, kind_of(change)) == (State.FAILED, "deadline")


@pytest.mark.parametrize("state", [s for s in State if s is not State.RUNNING])
@pytest.mark.parametrize("said", [name for name in OUTCOMES if name != "canceled"])
def test_only_a_running_job_can_be_settled(state: State, said: str) -> None:
    """The table itself refuses."""
    with pytest.raises(KeyError):
        settle(a_job(state=state, attempt=policy.max_attempts), OUTCOMES[said], policy, NOW, 0)


def test_what_ended_stays_as_it_ended() -> None:
    for state in TERMINAL:
        assert not MOVES[state]
        with pytest.raises(KeyError):
            cancel(a_job(state=state), "late", kept, NOW)
        with pytest.raises(KeyError):
            expire(a_job(state=state), kept, NOW)


def test_the_table_is_whole() -> None:
    assert set(MOVES) == set(State)
    assert set(State) == TERMINAL | LIVE
    reachable = {state for row in MOVES.values() for state in row.values()} | {State.WAITING}
    assert reachable == set(State)
    for state in LIVE:
        assert MOVES[state]["stop"] is State.CANCELED, "whatever lives can be stopped"
    with pytest.raises(TypeError):
        MOVES[State.READY] = {}  # type: ignore[index]


def test_again_is_a_fresh_job() -> None:
    old = a_job(attempt=3, crashes=2, fence=9, deadline=NOW - HOUR, key="k", owner="o", options='{"timeout":1}')
    dead = finished(old, State.FAILED, NOW, result=None, error=BOOM, expires=None)
    job, event = again(dead, NOW + HOUR, "new-id")
    assert (job.id, job.retry_of) == ("new-id", old.id)
    assert (job.attempt, job.crashes, job.fence, job.worker, job.cancel_at) == (1, 0, 0, None, None)
    assert (job.state, job.run_at, job.deadline) == (State.READY, NOW + HOUR, None)
    for field in ("task", "version", "args", "queue", "priority", "key", "once", "watched", "owner", "options"):
        assert getattr(job, field) == getattr(old, field), field
    assert event.type == "queued"
    with pytest.raises(Conflict, match="erased"):
        again(dead._replace(args=None), NOW, "new-id")


def test_new_takes_everything_from_its_call() -> None:
    using = CallOptions(key="k", owner="o", timeout=None)
    call = Call("mail", 3, '{"to":"a"}', TaskOptions(queue="q", delivery="at_most_once"), using, watched=True)
    job, event = new(call, None, NOW, ID)
    assert job == a_job(
        id=ID,
        version=3,
        args='{"to":"a"}',
        queue="q",
        state=State.READY,
        run_at=NOW,
        key="k",
        fence=0,
        worker=None,
        once=True,
        owner="o",
        options='{"timeout": null}',
    )
    assert (event.type, event.data) == ("queued", {})
    assert started(2) == ("started", {"attempt": 2})


NASTY = "left\x00\ud800" + "x" * 5000


@pytest.mark.parametrize(
    "change",
    [
        settle(a_job(), Canceled(NASTY), policy, NOW, 0),
        settle(a_job(), Interrupted(NASTY), policy, NOW, 0),
        settle(a_job(cancel_at=NOW), Canceled(NASTY), policy, NOW, 0),
        cancel(a_job(), NASTY, kept, NOW),
        cancel(a_job(state=State.READY), NASTY, kept, NOW),
    ],
    ids=["canceled", "interrupted", "both", "running", "ready"],
)
def test_a_reason_can_be_stored_whatever_it_says(change: Change) -> None:
    texts: list[Any] = [json.dumps(e.data, ensure_ascii=False) for e in change.events] + [change.error or ""]
    for text in texts:
        assert "\\u0000" not in text
        assert len(text.encode("utf-8")) < 5000


def test_the_words_of_the_last_event_are_those_of_the_states() -> None:
    assert {state.name.lower() for state in TERMINAL} == LAST_EVENTS


def test_retention_can_be_none_or_short() -> None:
    plain: Job = a_job(watched=False)
    brief = policy._replace(retention=Retention(finished=DAY, failed=2 * DAY, operation=None))
    assert settle(plain, Done("1"), brief, NOW, 0).expires_at == NOW + DAY
    assert settle(plain, Canceled("x"), brief, NOW, 0).expires_at == NOW + DAY
    assert settle(plain, Expired(), brief, NOW, 0).expires_at == NOW + 2 * DAY
    assert settle(a_job(watched=True), Expired(), brief, NOW, 0).expires_at is None
