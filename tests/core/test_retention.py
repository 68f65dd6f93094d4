"""How long what has ended is kept: call by call, who says what."""

from datetime import timedelta
from typing import Any

import pytest

from offpath.core.job import State
from offpath.core.lifecycle import cancel, settle
from offpath.core.options import Queue, TaskOptions
from offpath.core.outcome import Canceled, Done, Errored
from offpath.core.policy import resolve
from offpath.core.retention import Retention, Terms, kept
from offpath.errors import ConfigurationError

from .values import a_job

S = 1_000_000
BASE = Retention(finished=100 * S, failed=None, operation=500 * S)


def test_one_duration_is_of_what_succeeded_or_was_canceled() -> None:
    assert kept(BASE, 5) == Retention(5 * S, None, 500 * S, "finished")
    assert kept(BASE, timedelta(minutes=1)).finished == 60 * S
    assert kept(BASE, None).finished is None


def test_by_outcome_what_is_not_said_stays() -> None:
    assert kept(BASE, {"failed": 9}) == BASE._replace(failed=9 * S)
    assert kept(BASE, {"succeeded": 0}) == Retention(0, None, 500 * S, 100 * S), "canceled as before"
    assert kept(BASE, {"canceled": None, "operation": None}) == Retention(100 * S, None, None, None)
    assert kept(kept(BASE, {"canceled": 3}), {"succeeded": 4}).canceled == 3 * S


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (-1, "retention must be a duration"),
        ("7d", "retention must be a duration"),
        (True, "retention must be a duration"),
        ({"finished": 1}, "retention is by succeeded, failed, canceled, operation, not 'finished'"),
        ({"failed": -1}, "retention of failed must be a duration"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_said(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"queue 'q': {said}"):
        Queue("q", retention=given)
    with pytest.raises(ConfigurationError, match=said):
        TaskOptions(retention=given)


def test_the_task_beats_its_queue_and_the_queue_the_application() -> None:
    queue = Queue("q", retention={"succeeded": 1, "failed": 2})
    task = TaskOptions(retention={"failed": 3})
    assert resolve(TaskOptions(), None, None, BASE).retention == BASE
    assert resolve(TaskOptions(), queue, None, BASE).retention == Retention(S, 2 * S, 500 * S, 100 * S)
    assert resolve(task, queue, None, BASE).retention == Retention(S, 3 * S, 500 * S, 100 * S)
    terms = Terms(BASE)
    terms.queues["q"], terms.tasks["t"] = {"succeeded": 1, "failed": 2}, {"failed": 3}
    assert terms.of("q", "t") == resolve(task, queue, None, BASE).retention
    assert (terms.of("q", "other"), terms.of("other", "other")) == (kept(BASE, terms.queues["q"]), BASE)
    assert terms.lengths() == {S, 2 * S, 3 * S, 100 * S, 500 * S}


def test_the_longest_operation() -> None:
    terms = Terms(BASE)
    assert terms.longest_operation() == 500 * S
    terms.tasks["t"] = {"operation": 700}
    assert terms.longest_operation() == 700 * S
    terms.queues["q"] = {"operation": None}
    assert terms.longest_operation() is None


def test_each_outcome_has_its_own_length() -> None:
    policy = resolve(
        TaskOptions(retention={"succeeded": 1, "failed": 2, "canceled": 3, "operation": 4}), None, None, BASE
    )
    ends: list[tuple[Any, int]] = [(Done(None), 1), (Errored('{"kind": "raised"}', False), 2), (Canceled("x"), 3)]
    for outcome, seconds in ends:
        assert settle(a_job(watched=False), outcome, policy, 0, 0.0).expires_at == seconds * S
        assert settle(a_job(), outcome, policy, 0, 0.0).expires_at == 4 * S
    asked = settle(a_job(watched=False, cancel_at=5, cancel_reason="x"), Done(None), policy, 0, 0.0)
    assert asked.expires_at == 3 * S
    canceled = settle(a_job(watched=False), Canceled("x"), resolve(TaskOptions(retention=7), None, None, BASE), 0, 0.0)
    assert canceled.expires_at == 7 * S


def test_cancel_takes_what_it_is_given() -> None:
    change = cancel(a_job(state=State.READY, worker=None, watched=False), "x", Retention(canceled=None), 0)
    assert change is not None
    assert change.expires_at is None
