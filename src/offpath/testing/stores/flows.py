"""Flows: what the model of `flowmachine.py` does not know of."""

from __future__ import annotations

import json

import pytest

from ...core import flow as core
from ...core.flow import Graph, Part, Policy, Way
from ...core.job import State
from ...core.options import MAX_CRASHES, SECOND
from ...core.outcome import Canceled, Done, Errored, error
from ...core.policy import Retention
from ...errors import Conflict
from ...ports import Hint, Store
from .fixtures import Hire, Make
from .flowmachine import CALL, graph, new_flow, part, start
from .kit import (
    HOUR,
    POLICY,
    TIMEOUT,
    Hand,
    ask,
    change,
    ended,
    expire,
    fresh,
    live,
    lose,
    new_job,
    now,
    perform,
    shown,
    told,
)

# ── what the model does not know of ──────────────────────────────────────────────────────────────────────────────────


def fan_in(width: int) -> Graph:
    return graph(*(part() for _ in range(width)), part(*range(width)))


def test_a_join_counts_every_parent_of_a_batch(store: Store, hand: Hand) -> None:
    """(`update … from` lowers a count by one, however many rows it is joined to.)"""
    flow, parts = start(store, fan_in(3))
    assert live(store, parts[3]).waits == 3
    hand.finish(*hand.claim(2))
    assert live(store, parts[3]).waits == 1
    hand.finish(*hand.claim(1))
    joined = hand.claim_one()
    assert (joined.id, joined.flow, json.loads(joined.args)) == (parts[3], flow, {"x": [None, None, None]})
    assert hand.claim() == []
    hand.say(joined, Done("7"))
    assert (ended(store, flow).state, ended(store, flow).result) == (State.SUCCEEDED, "7")


def test_a_join_over_two_workers_and_two_stores_fires_once(store: Store, make: Make, hire: Hire) -> None:
    flow, parts = start(store, fan_in(8))
    hands = [hire(), hire(on=make())]
    held = [(one, job) for one in hands for job in one.claim(4)]
    pending = [one.store.exchange(one.id, [change(job, Done("1"))], None) for one, job in held]
    for (one, job), answer in zip(held, pending, strict=True):
        verdicts = answer.result(TIMEOUT).verdicts
        while verdicts == ["changed"]:  # the other one had the flow at that moment
            verdicts = one.settle(change(job, Done("1")))
        assert verdicts == ["applied"]
    [joined] = [job for one in hands for job in one.claim()]
    assert (joined.id, json.loads(joined.args)) == (parts[8], {"x": [1] * 8})
    hands[0].claim()
    assert live(store, flow).waits == 1


def test_the_end_of_a_part_makes_work_known(store: Store, hand: Hand, heard: list[Hint]) -> None:
    start(store, graph(part(), part(0)))
    job = hand.claim_one()
    heard.clear()
    hand.say(job, Done("1"))
    assert Hint("work", ("default",)) in heard


def test_an_operation_shows_how_many_parts_are_done(store: Store, hand: Hand) -> None:
    flow, _ = start(store, graph(part(), part(0), part(1)), by="alice")
    assert shown(store, flow).status == State.WAITING
    for _ in range(3):
        hand.say(hand.claim_one(), Done("1"))
    row = shown(store, flow)
    assert (row.status, row.result) == (State.SUCCEEDED, "1")
    assert [(type, data.get("current")) for _, type, data in told(store, flow)] == [
        ("queued", None), ("started", None), ("progress", 1), ("progress", 2), ("progress", 3), ("succeeded", None),
    ]  # fmt: skip
    assert json.loads(row.progress or "")["unit"] == "jobs"


def test_cancel_reaches_every_part(store: Store, hand: Hand, heard: list[Hint]) -> None:
    flow, parts = start(store, fan_in(2), by="alice")
    job = hand.claim_one()
    found = perform(store, store.verbs.cancel(flow, "enough"))
    assert found is not None
    assert found.job is not None
    assert (found.job.state, found.job.cancel_reason) == (State.WAITING, "enough")
    assert Hint("cancel", (job.id,)) in heard
    assert shown(store, flow).cancel_at is not None
    assert shown(store, flow).status == State.RUNNING
    assert {ended(store, id).state for id in parts if id != job.id} == {State.CANCELED}
    assert hand.say(live(store, job.id), Canceled("stopped")) == "applied"
    assert ended(store, flow).state is State.CANCELED
    assert [type for _, type, _ in told(store, flow)] == ["queued", "canceling", "canceled"]


def test_cancel_of_a_flow_that_has_not_begun_ends_it_at_once(store: Store, hand: Hand) -> None:
    flow, parts = start(store, fan_in(2), by="alice")
    found = perform(store, store.verbs.cancel(flow, "enough"))
    assert found is not None
    assert found.finished is not None
    assert [type for _, type, _ in told(store, flow)] == ["queued", "canceled"]
    assert hand.claim() == []
    assert all(ended(store, id).state is State.CANCELED for id in parts)


def test_a_key_holds_a_whole_flow(store: Store, hand: Hand) -> None:
    flow, parts = start(store, graph(part(), part(0)), key="nightly")
    second = new_flow(graph(part(), part(0)), key="nightly")
    assert perform(store, store.verbs.enqueue_flow(second)) == (flow, True)
    assert [job.id for job in hand.claim()] == [parts[0]]
    perform(store, store.verbs.cancel(flow, "enough"))
    hand.say(live(store, parts[0]), Canceled("stopped"))
    assert perform(store, store.verbs.enqueue_flow(second)) == (second.flow.job.id, False)


@pytest.mark.parametrize("size", [core.MAX_HANDED // 2 - 40, core.MAX_HANDED // 2])
def test_what_is_too_large_to_hand_on_ends_the_flow_and_nothing_else(store: Store, hand: Hand, size: int) -> None:
    flow, parts = start(store, graph(part(), part(), part(0, 1)))
    other, others = start(store, graph(part(), part(0)))
    for job in hand.claim():
        hand.say(job, Done(json.dumps("a" * size) if job.flow == flow else "1"))
    if size < core.MAX_HANDED // 2:
        assert {job.id for job in hand.claim()} == {parts[2], others[1]}
        return
    assert [job.id for job in hand.claim()] == [others[1]]
    for id in (parts[2], flow):
        said = json.loads(ended(store, id).error or "")
        assert said["kind"] == "handed"
        assert "1,048,576" in said["detail"]
    assert live(store, other).waits == 1


def test_what_is_too_much_for_so_many_is_handed_to_none_of_them(store: Store, hand: Hand) -> None:
    """One that may be `settled` after all: the flow still has the result that it ends with."""
    size = 500_000
    many = core.MAX_ALTOGETHER // size + 1
    links = [part(0) for _ in range(many)]
    told = [Way(n, str(n), Policy.CONTINUE) for n in range(1, many + 1)]
    flow, parts = start(store, Graph((part(), *links), (Way(0, "0"), *told)))
    other, others = start(store, graph(part(), part(0)))
    verdicts = hand.settle(
        *(change(job, Done(json.dumps("a" * size if job.flow == flow else 1))) for job in hand.claim())
    )
    assert verdicts == ["applied", "applied"]
    assert [job.id for job in hand.claim()] == [others[1]]
    for id in parts[1:]:
        said = json.loads(ended(store, id).error or "")
        assert said["kind"] == "handed"
        assert f"{many} links" in said["detail"]
        assert "16,777,216" in said["detail"]
    end = ended(store, flow)
    assert end.state is State.SUCCEEDED
    result, *failures = json.loads(end.result or "")
    assert result == "a" * size
    assert [one["error"]["kind"] for one in failures] == ["handed"] * many
    assert live(store, other).waits == 1


def test_what_is_no_list_has_no_elements(store: Store, hand: Hand) -> None:
    flow, parts = start(store, graph(part(), part(0, spread=True)))
    hand.say(hand.claim_one(), Done('{"a": 1}'))
    assert json.loads(ended(store, parts[1]).error or "")["kind"] == "handed"
    assert ended(store, flow).state is State.FAILED


def test_a_flow_does_not_grow_without_end(store: Store, hand: Hand) -> None:
    flow, parts = start(store, graph(part(), part(0, spread=True)))
    hand.say(hand.claim_one(), Done(json.dumps([0] * core.MAX_PARTS)))
    assert "10,000" in (ended(store, parts[1]).error or "")
    assert hand.claim() == []
    assert ended(store, flow).state is State.FAILED


def test_a_part_that_waits_past_its_deadline_fails_the_flow(store: Store, hand: Hand) -> None:
    flow, parts = start(store, graph(part(), part(0)), deadline=now() - SECOND)
    assert [live(store, id).deadline is not None for id in (*parts, flow)] == [True, True, False]
    assert perform(store, store.verbs.overdue(100)) == 2
    assert json.loads(ended(store, flow).error or "")["kind"] == "deadline"


def test_a_parents_deadline_bounds_what_waits_for_it() -> None:
    at = now() + HOUR
    jobs = [new_job(deadline=given).job for given in (at, None, at + 5, None, None)]
    ways = (Way(0, "0", race=True), Way(2, "0", race=True))
    handler = Part(CALL, (Way(1, policy=Policy.CATCH),), "failure")
    made = graph(part(), part(0), part(), Part(CALL, ways, "x"), handler)
    _, parts, _ = core.rows(made, new_job(task=core.TASK).job, jobs)
    assert [job.deadline for job in parts] == [at, at, at + 5, at + 5, None]


def test_a_dead_workers_last_crash_fails_the_flow(store: Store, hire: Hire) -> None:
    flow, parts = start(store, graph(part(), part(0)))
    judge = hire()
    for crashes in range(MAX_CRASHES):
        assert live(store, parts[0]).crashes == crashes
        dead = hire(-1.0)
        assert [job.id for job in dead.claim()] == [parts[0]]
        lose(dead, judge)
        assert expire(store, dead.id) == 1
    assert json.loads(ended(store, flow).error or "")["kind"] == "quarantined"
    assert ended(store, parts[1]).state is State.CANCELED


def test_a_part_settled_in_its_own_transaction_starts_the_next(store: Store, hand: Hand) -> None:
    _, parts = start(store, graph(part(), part(0)))
    job = hand.claim_one()
    verdict, *_ = perform(store, store.verbs.settle_one(hand.id, change(job, Done("3"))))
    assert verdict == "applied"
    assert json.loads(live(store, parts[1]).args) == {"x": 3}
    assert live(store, parts[1]).state is State.READY
    assert perform(store, store.verbs.settle_one(hand.id, change(job, Done("3"))))[0] == "stale"


def test_a_late_workers_word_starts_nothing(store: Store, hire: Hire) -> None:
    """The join is behind the same fence as the settle that carries it."""
    _, parts = start(store, graph(part(), part(0), part(1)))
    late, judge = hire(-1.0), hire()
    job = late.claim_one()
    lose(late, judge)
    expire(store, late.id)
    assert late.say(job, Done("1")) == "stale"
    assert live(store, parts[1]).state is State.WAITING
    again = judge.claim_one()
    assert judge.say(again, Done("2")) == "applied"
    assert judge.say(again, Done("2")) == "stale"
    assert json.loads(judge.claim_one().args) == {"x": 2}
    assert live(store, parts[2]).waits == 1


def test_a_link_may_be_for_later(store: Store, hand: Hand) -> None:
    new = new_flow(graph(part(), part(0)))
    first, second = new.parts
    later = second._replace(job=second.job._replace(run_at=now() + HOUR))
    perform(store, store.verbs.enqueue_flow(new._replace(parts=[first, later])))
    hand.say(hand.claim_one(), Done("1"))
    assert live(store, later.job.id).state is State.SCHEDULED


def test_a_flow_is_not_run_again(store: Store, hand: Hand) -> None:
    flow, parts = start(store, graph(part(), part(0)))
    hand.say(hand.claim_one(), Errored(error("raised", "no"), retryable=False), POLICY)
    for id in (flow, parts[1]):
        with pytest.raises(Conflict, match="flow"):
            perform(store, store.verbs.retry(id, fresh()))
    again = fresh()
    perform(store, store.verbs.retry(parts[0], again))
    assert (live(store, again).flow, live(store, again).retry_of) == (None, parts[0])


def test_a_flow_is_forgotten_with_its_edges(make: Make, hire: Hire) -> None:
    store = make(retention=Retention(-SECOND, -SECOND, -SECOND))
    hand = hire(on=store)
    flow, _ = start(store, graph(part(), part(0)))
    kept, _ = start(store, graph(part(), part(0)))
    for _ in range(2):
        hand.say(next(job for job in hand.claim() if job.flow == flow), Done("1"))
    while perform(store, store.verbs.prune(100)):
        pass
    assert ask(store, store.verbs.flow(flow)) is None
    assert ask(store, store.verbs.flow(kept)) is not None
    assert ask(store, store.verbs.flow("no id")) is None


def test_an_erased_flow_has_no_edges(store: Store, hand: Hand) -> None:
    flow, _ = start(store, graph(part(), part(0)))
    perform(store, store.verbs.cancel(flow, "enough"))
    assert perform(store, store.verbs.delete(flow))
    assert ask(store, store.verbs.flow(flow)) is None
