"""How queues stand, and what may be shown of arguments."""

from datetime import UTC, datetime
from typing import Any

import pytest

from offpath.core import redact
from offpath.core.job import Finished, State
from offpath.core.lifecycle import again
from offpath.core.options import TaskOptions
from offpath.core.policy import Retention, resolve, with_attempts
from offpath.core.queues import PausedRow, QueueInfo, stand
from offpath.core.retry import Backoff
from offpath.errors import ConfigurationError, Conflict

from .values import NOW, a_job
from .values import finished as row

S = 1_000_000


def finished(**given: Any) -> Finished:
    return row(a_job(**given), State.FAILED, NOW, result=None, error=None, expires=None)


def test_how_queues_stand() -> None:
    counts = [
        ("b", int(State.READY), 3, 5 * S), ("b", int(State.RUNNING), 2, S), ("b", int(State.SCHEDULED), 1, 90 * S),
        ("b", int(State.WAITING), 4, S), ("a", int(State.SCHEDULED), 7, 90 * S),
    ]  # fmt: skip
    paused = [PausedRow("c", 2 * S, "why"), PausedRow("b", 3 * S, "")]
    assert stand(["d", "b"], counts, paused, 20 * S) == [
        QueueInfo("a", scheduled=7),
        QueueInfo("b", True, "", datetime.fromtimestamp(3, UTC), ready=3, scheduled=1, waiting=4, running=2, age=15.0),
        QueueInfo("c", True, "why", datetime.fromtimestamp(2, UTC)),
        QueueInfo("d"),
    ]
    assert stand([], [("a", int(State.READY), 1, 9 * S)], [], 5 * S)[0].age == 0.0, "clocks may differ"


def test_shapes_and_no_values() -> None:
    text = (
        '{"to": "ann@example.org", "n": 5, "on": true, "x": null, "f": 1.5, "tags": ["a"], "who": {"ann": 1, "b": 2}}'
    )
    assert redact.arguments(text) == {
        "to": "text, 15 characters", "n": "number", "on": "true or false", "x": "null", "f": "number",
        "tags": "list, 1 item", "who": "object, 2 members",
    }  # fmt: skip
    assert redact.arguments(None) is None
    assert redact.arguments("not json") == "text, 8 characters"
    assert (redact.result('"secret"'), redact.result(None)) == ("text, 6 characters", None)
    assert redact.plain('{"a": 1}') == {"a": 1}
    assert redact.plain("[" * 100_000) == "[" * 100_000


def test_a_new_budget_of_attempts() -> None:
    assert again(finished(), 0, "x")[0].options == finished().options
    job, _ = again(finished(options='{"timeout": 3}'), 0, "x", 9)
    policy = resolve(TaskOptions(), None, job.options, Retention())
    assert (policy.max_attempts, policy.timeout, policy.backoff) == (9, 3.0, Backoff.exponential())
    own = with_attempts('{"max_attempts": 2, "backoff": {"kind": "fixed", "first": 5}}', 4)
    assert resolve(TaskOptions(), None, with_attempts(None, 4), Retention()).max_attempts == 4
    assert '"max_attempts": 4' in own
    assert '"kind": "fixed"' in own
    with pytest.raises(Conflict, match="at-most-once"):
        again(finished(once=True), 0, "x", 2)
    assert again(finished(once=True), 0, "x", 1)[0].once
    with pytest.raises(ConfigurationError, match="cannot be read"):
        again(finished(options="nonsense"), 0, "x", 2)
    for wrong in (0, -1, True, "3"):
        with pytest.raises(ConfigurationError, match="max_attempts"):
            again(finished(), 0, "x", wrong)  # type: ignore[arg-type]
