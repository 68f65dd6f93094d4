"""What can be a flow, as users write it and as rows; what a child is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from offpath import Offpath
from offpath.core import flow as core
from offpath.core import joins
from offpath.core.flow import Edge, Graph, Part, Policy, Way
from offpath.core.job import State
from offpath.errors import ArgumentError, ConfigurationError, ResultError
from offpath.tasks import Failure, all_of, any_of
from offpath.testing.stores.kit import new_job

jobs = Offpath("sqlite:///never-opened.db")


@jobs.task
def one(x: int, more: int = 0) -> int:
    return x + more


@jobs.task
def total(xs: list[int]) -> int:
    return sum(xs)


@jobs.task
def nothing() -> None: ...


@jobs.task(keep_result=False)
def forgets(x: int) -> int:
    return x


@jobs.task
def told(failure: Failure, tag: str = "") -> None: ...


@jobs.task(deadline=60)
def hurried(failure: Failure) -> None: ...


def test_a_chain_hands_each_result_to_the_next() -> None:
    made = one.call(1).then(one, more=2).then(one).graph()
    assert [(p.call.args, p.ways, p.takes) for p in made.parts] == [
        ('{"x":1}', (), None),
        ('{"more":2}', (Way(0),), "x"),
        ("{}", (Way(1),), "x"),
    ]
    assert made.ways == (Way(2),)


def test_a_value_used_twice_is_one_job() -> None:
    first = one.call(1)
    made = all_of(first.then(one), first.then(one)).then(total).graph()
    assert len(made.parts) == 4
    assert made.parts[3].ways == (Way(1, "0"), Way(2, "1"))


def test_a_complete_call_is_given_nothing_and_waits_for_all_before_it() -> None:
    made = all_of(one.call(1), one.call(2)).then(all_of(one.call(3), one.call(4).then(one))).graph()
    quiet = (Way(0, "0", silent=True), Way(1, "1", silent=True))
    assert [part.ways for part in made.parts] == [(), (), quiet, (Way(2),), quiet]
    assert made.ways == (Way(4, "0"), Way(3, "1"))


def test_a_flow_may_give_the_result_of_an_earlier_link() -> None:
    first = one.call(1)
    made = first.then(one).giving(first).graph()
    assert made.ways == (Way(0), Way(1, silent=True))


def test_any_of_is_a_race_for_one_place() -> None:
    made = all_of(any_of(one.call(1), one.call(2)), one.call(3)).then(total).graph()
    assert made.parts[3].ways == (Way(0, "0", race=True), Way(1, "0", race=True), Way(2, "1"))
    assert core._groups(made.parts[3].ways) == 2


def test_catch_and_settled() -> None:
    made = all_of(one.call(1).settled(), one.call(2)).catch(told, tag="t").graph()
    assert made.parts[2].ways == (Way(1, "1", Policy.CATCH),)
    assert (made.parts[2].handler, made.parts[2].takes) == (True, "failure")
    assert made.ways == (Way(0, "0", Policy.CONTINUE), Way(1, "1"))


call = one.call(1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: all_of(call, call), "the same call of one twice"),
        (lambda: all_of(one.call(1).then(call), one.call(2).then(call)).graph(), "in two places"),
        (lambda: all_of([]), "at least one"),
        (lambda: any_of("abc"), "takes calls and flows"),
        (lambda: all_of(one.call(1), 7), "takes calls and flows"),
        (lambda: all_of(one.call(n) for n in range(100_000)), "at most 10,000"),
        (lambda: any_of(all_of(one.call(1)).then(one), all_of(one.call(1), one.call(2))), "one more"),
        (lambda: all_of(one.call(1), one.call(2)).settled(), "say it of each"),
        (lambda: one.call(1).settled().catch(told), "nothing to handle"),
        (lambda: one.call(1).then(nothing), "has no parameter"),
        (lambda: one.call(1).then(len), "a link is a task"),
        (lambda: one.call(1).then(one.call(2), 3), "no further arguments"),
        (lambda: one.call(1).then(one.using(tx=object())), "flow.using"),
        (lambda: one.call(1).then(one.using(key="k")).graph(), "a key is the whole flow's"),
        (lambda: one.call(1).then(forgets).then(one).graph(), "which keeps none"),
        (lambda: one.call(1).then(one.using(keep_result=False)).then(one).graph(), "which keeps none"),
        (lambda: one.call(1).catch(hurried).graph(), "cannot have a deadline"),
        (lambda: one.call(1).then(one).giving(one.call(1)), "this one is none"),
        (lambda: core.check(Graph((), (), )), "no part"),
        (lambda: core.check(Graph((Part(call.core, (Way(0),)),), ())), "no cycles"),
        (lambda: core.check(Graph((Part(call.core), Part(call.core, (Way(0), Way(0, "1")))), ())), "same parent twice"),
    ],
)  # fmt: skip
def test_what_can_be_no_flow_is_told_at_once(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make()


def test_edges_are_bounded_too() -> None:
    many = all_of(one.call(n) for n in range(400)).then(all_of(one.call(n) for n in range(400)))
    with pytest.raises(ConfigurationError, match="100,000 edges"):
        many.graph()


def test_a_long_chain_is_no_deep_recursion() -> None:
    flow = one.call(1).then(one)
    for _ in range(5_000):
        flow = flow.then(one)
    assert len(flow.graph().parts) == 5_002


def test_an_argument_that_does_not_fit_is_told_at_once() -> None:
    with pytest.raises(ArgumentError, match="more"):
        one.call(1).then(one, more="x")  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match="given by the earlier link"):
        one.call(1).then(one, x=3)  # type: ignore[call-overload]


def edge(path: str, value: str | None, **given: Any) -> Edge:
    made = Edge("f", f"p{path}", "c", path, Policy.CANCEL, False, False, "x", int(State.SUCCEEDED), value)
    return made._replace(**given)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([edge("", "7")], "7"),
        ([edge("", None)], "null"),
        ([edge("10", "10"), edge("2", "2"), edge("0", "0")], "[0,2,10]"),
        ([edge("0", "[]"), edge("0/0", '"a"'), edge("0/1", '"b"'), edge("1", "1")], '[["a","b"],1]'),
        ([edge("0", "[]"), edge("1", "1")], "[[],1]"),
        ([edge("", None, race=True), edge("", "2", race=True, parent="b")], "2"),
        ([edge("", "2", race=True), edge("", None, race=True, parent="b")], "2"),
        ([edge("", "1"), edge("1", "2", takes=None)], "1"),
    ],
)
def test_what_parents_hand_on_comes_together_in_its_places(edges: list[Edge], expected: str) -> None:
    assert joins.compose(edges) == expected


def test_what_is_handed_on_becomes_an_argument() -> None:
    assert json.loads(joins.merged('{"a":1}', "x", "[2]")) == {"x": [2], "a": 1}
    assert joins.merged("{}", "x", "2") == '{"x":2}'
    assert joins.merged('{"a":1}', None, "2") == '{"a":1}'
    assert joins.too_large('{"x":"' + "é" * 600_000 + '"}') is not None
    assert joins.too_large('{"x":"' + "e" * 600_000 + '"}') is None


@pytest.mark.parametrize("over", [0, 1])
def test_what_one_end_hands_on_altogether_is_bounded(over: int) -> None:
    result = json.dumps("e" * (core.MAX_ALTOGETHER // 4 - 2 + over))  # (with its quotes, four make the bound)
    ways = [Edge("f", "a", f"c{n}", "", Policy.CANCEL, False, False, "x", None) for n in range(4)]
    ways += [
        ways[0]._replace(child="told", policy=Policy.CATCH),
        ways[0]._replace(child="silent", takes=None),
        ways[0]._replace(child="f"),
        ways[0]._replace(parent="b", child="d"),
    ]
    ends = [joins.Ended(id, State.SUCCEEDED, result) for id in ("a", "b")]
    made = joins.step(ends, ways)
    assert set(made.heavy) == ({"c0", "c1", "c2", "c3"} if over else set())
    assert {e.child for e in made.decided if e.value} == ({"f", "d"} if over else {"c0", "c1", "c2", "c3", "f", "d"})
    assert all("16,777,216" in why and "an id" in why for why in made.heavy.values())


def test_what_a_list_becomes_is_bounded_altogether() -> None:
    job = new_job(args=json.dumps({"blob": "é" * 100_000}, ensure_ascii=False)).job
    made, why = joins.spread(job, "x", json.dumps([0] * 83), 0, 1)
    assert made is not None
    made, why = joins.spread(job, "x", json.dumps([0] * 84), 0, 1)
    assert made is None
    assert "84 links" in why


@dataclass
class Point:
    x: int


@dataclass
class Place:
    x: int
    name: str = ""


@jobs.task
def point(x: int) -> Point:
    return Point(x)


@jobs.task
def place(x: int) -> Place:
    return Place(x)


@jobs.task
def when() -> datetime:
    return datetime.now(UTC)


@jobs.task
def text() -> str:
    return ""


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_what_stands_beside_a_race_is_read_as_its_own_type() -> None:
    races = [any_of(point.call(n), point.call(n)) for n in (1, 2)]
    made = all_of(races[0], point.call(3), when.call(), races[1])
    stored = '[{"x":1},{"x":3},"2026-01-01T12:00:00Z",{"x":2}]'
    assert made.read(stored) == [Point(1), Point(3), NOON, Point(2)]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [("7", 7), ('"7"', "7"), ('"a"', "a"), ('{"x":1}', Point(1)), ('{"x":1,"name":"n"}', Place(1, "n"))],
)
def test_a_race_is_read_as_the_type_of_whoever_may_have_won(stored: str, expected: object) -> None:
    made = any_of(one.call(1), point.call(1), text.call(), place.call(1))
    assert made.read(stored) == expected


def test_a_race_of_what_is_settled_may_give_a_failure() -> None:
    said = joins.failure("one", "id", State.FAILED, '{"kind": "raised", "title": "T"}')
    assert isinstance(any_of(text.call(), one.call(1).settled()).read(said), Failure)


def test_what_none_of_a_race_can_have_returned_says_so() -> None:
    with pytest.raises(ResultError, match=r"race fits none of its tasks \(one, point\)"):
        any_of(one.call(1), point.call(1), one.call(2)).read('"a"')


def test_a_failure_travels_without_its_traceback() -> None:
    said = joins.failure("one", "id", State.FAILED, '{"kind": "raised", "title": "T", "traceback": "secret"}')
    assert Failure(**json.loads(said)) == Failure("one", "id", "failed", {"kind": "raised", "title": "T"})
    assert joins.named(said) == "one"
