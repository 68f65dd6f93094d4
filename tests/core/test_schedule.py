"""Which ticks are run, and what becomes of a row that several versions of an application declare. Pure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core import schedule as core
from offpath.core.call import Call
from offpath.core.job import State
from offpath.core.options import SECOND, CallOptions, Queue, TaskOptions
from offpath.core.policy import parted
from offpath.core.schedule import Declared, Due, ScheduleRow, declare, due, sign

HOUR = 3600 * SECOND
NOW = 1_700_000_000 * SECOND


def each(step: int, anchor: int = 0, end: int | None = None) -> core.After:
    def after(at: int) -> int | None:
        tick = anchor + ((at - anchor) // step + 1) * step
        return tick if end is None or tick <= end else None

    return after


@given(
    step=st.integers(1, 5000).map(lambda n: n * SECOND // 10),
    behind=st.integers(0, 10_000).map(lambda n: n * SECOND),
    catch_up=st.integers(0, 50),
    late=st.none() | st.integers(0, 5000).map(lambda n: n * SECOND),
    ends=st.none() | st.integers(0, 10_000).map(lambda n: n * SECOND),
)
def test_of_all_that_were_missed_the_newest_so_many(
    step: int, behind: int, catch_up: int, late: int | None, ends: int | None
) -> None:
    after = each(step, end=None if ends is None else NOW - ends)
    next_at = after(NOW - behind - 1)
    if next_at is None or next_at > NOW:
        return
    every = [next_at]
    while (tick := after(every[-1])) is not None and tick <= NOW:
        every.append(tick)
    limit = core.GRACE if late is None and not catch_up else late
    wanted = [tick for tick in every if limit is None or tick >= NOW - limit][-max(1, catch_up) :]
    assert due(next_at, NOW, after, catch_up, late) == Due(tuple(wanted), after(every[-1]))


def test_a_tick_that_the_rules_have_moved_is_still_run() -> None:
    """What the row says is what was promised, even if the zone's rules are others by now."""
    assert due(NOW - 7 * SECOND, NOW, each(HOUR), 1, None).ticks == (NOW - 7 * SECOND,)


def test_a_year_of_seconds_is_not_counted() -> None:
    asked = 0

    def after(at: int) -> int:
        nonlocal asked
        asked += 1
        return (at // SECOND + 1) * SECOND

    assert due(NOW - 365 * 24 * HOUR, NOW, after, 3, None).ticks == (NOW - 2 * SECOND, NOW - SECOND, NOW)
    assert asked < 50


# ── declarations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def said(mark: str, **given: Any) -> Declared:
    return Declared("nightly", f'{{"{mark}": 1}}', "task", "{}", mark)._replace(**given)


def told(
    row: ScheduleRow | None, mark: str, *alive: str, now: int = NOW, same_time: bool = True, wake: bool = False
) -> ScheduleRow:
    signs = [sign("nightly", one) for one in alive]
    return declare(row, said(mark), now, signs, now + HOUR, same_time=same_time, wake=wake)


def test_the_first_declaration_makes_the_row() -> None:
    row = told(None, "a")
    assert (row.declared, row.anchor, row.next_at, row.revision, row.paused) == (("a",), NOW, NOW + HOUR, 1, False)
    assert told(row, "a", now=NOW + 5) == row, "the same again changes nothing"


def test_a_newer_declaration_wins_at_once() -> None:
    row = told(told(None, "a"), "b", "a", now=NOW + 5)
    assert (row.declared, row.spec, row.revision, row.updated_at) == (("b", "a"), said("b").spec, 2, NOW + 5)
    assert (row.next_at, row.anchor) == (NOW + HOUR, NOW), "its times are the same"
    moved = told(told(None, "a"), "b", "a", now=NOW + 5, same_time=False)
    assert (moved.next_at, moved.anchor) == (NOW + 5 + HOUR, NOW + 5)


def test_an_older_one_yields_while_a_newer_worker_lives() -> None:
    new = told(told(None, "a"), "b")
    assert told(new, "a", "b", "a") == new
    assert told(new, "a", "b") == new
    back = told(new, "a", "a")
    assert back.declared == ("a", "b"), "the newer ones have gone: a deploy backwards"
    assert told(back, "b", "a", "b") == back, "and now b is the older one"
    assert told(back, "c", "a", "b").declared == ("c", "a", "b")


def test_a_sign_of_another_schedule_says_nothing() -> None:
    new = told(told(None, "a"), "b")
    row = declare(new, said("a"), NOW, [sign("nightly-2", "b"), "b", "nightly#b"], NOW, same_time=True, wake=False)
    assert row.declared[0] == "a"


def test_pausing_outlives_a_deploy() -> None:
    assert told(told(None, "a")._replace(paused=True), "b").paused


def test_code_takes_over_what_was_put_by_api() -> None:
    assert told(told(None, "a")._replace(declared=()), "b").declared == ("b",)


def test_declarations_are_forgotten_in_the_end() -> None:
    row = told(None, "first")
    for n in range(50):
        row = told(row, str(n))
    assert len(row.declared) == core.PAST


def test_the_first_worker_of_all_runs_it_at_once() -> None:
    row = told(None, "a")
    later = NOW + 7 * SECOND
    woken = told(row, "a", now=later, wake=True)
    assert (woken.next_at, woken.anchor) == (later, later)
    assert told(row, "a", "a", now=later, wake=True) == row, "another is there"
    assert told(row, "a", "b", now=later, wake=True) == row, "of another version, too"
    assert told(row, "a", now=later) == row


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def row_of(call: Call, queue: Queue | None = None) -> ScheduleRow:
    return told(None, "a")._replace(call=core.template(call, queue), task=call.task)


def test_a_tick_is_a_job_as_the_call_asks_for_it() -> None:
    call = Call("mail", 3, '{"to": 1}', TaskOptions(queue="q", priority=2), CallOptions(owner="me", timeout=9.0))
    job, event = core.job_of(row_of(call), "skip", NOW - 5, 0, NOW, "id")
    assert (job.id, job.task, job.version, job.args) == ("id", "mail", 3, '{"to": 1}')
    assert (job.queue, job.priority, job.owner) == ("q", 2, "me")
    assert (job.state, job.run_at, job.key) == (State.READY, NOW - 5, "schedule:nightly")
    assert (job.attempt, job.crashes, job.fence, job.worker, job.watched) == (1, 0, 0, None, False)
    assert event.type == "queued"
    assert core.tick_of(job.options) == ("nightly", NOW - 5)
    assert json.loads(job.options or "")["timeout"] == 9.0


def test_a_queues_defaults_and_at_most_once_are_in_it() -> None:
    call = Call("mail", 1, "{}", TaskOptions(queue="q", delivery="at_most_once"), CallOptions())
    job, _ = core.job_of(row_of(call, Queue("q", priority=7)), "skip", NOW, 0, NOW, "id")
    assert (job.priority, job.once) == (7, True)


def test_a_deadline_counts_from_the_tick_or_from_now() -> None:
    call = Call("mail", 1, "{}", TaskOptions(deadline=60), CallOptions())
    assert core.job_of(row_of(call), "skip", NOW - HOUR, 0, NOW, "id")[0].deadline == NOW + 60 * SECOND
    job, _ = core.job_of(row_of(call), "skip", NOW, 5 * SECOND, NOW, "id")
    assert (job.state, job.run_at, job.deadline) == (State.SCHEDULED, NOW + 5 * SECOND, NOW + 65 * SECOND)


def test_jobs_that_may_overlap_have_keys_of_their_own() -> None:
    for overlap, key in (
        ("queue", "schedule:nightly"),
        ("allow", "schedule:nightly:7"),
        ("replace", "schedule:nightly:7"),
    ):
        assert core.key_of("nightly", overlap, 7) == key  # type: ignore[arg-type]


def test_a_template_of_another_version_is_read_as_far_as_it_is_known() -> None:
    row = row_of(Call("mail", 1, "{}", TaskOptions(), CallOptions()))
    row = row._replace(call=json.dumps({**json.loads(row.call), "of tomorrow": 1}))
    assert core.job_of(row, "skip", NOW, 0, NOW, "id")[0].task == "mail"


@pytest.mark.parametrize(
    "options", [None, "{}", '{"timeout": 5}', '{"tick": "x"}', '{"tick": 5}', '{"key": "\\"tick\\""}']
)
def test_other_jobs_have_no_tick(options: str | None) -> None:
    assert core.tick_of(options) is None


def test_jobs_of_one_schedule_share_their_plans() -> None:
    one, other = (core.stamped('{"timeout": 5.0}', "nightly", tick) for tick in (1, 2))
    assert parted(one) == parted(other) == ('{"timeout": 5.0}', "")
    assert parted(core.stamped(None, "nightly", 1)) == (None, "")
    assert parted(core.stamped('{"tenant": "acme"}', "nightly", 1)) == (None, "acme")
