"""Work enqueued where no driver tells of the commit: looked for until it is seen, and not for ever."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from offpath.errors import StoreUnavailable
from offpath.ports import Enqueued, Hint, Pending
from offpath.stores.borrow import lookout as module
from offpath.stores.borrow.lookout import CREDIT, LONGEST_REST, REST, STEP, Budget, Lookout
from offpath.stores.pending import Result, failed
from tests.stores.callers import Heard
from tests.stores.kit import TIMEOUT

A, B = Hint("work", ("a",)), Hint("work", ("b",))


class Rows:
    """The table, as others see it."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.asked: list[list[str]] = []
        self.down = False
        self._more = threading.Condition()

    def look(self, ids: Sequence[str]) -> Pending[set[str]]:
        with self._more:
            self.asked.append(list(ids))
            self._more.notify_all()
        if self.down:
            return failed(StoreUnavailable("not now"))
        result: Result[set[str]] = Result()
        result.set(self.seen & set(ids))
        return result

    def wait(self, looks: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.asked) >= looks, TIMEOUT), self.asked


@contextmanager
def looking() -> Iterator[tuple[Rows, Heard, Lookout]]:
    rows, heard = Rows(), Heard()
    lookout = Lookout(rows.look, heard.announce)
    try:
        yield rows, heard, lookout
    finally:
        lookout.close()


def new(*ids: str) -> list[Enqueued]:
    return [Enqueued(id, False) for id in ids]


def test_looked_for_until_it_is_seen() -> None:
    with looking() as (rows, heard, lookout):
        lookout.expect(new("a", "a2"), [A])
        rows.wait(3)
        assert heard == []
        rows.seen.add("a")
        heard.wait(1)
        assert heard == [A]
        assert {id for ids in rows.asked for id in ids} == {"a"}, "the others of a call stand or fall with it"
        lookout.expect(new("b"), [B])
        rows.seen.add("b")
        heard.wait(2)
        assert heard == [A, B]


def test_many_are_one_look_and_one_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP", 0.2)  # they come within one
    with looking() as (rows, heard, lookout):
        ids = [str(n) for n in range(100)]
        for id in ids:
            lookout.expect(new(id), [A])
        rows.seen.update(ids)
        rows.wait(1)
        heard.wait(1)
        assert len(rows.asked) < 20
        assert len(heard) < 20


def test_what_stood_before_is_not_looked_for() -> None:
    with looking() as (rows, heard, lookout):
        lookout.expect([Enqueued("a", True)], [A])
        lookout.expect([Enqueued("a", True), Enqueued("b", False)], [B])
        rows.seen.update("ab")
        heard.wait(1)
        assert (heard, rows.asked) == ([B], [["b"]])


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that was rolled back, or stays open."""
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with looking() as (rows, heard, lookout):
        lookout.expect(new("a"), [A])
        rows.wait(1)
        rows.seen.add("b")
        lookout.expect(new("b"), [B])
        heard.wait(1)
        assert [id for ids in rows.asked for id in ids].count("a") == 1
        assert heard == [B]


def test_who_leaves_looks_once_more_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP", 3600.0)
    with looking() as (rows, heard, lookout):
        lookout.expect(new("a"), [A])
        lookout.expect(new("b"), [B])
        rows.seen.add("a")
        lookout.leave(time.monotonic() + TIMEOUT)
        assert (heard, rows.asked) == ([A], [["a", "b"]])
        lookout.leave(time.monotonic() + TIMEOUT)
        assert len(rows.asked) == 1
    held = threading.Event()
    slow = Lookout(lambda ids: failed(StoreUnavailable("too late")) if held.wait(TIMEOUT) else rows.look(ids), print)
    slow.expect(new("a"), [A])
    slow.leave(time.monotonic())
    held.set()


def test_looks_become_rare() -> None:
    """Each a quarter as old again as the one before: the 16th comes after 290 ms or more, not after 80."""
    with looking() as (rows, _, lookout):
        start = time.monotonic()
        lookout.expect(new("a"), [A])
        rows.wait(16)
        assert time.monotonic() - start > 0.25


def test_a_few_looks_are_not_kept_apart_by_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that took 6 ms was told of 150 ms later, when the first look had missed it."""
    monkeypatch.setattr(module, "REST", 1e9)
    monkeypatch.setattr(module, "LONGEST_REST", 3600.0)
    with looking() as (rows, heard, lookout):
        lookout.expect(new("a"), [A])
        rows.wait(3)
        rows.seen.add("a")
        heard.wait(1)


def test_where_looks_never_end_they_take_little_of_the_time() -> None:
    budget, now, took, looks = Budget(), 1000.0, 0.005, 0
    while now < 1060.0:
        now += took
        now += max(STEP, budget.rest(now, took))
        looks += 1
    assert looks * took < CREDIT + 60.0 / REST + 0.1
    assert budget.rest(now + took, took) == pytest.approx(REST * took, abs=0.02)
    assert budget.rest(now + 1, 1.0) == LONGEST_REST
    assert budget.rest(now + 60, took) == 0.0, "it has been idle"


def test_a_store_that_cannot_be_read_leaves_it_to_the_poll() -> None:
    with looking() as (rows, heard, lookout):
        rows.down = True
        lookout.expect(new("a"), [A])
        rows.wait(1)
        rows.down = False
        rows.seen.update("ab")
        lookout.expect(new("b"), [B])
        heard.wait(1)
        assert heard[-1] == B


def test_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    with looking() as (rows, heard, lookout):
        lookout.expect(new("a"), [A])
        lookout.expect(new("b"), [B])
        rows.seen.update("ab")
        heard.wait(1)
        assert (heard, rows.asked[0]) == ([A], ["a"])


def test_after_close_it_begins_again() -> None:
    with looking() as (rows, heard, lookout):
        lookout.expect(new("a"), [A])
        lookout.close()
        rows.seen.update("ab")
        lookout.expect(new("b"), [B])
        heard.wait(1)
        lookout.close()
        lookout.close()
        assert heard == [B]
        assert "offpath-lookout" not in {thread.name for thread in threading.enumerate()}
