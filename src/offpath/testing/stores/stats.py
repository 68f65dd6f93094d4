"""How things go: counts of what ended, samples of queues, workers, and how full all of it is."""

from __future__ import annotations

import json

from ...core.alerts import AlertRow
from ...core.job import State
from ...core.options import SECOND
from ...core.outcome import Errored, error
from ...core.stats import APART, FRESH, MINUTE, RECENT, ROLLED, Line, Sample, with_totals
from ...ports import Statement, Store, Verb
from ...ports.stats import Depth
from .fixtures import Hire, Make
from .kit import HOUR, Hand, ask, lose, new_job, now, perform, put
from .schedules import a_row, keep

AT = 1_800_000_000 * SECOND // ROLLED * ROLLED
BOOM = error("raised", "Boom")


def _line(at: int = AT, queue: str = "default", task: str = "mail", n: int = 1) -> Line:
    return Line(at, queue, task, n, 2 * n, 3 * n, 4 * n, 5 * n, 6 * n, {3: n, 70: n}, {0: 2 * n})


def _count(store: Store, source: str, *lines: Line) -> None:
    perform(store, store.verbs.count_ended(source, lines))


def _ended(store: Store, since: int = AT, queue: str | None = None, task: str | None = None) -> list[Line]:
    return sorted(ask(store, store.verbs.ended(since, queue, task)), key=lambda one: one[:4])


# ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_counted_comes_back(store: Store) -> None:
    hard = _line(task="a 'task' \" \\ : %s \U0001f4a1", queue="é")
    _count(store, "one", _line(), hard)
    assert _ended(store) == sorted([_line(), hard], key=lambda one: one[:4])
    assert _ended(store, queue="é") == [hard]
    assert _ended(store, task="mail") == [_line()]
    assert _ended(store, AT + 1) == []
    assert _ended(store, queue="é", task="mail") == []


def test_said_twice_it_counts_once_and_two_processes_add_up(store: Store) -> None:
    _count(store, "one", _line(n=1))
    _count(store, "one", _line(n=1))  # the answer had been lost
    _count(store, "one", _line(n=3))
    _count(store, "other", _line(n=2))
    assert _ended(store) == [_line(n=2), _line(n=3)]
    assert ask(store, store.verbs.recent(AT)) == {"default": (5 * (1 + 2 + 3 + 4), AT)}
    assert ask(store, store.verbs.recent(AT + 1)) == {}


def test_the_rate_of_each_queue_begins_with_what_first_ended(store: Store) -> None:
    _count(store, "one", _line(AT + MINUTE), _line(AT + 2 * MINUTE, n=2), _line(AT, "slow"))
    assert ask(store, store.verbs.recent(AT)) == {"default": (30, AT + MINUTE), "slow": (10, AT)}
    assert ask(store, store.verbs.recent(AT + 2 * MINUTE)) == {"default": (20, AT + 2 * MINUTE)}


def _roll(store: Store, at: int) -> None:
    while perform(store, store.verbs.roll_stats(at)):
        pass


def _all(store: Store, since: int) -> list[Line]:
    return sorted(
        (line for task in ("mail", "other") for line in _ended(store, since, None, task)), key=lambda one: one[:4]
    )


def test_minutes_that_are_past_become_fives_and_nothing_is_lost(store: Store) -> None:
    for minute in range(10):
        _count(store, "one", _line(AT + minute * MINUTE), _line(AT + minute * MINUTE, task="other"))
        _count(store, "two", _line(AT + minute * MINUTE, n=2))
    soon = AT + MINUTE + APART
    assert perform(store, store.verbs.roll_stats(soon - 1)) == 0, "not yet"
    assert perform(store, store.verbs.roll_stats(soon)) == 3, "what processes have counted apart becomes one"
    assert perform(store, store.verbs.roll_stats(soon)) == 0
    assert _all(store, AT)[:2] == [_line(n=3), _line(task="other")]
    late = AT + ROLLED + FRESH
    _roll(store, late - 1)
    assert len(_all(store, AT)) == 20, "minutes are still minutes"
    _roll(store, late)
    assert _all(store, AT)[:2] == [_line(n=15), _line(task="other", n=5)]
    assert len(_all(store, AT)) == 2 + 10
    _count(store, "three", _line(AT + MINUTE))  # it had not reached the store in all that time
    _roll(store, late + ROLLED)
    assert _all(store, AT) == [
        _line(n=16),
        _line(task="other", n=5),
        _line(AT + ROLLED, n=15),
        _line(AT + ROLLED, task="other", n=5),
    ]


def test_what_a_process_says_with_sums_is_read_as_sums(store: Store) -> None:
    lines = [_line(), _line(task="other", n=2), _line(queue="slow", n=4)]
    _count(store, "one", *with_totals(lines, MINUTE))
    assert _ended(store) == [_line(queue="", task="", n=7)]
    assert _ended(store, queue="default") == [_line(task="", n=3)]
    assert _ended(store, task="other") == [_line(task="other", n=2)]
    _count(store, "older", _line(n=8))  # a version that says no sums
    assert _ended(store) == [_line(queue="", task="", n=7), _line(n=8)]
    _roll(store, AT + MINUTE + APART)
    assert _ended(store) == [_line(queue="", task="", n=15)]


def test_what_is_added_up_has_the_sums_of_each_queue_and_of_all(store: Store) -> None:
    _count(store, "one", _line(), _line(task="other", n=2), _line(queue="slow", n=4))
    assert sum(line.succeeded for line in _ended(store)) == 7, "before anything is added up"
    late = AT + ROLLED + FRESH
    for at in (AT + MINUTE + APART, late, AT + HOUR + RECENT + HOUR):
        _roll(store, at)
        [all_] = _ended(store, 0)
        assert all_[1:] == _line(queue="", task="", n=7)[1:]
        [mine] = _ended(store, 0, "default")
        assert mine[1:] == _line(task="", n=3)[1:]
        assert [line.succeeded for line in _ended(store, 0, None, "mail")] == [1, 4]
    _count(store, "two", _line(n=8))
    assert sum(line.succeeded for line in _ended(store, 0)) == 15, "what came since is not left out"
    _roll(store, AT + HOUR + RECENT + HOUR)
    assert sum(line.succeeded for line in _ended(store, 0)) == 15
    assert sum(line.succeeded for line in _ended(store, 0, "slow")) == 4
    assert ask(store, store.verbs.recent(0)).keys() == {"default", "slow"}


def test_a_day_later_they_become_hours(store: Store) -> None:
    start = AT // HOUR * HOUR
    for minute in range(0, 120, 20):
        _count(store, "one", _line(start + minute * MINUTE))
    late = start + 2 * HOUR + RECENT
    _roll(store, late)
    assert _all(store, start) == [_line(start, n=3), _line(start + HOUR, n=3)]
    _count(store, "two", _line(start))
    _roll(store, late)
    assert _all(store, start) == [_line(start, n=4), _line(start + HOUR, n=3)]


def test_they_are_forgotten_page_by_page(store: Store) -> None:
    for minute in range(5):
        _count(store, "one", _line(AT + minute * MINUTE))
        perform(store, store.verbs.take_sample(AT + minute * MINUTE, [("default", 1, 1, 1)]))
    before = AT + 3 * MINUTE
    for left in (2, 2, 2):  # three minutes of counts, and of samples of the queue and of all
        assert perform(store, store.verbs.forget_stats(before, 2)) == left
    assert perform(store, store.verbs.forget_stats(before, 2)) == 0
    assert [one.at for one in _ended(store)] == [AT + 3 * MINUTE, AT + 4 * MINUTE]
    assert len(ask(store, store.verbs.samples(AT, MINUTE, None))) == 2


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_a_minute_the_first_is_heard(store: Store, make: Make) -> None:
    perform(store, store.verbs.take_sample(AT, [("a", 5, 2, 7 * SECOND), ("b", 1, 0, None)]))
    other = make()
    perform(other, other.verbs.take_sample(AT, [("a", 99, 99, 99), ("c", 1, 1, 1)]))
    assert ask(store, store.verbs.samples(AT, MINUTE, "a")) == [Sample(AT, 5, 2, 7 * SECOND)]
    assert ask(store, store.verbs.samples(AT, MINUTE, None)) == [Sample(AT, 6, 2, 7 * SECOND)]
    assert ask(store, store.verbs.samples(AT, MINUTE, "c")) == []
    perform(store, store.verbs.take_sample(AT + MINUTE, [("a", 3, 2, None)]))
    assert ask(store, store.verbs.sampled(AT)) == {"a": 3, "b": 1}
    assert ask(store, store.verbs.sampled(AT + MINUTE)) == {"a": 3}


def test_of_a_longer_step_the_most_is_told(store: Store) -> None:
    for minute, ready in enumerate([3, 9, 1, 4]):
        rows = [("a", ready, minute, None), ("b", 10, 0, ready)]
        perform(store, store.verbs.take_sample(AT + minute * MINUTE, rows))
    got = ask(store, store.verbs.samples(AT, 3 * MINUTE, None))
    assert got == [Sample(AT, 19, 2, 9), Sample(AT + 3 * MINUTE, 14, 3, 4)]
    assert ask(store, store.verbs.samples(AT + MINUTE, HOUR, "a")) == [Sample(AT + MINUTE, 9, 3, None)]


# ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_says_what_it_is_and_what_it_holds(store: Store, hire: Hire) -> None:
    one, dead = hire(), hire(-1)
    lose(dead, one)
    at, rows = ask(store, store.verbs.workers())
    assert abs(at - now()) < 60 * SECOND
    by = {row.id: row for row in rows}
    assert set(by) == {one.id, dead.id}
    assert (by[one.id].about, by[one.id].load, by[one.id].label) == (None, None, "test")
    assert json.loads(by[one.id].tasks) == ["mail@1"]
    assert by[one.id].lapsed_at is None
    assert by[dead.id].lapsed_at is not None
    perform(store, store.verbs.describe_worker(one.id, '{"host": "é"}', '{"default": 3}'))
    perform(store, store.verbs.describe_worker("nobody", "{}", "{}"))
    _, rows = ask(store, store.verbs.workers())
    [row] = [row for row in rows if row.id == one.id]
    assert (row.about, row.load) == ('{"host": "é"}', '{"default": 3}')
    assert one.lease.renew(one.id, 60.0), "who is of another version renews as before"


# ── how full it is ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_how_full_queues_are_is_counted_to_a_limit(store: Store) -> None:
    at = now() - 90 * SECOND
    put(
        store,
        *(new_job(queue="a", run_at=at + n) for n in range(5)),
        *(new_job(queue="a", once=True) for _ in range(2)),
        new_job(queue="a", lane="x"),
        *(new_job(queue="a", state=State.SCHEDULED, run_at=now() + HOUR) for _ in range(3)),
        new_job(queue="b", state=State.SCHEDULED, run_at=now() + HOUR),
        *(new_job(queue="c", state=State.WAITING) for _ in range(2)),
    )
    want = [Depth("a", 8, 3, 0, at), Depth("b", 0, 1, 0, None), Depth("c", 0, 0, 2, None), Depth("d", 0, 0, 0, None)]
    assert ask(store, store.verbs.depths(["a", "b", "c", "d"], 100)) == want
    assert ask(store, store.verbs.depths([], 100)) == []
    [some] = ask(store, store.verbs.depths(["a"], 2))
    assert (some.ready, some.scheduled) == (2, 2)
    assert ask(store, store.verbs.filled()) == {"a", "b", "c"}
    total = ask(store, store.verbs.totals(100))
    assert (total.scheduled, total.waiting, total.ready) == (4, 2, 8)
    less = ask(store, store.verbs.totals(2))
    assert (less.scheduled, less.waiting, less.ready) == (2, 2, 2)


def test_dead_letters_that_were_run_again_are_not_outstanding(store: Store, hand: Hand) -> None:
    put(store, *(new_job() for _ in range(5)))
    jobs = hand.claim()
    for job in jobs[:4]:
        hand.say(job, Errored(BOOM, retryable=False))
    hand.finish(jobs[4])
    first, last = min(job.id for job in jobs[:4]), max(job.id for job in jobs[:4])
    perform(store, store.verbs.retry(last, new_job().job.id))
    total = ask(store, store.verbs.totals(100))
    assert (total.failed, total.outstanding) == (4, 3)
    total = ask(store, store.verbs.totals(2))
    assert (total.failed, total.outstanding) == (2, 1), "of the newest only"
    perform(store, store.verbs.delete(first))
    assert ask(store, store.verbs.totals(100)).outstanding == 2


def test_the_next_tick_is_of_those_that_wait_for_their_time(store: Store) -> None:
    at = now()
    every = {"due": at - SECOND, "late": at - HOUR, "over": None, "soon": at + HOUR, "then": at + 2 * HOUR}
    keep(store, *(a_row(name, next_at=next_at) for name, next_at in every.items()))
    keep(store, a_row("paused", paused=True, next_at=at + MINUTE))
    total = ask(store, store.verbs.totals(100))
    assert (total.schedules, total.tick) == ((6, 1, 1), at + HOUR)


def test_an_empty_store_is_empty(store: Store) -> None:
    total = ask(store, store.verbs.totals(100))
    assert total[1:] == (0, 0, 0, 0, 0, (0, 0, 0), (0, 0), None)
    assert ask(store, store.verbs.raised()) == []
    assert ask(store, store.verbs.filled()) == set()


def test_only_alerts_that_ring_are_told(store: Store) -> None:
    def verb() -> Verb[None]:
        for row in ("('b', 1, 5, 7)", "('a', 2, 6, 8)", "('quiet', 2, null, 8)"):
            sql = f"insert into offpath_alert (name, seq, raised_at, value) values {row}"
            yield Statement(sql, {}, lambda rows: None)

    perform(store, verb())
    assert ask(store, store.verbs.raised()) == [("a", 8, 6), ("b", 7, 5)]


def test_an_alert_that_no_living_worker_watches_does_not_ring(store: Store, hire: Hire) -> None:
    """Its rule was renamed: nobody is there to resolve it. Who does not say what it watches may watch it."""
    move = store.verbs.move_alert
    for name in ("renamed", "watched"):
        assert perform(store, move(AlertRow(name, 0, None, 0), 6, 8, None))

    def ringing() -> list[str]:
        return [one.name for one in ask(store, store.verbs.raised())]

    assert ringing() == ["renamed", "watched"], "nobody lives who could say"
    new, old = hire(), hire(-1)
    perform(store, store.verbs.describe_worker(new.id, '{"alerts": ["watched"]}', "{}"))
    assert ringing() == ["renamed", "watched"], "the other one has not said"
    perform(store, store.verbs.describe_worker(old.id, '{"alerts": ["renamed"]}', "{}"))
    assert ringing() == ["renamed", "watched"], "it is late, but not judged dead"
    lose(old, new)
    assert ringing() == ["watched"]
