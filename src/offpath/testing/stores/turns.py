"""Jobs under a limit, beside each other: rates, whose turn it is, and several workers at once."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...core.job import Job
from ...core.limits import Rule, buckets_of
from ...core.options import SECOND
from ...ports import NewJob, Statement, Store, Verb
from .fixtures import Hire, Make
from .kit import Hand, ask, expire, lose, new_job, now, perform, put, shown, watched
from .limits import HOUR, declare, lanes, look, one_at_a_time

# ── rates ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rate_lets_its_burst_start_and_tells_when_the_next_may(store: Store, hand: Hand) -> None:
    declare(store, Rule("r", None, HOUR, 3))
    put(store, *(new_job(lane="r") for _ in range(5)))
    before = now()
    got, seen = look(hand)
    after = now()
    assert len(got) == 3
    assert seen.again_at is not None
    assert before + HOUR <= seen.again_at <= after + HOUR + SECOND
    again = look(hand)
    assert again[0] == []
    assert again[1].again_at == seen.again_at
    assert hand.finish(*got) == ["applied"] * 3
    assert look(hand)[0] == []  # starts are counted, not ends


def test_a_start_stays_counted_whatever_becomes_of_its_worker(store: Store, hire: Hire) -> None:
    declare(store, Rule("r", None, HOUR, 2))
    put(store, *(new_job(lane="r") for _ in range(4)))
    dead, alive = hire(-1.0), hire()
    assert len(look(dead)[0]) == 2
    lose(dead, alive)
    assert expire(store, dead.id) == 2
    assert look(alive)[0] == []


def test_moments_that_are_past_are_forgotten_and_others_are_not(store: Store, hand: Hand) -> None:
    declare(store, Rule("r", None, HOUR, 1), Rule("s", None, 1, 1))
    put(store, new_job(lane="r"), new_job(lane="r"), new_job(lane="s"))
    assert len(look(hand)[0]) == 2

    def moments() -> Verb[list[str]]:
        found: list[str] = yield Statement("select bucket from offpath_rate", {}, lambda rows: [r[0] for r in rows])
        return found

    def age() -> Verb[int]:
        sql = "update offpath_rate set tat = tat - 120000000 where bucket = 's'"
        done: int = yield Statement(sql, {}, lambda rows: rows[0][0])
        return done

    perform(store, store.verbs.prune(100))
    assert sorted(ask(store, moments())) == ["r", "s"]  # a clock may be set back by a little
    assert perform(store, age()) == 1
    perform(store, store.verbs.prune(100))
    assert ask(store, moments()) == ["r"]
    assert look(hand)[0] == []


# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lanes_take_turns_however_long_they_are(store: Store, hand: Hand) -> None:
    """A tenant with many jobs and tenants with few: whoever has some is served once in a round."""
    declare(store, one_at_a_time("t/x", 100))
    put(store, *(new_job(lane="t/x\tbig") for _ in range(300)))
    put(store, *(new_job(lane=f"t/x\t{n}") for n in range(5) for _ in range(3)))
    order: list[str | None] = []
    cursors: Any = {}
    while len(order) < 18:
        got, seen = look(hand, 4, cursors=cursors)
        cursors = seen.cursors
        order += lanes(got)
        assert set(hand.finish(*got)) == {"applied"}
    for start in range(0, 18, 6):
        assert len(set(order[start : start + 6])) == 6


def test_one_place_at_a_time_goes_round_all_lanes(store: Store, hire: Hire) -> None:
    """More lanes than one look takes in, a limit over all of them, and room for one: nobody is passed by."""
    declare(store, one_at_a_time("all", 1))
    names = [f"all\nk\t{n:03}" for n in range(40)]
    declare(store, one_at_a_time("k", 1))
    put(store, *(new_job(lane=lane) for lane in names for _ in range(2)))
    hand, cursors, order = hire(), dict[str, str](), list[str | None]()
    for _ in range(80):
        [job], seen = look(hand, 1, cursors=cursors)
        cursors = dict(seen.cursors)
        order.append(job.lane)
        hand.finish(job)
    assert order == names + names


def test_lanes_that_are_full_hold_up_nobody(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time("k", 1))
    put(store, *(new_job(lane=f"k\t{n:04}") for n in range(500) for _ in range(2)))
    held, cursors = list[Job](), dict[str, str]()
    while len(held) < 500:
        got, seen = look(hand, 120, cursors=cursors)
        cursors = dict(seen.cursors)
        assert got
        held += got
    assert max(Counter(lanes(held)).values()) == 1
    put(store, new_job(lane="k\t9999"))
    got = list[Job]()
    for _ in range(5):  # as many looks as there are pages of lanes
        got, seen = look(hand, 120, cursors=cursors)
        cursors = dict(seen.cursors)
        if got:
            break
    assert lanes(got) == ["k\t9999"]


# ── several at once: by the database's clock, nothing is ever over ───────────────────────────────────────────────────


def hammer(make: Make, number: int, jobs: int, *, think: Callable[[], None] = lambda: None) -> None:
    """So many workers claim and finish until all jobs have been done."""
    stores = [make() for _ in range(number)]

    def work(store: Store) -> int:
        hand, done, cursors = Hand(store), 0, dict[str, str]()
        idle = 0
        while idle < 2000:
            got, seen = look(hand, 5, cursors=cursors)
            cursors = dict(seen.cursors) or cursors
            think()
            if got:
                done += hand.finish(*got).count("applied")
                idle = 0
            elif not ask(store, store.verbs.limited_queues()):
                break
            else:
                idle += 1
                time.sleep(0.002)  # everything is somebody else's now: a look costs more than this
        hand.close()
        return done

    with ThreadPoolExecutor(number) as pool:
        assert sum(pool.map(work, stores)) == jobs


def stamps(store: Store, jobs: Sequence[NewJob]) -> list[tuple[int, int, str]]:
    """(start, end, lane) of each, by the database's clock."""
    found = []
    for new in jobs:
        row = shown(store, new.job.id)
        assert row.started_at is not None
        assert row.finished_at is not None
        assert new.job.lane is not None
        found.append((row.started_at, row.finished_at, new.job.lane))
    return found


def most_at_once(spans: Sequence[tuple[int, int, str]]) -> Counter[str]:
    """A sweep over starts and ends: how many ran at once, by bucket. An end comes before a start of the same moment."""
    moves = [(start, 1, lane) for start, _, lane in spans] + [(end, 0, lane) for _, end, lane in spans]
    held, most = Counter[str](), Counter[str]()
    for _, begins, lane in sorted(moves):
        for name in buckets_of(lane):
            held[name] += 1 if begins else -1
            most[name] = max(most[name], held[name])
    assert not any(held.values())
    return most


def test_a_sweep_over_starts_and_ends_finds_no_limit_exceeded(make: Make) -> None:
    store = make()
    declare(store, one_at_a_time("all", 5), one_at_a_time("k", 2))
    jobs = [watched(lane=f"all\nk\t{n % 4}") for n in range(120)]
    put(store, *jobs)
    hammer(make, 4, len(jobs), think=lambda: time.sleep(0.001))  # so that attempts overlap at all
    most = most_at_once(stamps(store, jobs))
    assert most["all"] <= 5
    assert max(most[f"k\t{n}"] for n in range(4)) <= 2


def test_in_no_window_start_more_than_the_rate_allows(make: Make) -> None:
    store, spacing, burst = make(), 4_000, 3
    declare(store, Rule("r", None, spacing, burst))
    jobs = [watched(lane="r") for _ in range(60)]
    put(store, *jobs)
    hammer(make, 4, len(jobs))
    starts = sorted(start for start, _, _ in stamps(store, jobs))
    for first in range(len(starts)):
        for last in range(first + 1, len(starts)):
            assert last - first + 1 <= (starts[last] - starts[first]) // spacing + burst
