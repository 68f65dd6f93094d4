"""Where a call with a key and a rule goes: `arrange` against a model of what a user may rely on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offpath.core.ids import moment_of, uuid7
from offpath.core.job import Job, State
from offpath.core.keys import Rule, Seat, Standing, arrange, rule_of
from offpath.core.options import SECOND, CallOptions
from offpath.errors import ConfigurationError
from tests.core.values import HOUR, NOW, a_job

LATEST, DEBOUNCE, THROTTLE = Rule("latest"), Rule("debounce", HOUR, 3 * HOUR), Rule("throttle", HOUR)
K = ("mail", "k")


def call(n: int, at: int = NOW, rule: Rule = LATEST, **given: Any) -> tuple[Job, Rule]:
    """As `lifecycle.new` makes it."""
    delayed = at + rule.length if rule.kind == "debounce" else at
    state = State.SCHEDULED if rule.kind == "debounce" else State.READY
    job = a_job(id=an_id(n, at), key="k", args=str(n), state=state, run_at=delayed, fence=0, worker=None, watched=False)
    return job._replace(**given), rule


def an_id(n: int, at: int = NOW) -> str:
    return uuid7(at, (n << 8).to_bytes(10, "big"))


def seat(n: int, state: State, *, at: int = NOW, fence: int = 0, behind: bool = False) -> Seat:
    return Seat(an_id(n, at), state, fence, at, behind, False)


@pytest.mark.parametrize("moment", [0, NOW, NOW + 123_456, HOUR])
def test_an_id_tells_its_moment_to_the_millisecond(moment: int) -> None:
    assert moment_of(an_id(7, moment)) == moment // 1000 * 1000


def test_rules() -> None:
    assert rule_of(CallOptions(key="k")) is None
    assert rule_of(CallOptions(key="k", latest=True)) == Rule("latest")
    assert rule_of(CallOptions(key="k", throttle=timedelta(minutes=1))) == Rule("throttle", 60 * SECOND)
    assert rule_of(CallOptions(key="k", debounce=5)) == Rule("debounce", 5 * SECOND)
    assert rule_of(CallOptions(key="k", debounce=0.5, max_wait=60)) == Rule("debounce", SECOND // 2, 60 * SECOND)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"debounce": 5}, "debounce is one key's: give key too"),
        ({"throttle": 5}, "throttle is one key's: give key too"),
        ({"latest": True}, "latest is one key's: give key too"),
        ({"key": "k", "latest": 1}, "latest must be True or False"),
        ({"key": "k", "latest": "yes", "throttle": 5}, "latest must be True or False"),
        ({"latest": 0}, "latest must be True or False"),
        ({"key": "k", "debounce": 0}, "debounce must be more than 0 seconds"),
        ({"key": "k", "throttle": timedelta(0)}, "throttle must be more than 0 seconds"),
        ({"key": "k", "debounce": -1}, "debounce"),
        ({"key": "k", "debounce": "5"}, "debounce"),
        ({"key": "k", "throttle": float("nan")}, "throttle"),
        ({"key": "k", "debounce": 5, "throttle": 5}, "give debounce or throttle, not both"),
        ({"key": "k", "debounce": 5, "latest": True}, "give debounce or latest, not both"),
        ({"key": "k", "throttle": 5, "latest": True}, "give throttle or latest, not both"),
        ({"key": "k", "debounce": 5, "delay": 5}, "debounce says when the job runs: leave delay and run_at out"),
        ({"key": "k", "throttle": 5, "run_at": datetime.now(UTC)}, "throttle says when the job runs"),
        ({"key": "k", "max_wait": 5}, "give debounce too"),
        ({"max_wait": 5}, "give debounce too"),
        ({"key": "k", "throttle": 5, "max_wait": 5}, "max_wait .* and this is throttle"),
        ({"key": "k", "debounce": 5, "max_wait": 4}, "max_wait must not be shorter than debounce"),
        ({"key": "k", "debounce": 5, "max_wait": 0}, "max_wait must be more than 0 seconds"),
        ({"key": "k" * 256, "latest": True}, "key must be text of 1 to 255 characters"),
    ],
)
def test_bad_rules_say_what_to_do(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        CallOptions(**options)


@pytest.mark.parametrize(
    ("there", "rule", "at", "state", "run_at", "behind"),
    [
        # nobody has it
        (Standing(), LATEST, NOW, State.READY, NOW, False),
        (Standing(), DEBOUNCE, NOW, State.SCHEDULED, NOW + HOUR, False),
        (Standing(), THROTTLE, NOW, State.READY, NOW, False),
        (Standing(free_at=NOW + 5), THROTTLE, NOW, State.SCHEDULED, NOW + 5, False),
        (Standing(free_at=NOW - 5), THROTTLE, NOW, State.READY, NOW, False),
        # one runs
        (Standing(seat(1, State.RUNNING)), LATEST, NOW, State.WAITING, NOW, True),
        (Standing(seat(1, State.RUNNING)), DEBOUNCE, NOW, State.WAITING, NOW + HOUR, True),
        (Standing(seat(1, State.RUNNING), free_at=NOW + HOUR), THROTTLE, NOW + 1, State.WAITING, NOW + HOUR, True),
    ],
)
def test_a_new_row(there: Standing, rule: Rule, at: int, state: State, run_at: int, behind: bool) -> None:
    job, _ = call(9, at, rule)
    plan = arrange([(job, rule)], {K: there}, at)
    assert plan.ids == [job.id]
    [write] = plan.writes
    assert (write.seat, write.behind, write.job) == (None, behind, job._replace(state=state, run_at=run_at))
    assert plan.free_at == ({K: run_at + HOUR} if rule is THROTTLE else {})


@pytest.mark.parametrize(
    ("taken", "rule", "at", "state", "run_at"),
    [
        (seat(1, State.READY, at=NOW - 9), LATEST, NOW, State.READY, NOW - 9),
        (seat(1, State.SCHEDULED, at=NOW + 9), LATEST, NOW, State.READY, NOW),
        (seat(1, State.SCHEDULED, at=NOW + HOUR, fence=1), LATEST, NOW, State.READY, NOW),
        (seat(1, State.SCHEDULED, at=NOW), DEBOUNCE, NOW + 5, State.SCHEDULED, NOW + 5 + HOUR),
        (seat(1, State.SCHEDULED, at=NOW), DEBOUNCE, NOW + 2 * HOUR + 9, State.SCHEDULED, NOW + 3 * HOUR),
        (seat(1, State.SCHEDULED, at=NOW), DEBOUNCE, NOW + 4 * HOUR, State.READY, NOW + 4 * HOUR),
        (seat(1, State.READY, at=NOW), THROTTLE, NOW + 5, State.READY, NOW),
        (seat(1, State.SCHEDULED, at=NOW + 50), THROTTLE, NOW + 5, State.SCHEDULED, NOW + 50),
        (seat(1, State.WAITING, at=NOW), LATEST, NOW + 5, State.WAITING, NOW),  # for others of its flow
    ],
)
def test_a_row_that_has_not_begun_takes_the_arguments(
    taken: Seat, rule: Rule, at: int, state: State, run_at: int
) -> None:
    job, _ = call(9, at, rule)
    plan = arrange([(job, rule)], {K: Standing(taken)}, at)
    assert plan.ids == [taken.id]
    [write] = plan.writes
    assert write.seat == taken
    assert not write.behind
    assert write.job == job._replace(id=taken.id, state=state, run_at=run_at)
    assert plan.free_at == {}


def test_a_throttled_one_that_is_tried_again_counts_anew() -> None:
    backing = seat(1, State.SCHEDULED, at=NOW + 5, fence=1)
    plan = arrange([call(9, NOW + 1, THROTTLE)], {K: Standing(backing, free_at=NOW + HOUR)}, NOW + 1)
    assert plan.writes[0].job.run_at == NOW + HOUR
    assert plan.free_at == {K: NOW + 2 * HOUR}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), max_size=8),
    st.lists(st.sampled_from(["start", "end", "fail", "pass"]), min_size=8, max_size=8),
    st.sampled_from([LATEST, DEBOUNCE, THROTTLE]),
)
def test_one_at_a_time_and_the_newest_is_never_lost(rounds: list[list[int]], moves: list[str], rule: Rule) -> None:
    """Calls come in groups of some; between the groups a job starts, ends, fails or is passed over by the one that
    ended its holder. The rows are carried as a store would."""
    rows: dict[str, Seat] = {}
    args: dict[str, int] = {}
    n, now, free_at = 0, NOW, 0
    for group, move in zip(rounds, moves, strict=False):
        now += 1000
        calls = []
        for _ in group:
            n += 1
            calls.append(call(n, now, rule))
        holder = next((one for one in rows.values() if not one.behind), None)
        behind = next((one for one in rows.values() if one.behind), None)
        plan = arrange(calls, {K: Standing(holder, behind, free_at)}, now)
        free_at = plan.free_at.get(K, free_at)
        for write in plan.writes:
            if write.seat is not None:
                assert rows[write.job.id] == write.seat
                assert write.seat.state is not State.RUNNING
            fence = 0 if write.seat is None else write.seat.fence
            job = write.job
            rows[job.id] = Seat(job.id, job.state, fence, job.run_at, write.behind, False)
            args[job.id] = int(job.args)
        assert set(plan.ids) <= set(rows)
        assert len([one for one in rows.values() if not one.behind]) == 1
        assert len(rows) <= 2
        waiting = [one for one in rows.values() if one.state is not State.RUNNING]
        assert n in [args[one.id] for one in waiting], "the newest arguments wait"
        holder = next(one for one in rows.values() if not one.behind)
        if move == "start" and holder.state is not State.RUNNING:
            rows[holder.id] = holder._replace(state=State.RUNNING, fence=holder.fence + 1)
        elif move in ("end", "pass") and holder.state is State.RUNNING:
            del rows[holder.id]
            if move == "end":
                rows = {id: one._replace(behind=False, state=State.SCHEDULED) for id, one in rows.items()}
        elif move == "fail" and holder.state is State.RUNNING:
            rows[holder.id] = holder._replace(state=State.SCHEDULED)
