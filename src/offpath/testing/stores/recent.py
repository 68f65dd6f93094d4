"""What happened lately: ends, attempts, arrivals, what runs, what was sent; in order, page by page."""

from __future__ import annotations

from ...core.ids import at_moment
from ...core.job import State
from ...core.options import SECOND
from ...core.outcome import Canceled, Done, Errored, Snoozed, error
from ...ports import Store
from ...ports.recent import EndRow, LiveRow
from ...ports.webhooks import NewAttempt, NewDelivery
from .kit import POLICY, Hand, ask, ended, fresh, live, new_job, now, perform, put, watched

BROKE = Errored(error("raised", "Boom", exception="ValueError"))


def ends(store: Store, since: int, after: str = "", limit: int = 100, **which: str) -> list[EndRow]:
    return ask(store, store.verbs.ended_since(since, after, limit, **which))


def test_what_ended_comes_in_the_order_it_ended_page_by_page(store: Store, hand: Hand) -> None:
    put(store, *(new_job() for _ in range(5)))
    claimed = hand.claim()
    for job in reversed(claimed):
        hand.finish(job)
    all_ = ends(store, 0)
    assert [row.id for row in all_] == [job.id for job in reversed(claimed)]
    assert [row.finished_at for row in all_] == sorted(row.finished_at for row in all_)
    seen: list[EndRow] = []
    since, after = 0, ""
    while page := ends(store, since, after, 2):
        seen += page
        since, after = page[-1].finished_at, page[-1].id
    assert seen == all_
    assert ends(store, all_[2].finished_at) == all_[2:]
    assert ends(store, now() + SECOND) == []


def test_an_end_says_how(store: Store, hand: Hand) -> None:
    put(store, watched(), new_job(queue="b", task="mail", key="k"), new_job())
    seen, failed, canceled = sorted(hand.claim(queues=(("default", 1), ("b", 1))), key=lambda job: job.id)
    hand.finish(seen)
    hand.say(failed, BROKE, POLICY._replace(max_attempts=1))
    hand.say(canceled, Canceled("no"))
    one, two, three = ends(store, 0)
    assert (one.id, one.task, one.queue, one.state, one.attempt) == (seen.id, "mail", "default", State.SUCCEEDED, 1)
    assert one.started_at is not None
    assert one.started_at <= one.finished_at
    assert (two.state, two.queue, two.started_at) == (State.FAILED, "b", None)
    assert '"ValueError"' in (two.error or "")
    assert (three.state, three.fence) == (State.CANCELED, 1)
    assert [row.id for row in ends(store, 0, queue="b")] == [failed.id]
    assert ends(store, 0, task="another") == []
    of = ask(store, store.verbs.ended_of([failed.id, canceled.id, fresh()]))
    assert {row.id: row for row in of} == {two.id: two, three.id: three}
    assert ended(store, failed.id).finished_at == two.finished_at


def test_what_runs_and_for_whom(store: Store, hand: Hand) -> None:
    put(store, watched(), new_job(queue="b"), new_job(queue="c"))
    hand.claim(queues=(("default", 1), ("b", 1)))
    rows = ask(store, store.verbs.now_running(10))
    assert sorted(row.queue for row in rows) == ["b", "default"]
    assert {(row.worker, row.label, row.fence, row.canceling) for row in rows} == {(hand.id, "test", 1, False)}
    assert [row.started_at is not None for row in rows if row.queue == "default"] == [True]
    perform(store, store.verbs.cancel(rows[0].id, "no"))
    assert ask(store, store.verbs.now_running(1))[0].canceling
    assert [row.queue for row in ask(store, store.verbs.now_running(10, queue="b"))] == ["b"]
    assert ask(store, store.verbs.now_running(10, task="another")) == []


def test_who_has_arrived_and_where_they_are(store: Store, hand: Hand) -> None:
    before = at_moment(now() - 60 * SECOND, "0000-0000-000000000000")
    first, second = new_job(), new_job(state=State.SCHEDULED, run_at=now() + 60 * SECOND, queue="b")
    put(store, first, second)
    rows = ask(store, store.verbs.arrived(before, 10))
    assert [(row.id, row.state) for row in rows] == [(first.job.id, State.READY), (second.job.id, State.SCHEDULED)]
    assert ask(store, store.verbs.arrived(first.job.id, 10)) == rows[1:]
    assert ask(store, store.verbs.arrived("", 1)) == rows[:1]
    assert ask(store, store.verbs.arrived("", 10, queue="b")) == rows[1:]
    job = hand.claim_one()
    hand.say(job, Snoozed(60))
    (row,) = ask(store, store.verbs.live_of([job.id, fresh()]))
    assert row == LiveRow(job.id, "mail", "default", State.SCHEDULED, 1, 1, live(store, job.id).run_at, None)


def test_attempts_say_whether_their_job_comes_again(store: Store, hand: Hand) -> None:
    put(store, new_job(), new_job(queue="b"))
    queues = (("default", 1), ("b", 1))
    for job in hand.claim(queues=queues):
        hand.say(job, BROKE, POLICY._replace(max_attempts=1 if job.queue == "b" else 3))
    rows = ask(store, store.verbs.tried(0, "", 10))
    assert sorted((row.queue, row.live, row.attempt, row.ended, row.last) for row in rows) == [
        ("b", False, 1, "errored", 1), ("default", True, 1, "errored", 1),
    ]  # fmt: skip
    again = next(row for row in rows if row.live)
    assert (again.state, again.run_at > again.ended_at, again.task) == (State.SCHEDULED, True, "mail")
    assert [row.ended_at for row in rows] == sorted(row.ended_at for row in rows)
    assert ask(store, store.verbs.tried(rows[0].ended_at, rows[0].job, 10)) == rows[1:]
    assert ask(store, store.verbs.tried(0, "", 10, queue="b")) == [row for row in rows if row.queue == "b"]
    assert ask(store, store.verbs.tried(now() + SECOND, "", 10)) == []


def test_what_was_sent(store: Store) -> None:
    new = NewDelivery(fresh(), None, None, "endpoint.test", 0, "{}")
    perform(store, store.verbs.send([new]))
    made = NewAttempt(fresh(), now(), 503, 1_200, "503 Service Unavailable", "")
    perform(store, store.verbs.record(new.id, made, lambda row, endpoint, at: (row, endpoint)))
    (row,) = ask(store, store.verbs.sent("", 10))
    assert (row.id, row.delivery, row.endpoint, row.status, row.latency) == (made.id, new.id, None, 503, 1_200)
    assert (row.event, row.error, row.state) == ("endpoint.test", "503 Service Unavailable", 0)
    assert ask(store, store.verbs.sent(made.id, 10)) == []


def test_a_job_that_is_done_at_once_is_told_by_its_end_alone(store: Store, hand: Hand) -> None:
    put(store, new_job())
    job = hand.claim_one()
    hand.say(job, Done(None))
    assert ask(store, store.verbs.arrived("", 10)) == []
    assert ask(store, store.verbs.tried(0, "", 10)) == []
    assert [row.id for row in ends(store, 0)] == [job.id]
