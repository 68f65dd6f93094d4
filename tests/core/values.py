"""Values of the core for the tests of this folder: plain builders and Hypothesis strategies."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from offpath.core.job import Finished, Job, State
from offpath.core.options import SECOND, Queue
from offpath.core.outcome import Canceled, Done, Errored, Expired, Interrupted, Outcome, Snoozed, error
from offpath.core.policy import Policy, Retention
from offpath.core.retry import Backoff, Retry

NOW = 1_800_000_000 * SECOND
HOUR = 3600 * SECOND
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
BOOM = error("raised", "Failed", detail="boom", exception="RuntimeError")

OUTCOMES: dict[str, Outcome] = {
    "done": Done('{"ok":true}'),
    "errored": Errored(BOOM),
    "errored for good": Errored(BOOM, retryable=False),
    "snoozed": Snoozed(60.0),
    "canceled": Canceled("customer left"),
    "interrupted": Interrupted(),
    "expired": Expired(),
}
"""One of each thing an attempt can say."""


def a_job(**given: Any) -> Job:
    """A running job in its first attempt, with whatever the test says instead."""
    fields: dict[str, Any] = {
        "id": ID,
        "task": "mail",
        "version": 1,
        "args": "{}",
        "queue": "default",
        "priority": 5,
        "state": State.RUNNING,
        "run_at": NOW - HOUR,
        "deadline": None,
        "key": None,
        "attempt": 1,
        "crashes": 0,
        "fence": 1,
        "worker": "w",
        "cancel_at": None,
        "once": False,
        "watched": True,
        "owner": None,
        "options": None,
    }
    return Job(**(fields | given))


def finished(
    job: Job, state: State, now: int, *, result: str | None, error: str | None, expires: int | None
) -> Finished:
    """The row of history that a store makes of `job` when it ends."""
    return Finished(
        id=job.id,
        task=job.task,
        version=job.version,
        args=job.args,
        queue=job.queue,
        priority=job.priority,
        state=state,
        run_at=job.run_at,
        key=job.key,
        attempt=job.attempt,
        crashes=job.crashes,
        fence=job.fence,
        once=job.once,
        watched=job.watched,
        owner=job.owner,
        options=job.options,
        retry_of=job.retry_of,
        result=result,
        error=error,
        finished_at=now,
        expires_at=expires,
    )


policy = Policy(max_attempts=3, backoff=Backoff.exponential(jitter=0), retention=Retention())

uniform = st.floats(0, 1, exclude_max=True)
delays = st.floats(0, 10**6) | st.integers(0, 10**6) | st.timedeltas(timedelta(0), timedelta(days=3650))
backoffs = (
    st.builds(Backoff.exponential, delays, st.floats(1, 1000), delays, st.floats(0, 1))
    | st.builds(Backoff.linear, delays, delays, delays, st.floats(0, 1))
    | st.builds(Backoff.fixed, delays, st.floats(0, 1))
)
retries = st.builds(Retry, st.integers(1, 10_000), backoffs)
priorities = st.integers(-32768, 32767)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
moments = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
queues = st.builds(
    Queue,
    names,
    priority=st.none() | priorities,
    max_attempts=st.none() | st.integers(1, 10_000),
    backoff=st.none() | backoffs,
)

wild_moments = st.datetimes(
    timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=14))])
)
wild = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**5000),
    st.floats(),
    st.complex_numbers(),
    st.decimals(),
    st.text(),
    st.binary(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.timedeltas(),
    wild_moments,
    st.sampled_from([int, ValueError, object(), Retry(), Backoff.fixed(), lambda: None]),
)
"""What a caller might hand over instead of an option."""
