"""Who may start under which limits: never too many, never too few, and everyone in turn."""

from collections import Counter, deque
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from offpath.core.admission import BYTES, Admitted, Books, InLine, Line, admit, after_start, starts_at
from offpath.core.limits import Rule, buckets_of, rule_name
from offpath.core.options import SUSPECT

NOW = 1_800_000_000_000_000
WIDE = Rule("all", None, None, 1)


def line(lane: str, *ids: str, more: bool = False) -> Line:
    return Line(lane, [InLine(id, 10, 0) for id in ids], more)


def books(
    *rules: Rule, running: dict[str, int] | None = None, tats: dict[str, int] | None = None, now: int = NOW
) -> Books:
    return Books(now, running or {}, tats or {}, {rule.name: rule for rule in rules})


def ask(lines: Sequence[Line], known: Books, room: int = 100, *, suspect: bool = True) -> Admitted:
    return admit(lines, known, room, free=room, suspect=suspect)


# ── the rate by itself ───────────────────────────────────────────────────────────────────────────────────────────────

rates = st.builds(lambda n, period, burst: Rule("r", None, -(-period // n), burst), st.integers(1, 1000),
                  st.integers(1000, 10**8), st.integers(1, 50))  # fmt: skip


@given(rates, st.lists(st.integers(0, 10**7), min_size=1, max_size=200))
def test_in_no_window_start_more_than_the_rate_and_the_burst_allow(rule: Rule, gaps: list[int]) -> None:
    assert rule.spacing is not None
    now, tat = NOW, 0
    starts: list[int] = []
    for gap in gaps:
        now += gap
        if starts_at(rule, tat, now) == now:
            starts.append(now)
            tat = after_start(rule, tat, now)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            window = starts[last] - starts[first]  # closed: both ends are starts
            assert last - first + 1 <= window // rule.spacing + rule.burst


@given(rates, st.integers(0, 300))
def test_who_waits_for_his_moment_starts_then_and_not_before(rule: Rule, jobs: int) -> None:
    """Greedy starts reach the rate exactly: nothing is lost to rounding, a burst first and then one per interval."""
    assert rule.spacing is not None
    now, tat = NOW, 0
    starts: list[int] = []
    for _ in range(jobs):
        at = starts_at(rule, tat, now)
        assert at == now or starts_at(rule, tat, at - 1) == at
        starts.append(at)
        now, tat = at, after_start(rule, tat, at)
    assert starts == [NOW + max(0, n - rule.burst + 1) * rule.spacing for n in range(jobs)]


def test_a_rest_does_not_save_more_than_the_burst() -> None:
    rule = Rule("all", None, 100, 3)
    said = ask([line("all", *"abcdefgh")], books(rule, tats={"all": NOW - 10**9}))
    assert (said.ids, said.tats, said.again_at, said.more) == (list("abc"), {"all": NOW + 300}, NOW + 100, False)


# ── concurrency ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_runs_is_counted_over_all_lanes_of_a_bucket() -> None:
    rules = (Rule("queue:q", 3, None, 1), Rule("t/x", 2, None, 1))
    known = books(*rules, running={"queue:q": 1, "queue:q\nt/x\t1": 1})
    said = ask([line("queue:q\nt/x\t1", "a", "b"), line("queue:q\nt/x\t2", "c")], known)
    assert (said.ids, said.again_at, said.more) == (["a"], None, False)
    said = ask([line("queue:q\nt/x\t1", "a", "b")], books(*rules, running={"queue:q\nt/x\t1": 2}))
    assert said.ids == []


def test_a_limit_that_nobody_has_declared_lets_nobody_start() -> None:
    said = ask([line("all\nnew", "a"), line("all", "b")], books(WIDE))
    assert (said.ids, set(said.undeclared), said.more) == (["b"], {"new"}, False)


def test_of_two_rates_the_later_one_counts() -> None:
    known = books(Rule("a", None, 100, 1), Rule("b", None, 1000, 1), tats={"a": NOW + 50, "b": NOW + 700})
    said = ask([line("a\nb", "x"), line("a", "y")], known)
    assert (said.ids, said.again_at) == ([], NOW + 50)
    said = ask([line("a\nb", "x")], known)
    assert (said.ids, said.again_at) == ([], NOW + 700)


# ── turns, room, suspects ────────────────────────────────────────────────────────────────────────────────────────────


def test_lanes_take_turns_and_the_cursor_says_whose_turn_was_the_last() -> None:
    lines = [line("all", "a1", "a2", "a3"), line("b", "b1"), line("c", "c1", "c2")]
    known = books(WIDE, Rule("b", None, None, 1), Rule("c", None, None, 1))
    assert ask(lines, known).ids == ["a1", "b1", "c1", "a2", "c2", "a3"]
    said = ask(lines, known, room=2)
    assert (said.ids, said.cursor, said.more) == (["a1", "b1"], "b", True)
    said = ask(lines, known, room=6)
    assert (said.cursor, said.more) == ("all", False)
    assert ask([line("new", "x")], known).cursor is None
    assert ask([line("all", "a", more=True)], known, room=1).more


def test_one_suspect_and_those_behind_it_come_all_the_same() -> None:
    bad = [InLine(f"bad{n}", 10, SUSPECT) for n in range(3)]
    lines = [Line("all", [bad[0], bad[1], InLine("good", 10, 0)], False), Line("b", [bad[2]], True)]
    known = books(WIDE, Rule("b", None, None, 1))
    said = ask(lines, known)
    assert (said.ids, said.suspect, said.more) == (["bad0", "good"], True, False)
    said = ask(lines, known, suspect=False)
    assert (said.ids, said.suspect, said.more) == (["good"], False, False)


def test_who_must_start_at_once_needs_a_free_slot_and_the_others_do_not() -> None:
    lines = [line("r", "r1"), Line("all", [InLine("once", 1, 0, 1), InLine("x", 1, 0)], False), line("b", "b1", "b2")]
    known = books(WIDE, Rule("r", None, 100, 9), Rule("b", None, None, 1))
    said = admit(lines, known, 10, free=0, suspect=True)
    assert (said.ids, said.starved, said.more, said.again_at) == (["b1", "b2"], True, False, None)
    said = admit(lines, known, 10, free=2, suspect=True)
    assert (said.ids, said.starved) == (["r1", "once", "b1", "x", "b2"], False)


def test_a_claim_carries_a_mebibyte_and_at_least_one_job() -> None:
    large = [InLine(str(n), BYTES - 1, 0) for n in range(3)]
    said = ask([Line("all", large, False)], books(WIDE))
    assert (said.ids, said.more) == (["0"], True)
    said = admit([Line("all", large, False)], books(WIDE), 100, free=100, suspect=True, most=5)
    assert (said.ids, said.more) == ([], True)
    assert ask([Line("all", [InLine("huge", 2 * BYTES, 0)], False)], books(WIDE)).ids == ["huge"]


# ── all of it ────────────────────────────────────────────────────────────────────────────────────────────────────────


class World(NamedTuple):
    rules: list[Rule]
    jobs: list[str]  # the lane of each
    steps: list[tuple[int, int, int]]  # µs that pass, jobs that end, room


names = ("all", "k\t1", "k\t2", "r\t1", "r\t2")
lanes = st.sets(st.sampled_from(names), min_size=1, max_size=3).map(lambda found: "\n".join(sorted(found)))
some = st.none() | st.integers(1, 4)
worlds = st.builds(
    World,
    st.tuples(some, some, st.integers(1, 50), st.integers(1, 4)).map(
        lambda n: [Rule("all", n[0], None, 1), Rule("k", n[1], None, 1), Rule("r", None, n[2] * 1000, n[3])]
    ),
    st.lists(lanes, max_size=60),
    st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 4), st.integers(1, 6)), max_size=60),
)


@given(worlds)
def test_no_bucket_is_ever_over_and_nobody_waits_without_a_reason(world: World) -> None:
    rules = {rule.name: rule for rule in world.rules}
    waiting: dict[str, deque[str]] = {}
    numbers = count()
    for lane in world.jobs:
        waiting.setdefault(lane, deque()).append(str(next(numbers)))
    home = {id: lane for lane, ids in waiting.items() for id in ids}
    running: deque[str] = deque()
    tats: dict[str, int] = {}
    starts: dict[str, list[int]] = {}
    now = NOW
    for passed, over, room in world.steps:
        now += passed
        for _ in range(min(over, len(running))):
            running.popleft()
        lines = [Line(lane, [InLine(id, 1, 0) for id in ids], False) for lane, ids in sorted(waiting.items()) if ids]
        known = Books(now, Counter(home[id] for id in running), tats, rules)
        said = admit(lines, known, room, free=room, suspect=False)
        assert len(said.ids) <= room
        tats |= said.tats
        for id in said.ids:
            assert waiting[home[id]].popleft() == id  # in their order
            running.append(id)
            for bucket in buckets_of(home[id]):
                starts.setdefault(bucket, []).append(now)
        held = Counter(bucket for id in running for bucket in buckets_of(home[id]))
        for bucket, jobs in held.items():
            most = rules[rule_name(bucket)].concurrency
            assert most is None or jobs <= most
        if len(said.ids) < room:  # everyone who waits now has a reason, and a moment if time alone is in the way
            moments = []
            for lane, ids in waiting.items():
                if not ids:
                    continue
                under = [(name, rules[rule_name(name)]) for name in buckets_of(lane)]
                full = any(rule.concurrency is not None and held[name] >= rule.concurrency for name, rule in under)
                at = max(starts_at(rule, tats.get(name, 0), now) for name, rule in under)
                assert full or at > now
                if not full:
                    moments.append(at)
            assert said.again_at == min(moments, default=None)
            assert not said.more
    for bucket, found in starts.items():
        rule = rules[rule_name(bucket)]
        if rule.spacing is not None:
            for first in range(len(found)):
                for last in range(first, len(found)):
                    assert last - first + 1 <= (found[last] - found[first]) // rule.spacing + rule.burst
