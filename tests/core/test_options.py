"""Which option wins, and that a wrong one is our error, never a ValueError from inside."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offpath.core.call import Call
from offpath.core.checks import check_name
from offpath.core.lifecycle import new
from offpath.core.options import (
    DAY,
    DEFAULT_PRIORITY,
    DEFAULT_TIMEOUT,
    SECOND,
    UNSET,
    CallOptions,
    Queue,
    TaskOptions,
    moment,
)
from offpath.core.policy import Retention, overrides, resolve
from offpath.core.retry import Backoff, Retry
from offpath.errors import ConfigurationError
from tests.core.values import ID, NOW, backoffs, delays, moments, names, priorities, queues, retries, wild

timeouts = st.just(UNSET) | st.none() | delays.filter(bool)
kept = Retention()


def in_force(task: TaskOptions, queue: Queue | None, call: CallOptions) -> Any:
    return resolve(task, queue, overrides(call), kept)


def plain(timeout: Any) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


@given(timeouts, timeouts, timeouts, st.booleans())
def test_timeout_call_over_task_over_queue_over_default(call: Any, task: Any, queue: Any, declared: bool) -> None:
    line = Queue("q", timeout=queue) if declared else None
    said = [call, task, queue if declared else UNSET, DEFAULT_TIMEOUT]
    expected = next(value for value in said if value is not UNSET)
    policy = in_force(TaskOptions(timeout=task), line, CallOptions(timeout=call))
    assert policy.timeout == plain(expected)


@given(st.none() | retries, st.none() | retries, st.none() | st.integers(1, 10_000), st.none() | backoffs)
def test_retry_call_over_task_over_queue_over_default(
    call: Retry | None, task: Retry | None, most: int | None, backoff: Backoff | None
) -> None:
    policy = in_force(TaskOptions(retry=task), Queue("q", max_attempts=most, backoff=backoff), CallOptions(retry=call))
    if winner := call or task:
        assert (policy.max_attempts, policy.backoff) == (winner.max_attempts, winner.backoff)
    else:
        assert policy.max_attempts == (most or 3)
        assert policy.backoff == (backoff or Backoff.exponential())


def test_a_call_changes_how_often_but_not_which_exceptions() -> None:
    task = TaskOptions(retry=Retry(5, retry_on=(OSError,), give_up_on=(FileNotFoundError,)))
    policy = in_force(task, None, CallOptions(retry=Retry(9)))
    assert policy.max_attempts == 9
    assert policy.retry.allows(OSError())
    assert not policy.retry.allows(ValueError())
    for retry in (Retry(retry_on=(OSError,)), Retry(give_up_on=(OSError,))):
        with pytest.raises(ConfigurationError, match="classes are never stored"):
            overrides(CallOptions(retry=retry))


@given(st.none() | priorities, st.none() | priorities, st.none() | priorities, st.booleans())
def test_priority_call_over_task_over_queue_over_default(
    call: int | None, task: int | None, queue: int | None, declared: bool
) -> None:
    line = Queue("q", priority=queue) if declared else None
    said = [call, task, queue if declared else None, DEFAULT_PRIORITY]
    job, _ = new(Call("t", 1, "{}", TaskOptions(priority=task), CallOptions(priority=call)), line, NOW, ID)
    assert job.priority == next(value for value in said if value is not None)


@given(st.none() | st.booleans(), st.booleans())
def test_keep_result_call_over_task(call: bool | None, task: bool) -> None:
    policy = in_force(TaskOptions(keep_result=task), None, CallOptions(keep_result=call))
    assert policy.keep_result is (task if call is None else call)


@given(st.none() | names, names)
def test_queue_call_over_task(call: str | None, task: str) -> None:
    job, _ = new(Call("t", 1, "{}", TaskOptions(queue=task), CallOptions(queue=call)), None, NOW, ID)
    assert job.queue == (task if call is None else call)


@given(st.none() | delays | moments, st.none() | delays)
def test_deadline_call_over_task(call: Any, task: Any) -> None:
    job, _ = new(Call("t", 1, "{}", TaskOptions(deadline=task), CallOptions(deadline=call)), None, NOW, ID)
    winner = task if call is None else call
    if winner is None:
        assert job.deadline is None
    elif isinstance(winner, datetime):
        assert job.deadline == moment(winner, "deadline")
    else:
        assert job.deadline == NOW + round((plain(winner) or 0) * SECOND)


@given(st.none() | delays, st.none() | moments)
def test_when_it_may_run(delay: Any, run_at: datetime | None) -> None:
    if delay is not None and run_at is not None:
        with pytest.raises(ConfigurationError, match="not both"):
            CallOptions(delay=delay, run_at=run_at)
        return
    job, _ = new(Call("t", 1, "{}", TaskOptions(), CallOptions(delay=delay, run_at=run_at)), None, NOW, ID)
    if run_at is not None:
        assert job.run_at == moment(run_at, "run_at")
    else:
        assert job.run_at == NOW + round((plain(delay) or 0) * SECOND)
    assert job.state.name == ("SCHEDULED" if job.run_at > NOW else "READY")


def test_nothing_said_is_nothing_stored() -> None:
    assert overrides(CallOptions()) is None
    assert overrides(CallOptions(key="k", delay=5, queue="q", priority=1, owner="o")) is None, "those are columns"
    defaults = in_force(TaskOptions(), None, CallOptions())
    assert (defaults.max_attempts, defaults.timeout, defaults.keep_result) == (3, 300.0, True)
    assert defaults.backoff == Backoff.exponential(first=1, factor=2, cap=300, jitter=0.2)
    assert (kept.finished, kept.failed, kept.operation) == (7 * DAY, None, 30 * DAY)


@given(retries, delays.filter(bool), st.booleans())
def test_what_a_row_carries_is_json_every_store_takes(retry: Retry, timeout: Any, keep: bool) -> None:
    text = overrides(CallOptions(retry=retry, timeout=timeout, keep_result=keep))
    assert text is not None
    assert set(json.loads(text)) == {"max_attempts", "backoff", "timeout", "keep_result"}
    json.dumps(json.loads(text), allow_nan=False)


damaged = st.text() | st.builds(
    json.dumps,
    st.dictionaries(
        st.sampled_from(["max_attempts", "backoff", "timeout", "keep_result", "kind", "first"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.dictionaries(st.sampled_from(["kind", "first", "grow", "cap", "jitter"]), inner),
        ),
    )
    | st.lists(st.just("max_attempts"))
    | st.integers(),
)


@given(damaged)
@example("[" * 100_000)
@example('{"max_attempts": 1e999, "backoff": {}}')
@example("9" * 5000)
def test_a_damaged_row_is_a_configuration_error(text: str) -> None:
    try:
        policy = resolve(TaskOptions(), None, text, kept)
    except ConfigurationError:
        return
    assert 1 <= policy.max_attempts <= 10_000
    assert policy.timeout is None or policy.timeout >= 0


def test_a_damaged_row_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"stored options of the job cannot be read: .*max_attempts"):
        resolve(TaskOptions(), None, '{"max_attempts": "many"}', kept)


FIELDS: list[tuple[Any, str]] = [
    *((TaskOptions, name) for name in TaskOptions.__dataclass_fields__),
    *((CallOptions, name) for name in CallOptions.__dataclass_fields__),
    *((Queue, name) for name in Queue.__dataclass_fields__ if name != "name"),
]


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
@given(value=wild)
def test_a_wrong_value_is_a_configuration_error(kind: Any, name: str, value: Any) -> None:
    """Refused where it is given; and what is taken can be carried through to the policy and the row."""
    try:
        taken: Any = kind("q", **{name: value}) if kind is Queue else kind(**{name: value})
        call: CallOptions = taken if kind is CallOptions else CallOptions()
        task: TaskOptions = taken if kind is TaskOptions else TaskOptions()
        line: Queue | None = taken if kind is Queue else None
        stored = overrides(call)
    except ConfigurationError:
        return
    resolve(task, line, stored, kept)
    job, _ = new(Call("t", 1, "{}", task, call), line, NOW, ID)
    assert -(2**63) <= job.run_at < 2**63
    assert job.deadline is None or -(2**63) <= job.deadline < 2**63


@given(wild)
def test_a_name_is_clean_text(value: Any) -> None:
    try:
        taken = check_name(value, "key")
    except ConfigurationError:
        return
    assert 1 <= len(taken) <= 255
    assert taken.isprintable() or not any(c in taken for c in "\x00\n\r\t\x1b\x7f\x9b")
    taken.encode("utf-8")


@pytest.mark.parametrize(
    "bad", ["", "x" * 256, "a\nb", "a\x00", "a\x1b[31m", "a\x9b31m", "a\ud800", 7, None, b"a", True]
)
def test_these_are_no_names(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="key must"):
        check_name(bad, "key")


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_a_moment_is_exact_to_the_microsecond(naive: datetime, minutes: int) -> None:
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment(aware, "run_at")) == aware
    with pytest.raises(ConfigurationError, match="aware"):
        moment(naive, "run_at")


@pytest.mark.parametrize("bad", [datetime(1, 1, 1), datetime(9999, 12, 31, 23), datetime(1969, 12, 31)])  # noqa: DTZ001
def test_a_moment_no_client_could_be_shown_is_refused(bad: datetime) -> None:
    with pytest.raises(ConfigurationError, match="between 1970 and 9999"):
        moment(bad.replace(tzinfo=UTC), "run_at")


@given(queues)
def test_a_queue_gives_its_jobs_what_it_was_given(queue: Queue) -> None:
    policy = in_force(TaskOptions(), queue, CallOptions())
    assert policy.max_attempts == (queue.max_attempts or 3)


def test_at_most_once_and_more_than_one_attempt_contradict_each_other() -> None:
    with pytest.raises(ConfigurationError, match="never tried again"):
        TaskOptions(delivery="at_most_once", retry=Retry(max_attempts=2))
    once = TaskOptions(delivery="at_most_once", retry=Retry(max_attempts=1))
    call = Call("t", 1, "{}", once, CallOptions(retry=Retry(max_attempts=2)))
    with pytest.raises(ConfigurationError, match="never tried again"):
        new(call, None, 0, "id")
    stored = overrides(CallOptions(retry=Retry(max_attempts=5)))
    for task in (once, TaskOptions(delivery="at_most_once")):
        for said in (None, stored):
            assert resolve(task, Queue("q", max_attempts=7), said, Retention()).max_attempts == 1


@pytest.mark.parametrize("timeout", [0, 0.0, -1, timedelta(0), timedelta(seconds=-1)])
@pytest.mark.parametrize("kind", [TaskOptions, CallOptions, lambda timeout: Queue("q", timeout=timeout)])
def test_a_timeout_is_more_than_nothing(timeout: Any, kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be"):
        kind(timeout=timeout)
