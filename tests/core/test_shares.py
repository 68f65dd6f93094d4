"""`core.shares`: each queue has its share over time, whatever the size of the claims."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core.job import Job
from offpath.core.shares import Accounts, Weighted, divide
from offpath.ports import Verb, Want
from offpath.stores.exchange import by_weight

from ..stores.kit import new_job

NAMES = ("busy", "rare", "critical", "normal", "low")
JOBS = {name: new_job(queue=name).job for name in ("q0", "q1", "q2", "q3", "q4", "q5", "a", "b", *NAMES)}

Lines = dict[str, int]
"""How many jobs stand in each queue."""


def claim(
    lines: Lines, queues: Weighted, accounts: Accounts, limit: int, cut: int = 1_000_000
) -> tuple[Counter[str], int]:
    """What one claim took of each queue, and how many statements it was; no answer has more than `cut` jobs."""
    asked = 0

    def take(queue: str, share: int, free: int, suspect: bool) -> Verb[tuple[list[Job], bool]]:
        nonlocal asked
        asked += 1
        size = min(share, lines[queue], cut)
        lines[queue] -= size
        return [JOBS[queue]] * size, size == share or lines[queue] > 0
        yield  # a verb that says nothing

    verb = by_weight(Want(tuple(queues), "[]", limit, limit, True), take, accounts)
    try:
        next(verb)
    except StopIteration as end:
        return Counter(job.queue for job in end.value[0]), asked
    raise AssertionError("no statement is waited for here")


weights = st.lists(st.integers(1, 1000) | st.integers(1, 4), min_size=1, max_size=6).map(
    lambda found: [(f"q{n}", weight) for n, weight in enumerate(found)]
)


@given(weights, st.lists(st.integers(1, 40) | st.just(1), min_size=1, max_size=60))
def test_with_all_queues_full_none_is_ever_far_from_its_share(queues: Weighted, sizes: list[int]) -> None:
    lines = {name: 1_000_000 for name, _ in queues}
    accounts, taken, total = Accounts(), Counter[str](), sum(weight for _, weight in queues)
    for size in sizes:
        came, asked = claim(lines, queues, accounts, size)
        assert came.total() == size
        assert asked <= len(queues)
        taken += came
        for name, weight in queues:
            fair = taken.total() * weight / total
            assert taken[name] - fair < 1 + 1e-6  # nobody is more than one ahead,
            assert fair - taken[name] < max(1, len(queues) - 1) + 1e-6  # so nobody is further behind than that


@given(weights, st.integers(0, 1 << 32))
def test_whoever_has_work_is_served_whatever_the_others_do(queues: Weighted, seed: int) -> None:
    """One queue is always full; the others have work now and then, and answers may be cut short."""
    accounts, total, pick = Accounts(), sum(weight for _, weight in queues), random.Random(seed)
    [patient, weight] = queues[0]
    waited = 0
    for _ in range(60):
        lines = {name: pick.choice([0, 0, 1, 3, 1000]) for name, _ in queues} | {patient: 1000}
        size = pick.randint(1, 10)
        came, _ = claim(lines, queues, accounts, size, pick.choice([1, 2, 1000]))
        assert all(abs(owed) <= size + len(queues) for owed in accounts.owed.values())
        waited = 0 if came[patient] else waited + came.total()
        assert waited <= 2 * len(queues) * total / weight + 1


@given(weights, st.integers(1, 50), st.integers(0, 5))
def test_what_the_others_do_not_have_goes_to_whoever_has(queues: Weighted, size: int, claims: int) -> None:
    """A lone job comes with the first claim that has room for all, and nothing is left free while there is work."""
    accounts = Accounts()
    lines = {name: 0 for name, _ in queues} | {queues[-1][0]: 1_000_000}
    for _ in range(claims):
        assert claim(lines, queues, accounts, size)[0].total() == size
    lines = {name: 1 for name, _ in queues}
    assert claim(lines, queues, accounts, len(queues))[0].total() == len(queues)


def test_an_empty_queue_saves_nothing_up() -> None:
    queues = [("busy", 1), ("rare", 1)]
    accounts, lines = Accounts(), {"busy": 10_000, "rare": 0}
    for _ in range(100):
        claim(lines, queues, accounts, 1)
    lines["rare"] = 100
    came = Counter[str]()
    for _ in range(10):
        came += claim(lines, queues, accounts, 1)[0]
    assert came == {"busy": 5, "rare": 5}


def test_answers_that_are_cut_short_change_no_proportion() -> None:
    queues = [("a", 1), ("b", 3)]
    accounts, lines, came = Accounts(), {"a": 10_000, "b": 10_000}, Counter[str]()
    for _ in range(100):
        came += claim(lines, queues, accounts, 1, cut=1)[0]
    assert came == {"a": 25, "b": 75}


@pytest.mark.parametrize(("empty", "statements"), [((), 3), (("low",), 3), (("critical", "low"), 3)])
def test_a_claim_that_asks_all_costs_one_statement_per_queue(empty: tuple[str, ...], statements: int) -> None:
    """Once it is known who is empty; those are asked first, and what they do not have is divided once."""
    queues = [("critical", 6), ("low", 1), ("normal", 3)]
    accounts = Accounts()
    lines = {name: 0 if name in empty else 10_000 for name, _ in queues}
    claim(lines, queues, accounts, 20)
    assert claim(lines, queues, accounts, 20)[1] == statements


def test_the_heavier_comes_first_and_one_queue_is_asked_once() -> None:
    assert divide([("a", 1), ("z", 1000)], {"a": 0.0, "z": 0.0}, 1) == [("z", 1)]
    accounts, lines = Accounts(), {"a": 5}
    assert claim(lines, [("a", 7)], accounts, 5) == (Counter(a=5), 1)
    assert claim(lines, [("a", 7)], accounts, 5) == (Counter(), 1)
