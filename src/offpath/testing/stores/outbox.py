"""The outbox: events in lines, in the order of their commits within a key; and what a job's end is answered with."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...core import answers, lifecycle
from ...core.job import State
from ...core.options import SECOND
from ...core.outbox import ANSWER, QUEUE, TASK, shard_of
from ...core.outcome import Canceled, Done, Errored, error
from ...core.policy import Policy, Retention
from ...ports import JobFilter, NewJob, Store
from ...ports.outbox import NewEvent, OutboxRow
from .fixtures import Hire, Make
from .flowmachine import graph, new_flow, part
from .inbox import change_rows
from .kit import HOUR, TIMEOUT, Hand, ask, ended, expire, fresh, live, lose, new_job, now, perform, put, watched

ASKED = '{"reply_to": "orders \\"done\\"", "correlation": "ä 7"}'


def _event(id: str, key: str | None = None, **given: Any) -> NewEvent:
    shard = shard_of(key, 0.0)
    args = json.dumps({"event": id, "shard": shard})
    fields: dict[str, Any] = {"task": TASK, "args": args, "queue": QUEUE} | given
    return NewEvent(id, shard, key, "events", "it.happened", False, False, f'{{"id": "{id}"}}', new_job(**fields))


def _publish(store: Store, *events: NewEvent) -> list[str]:
    made = perform(store, store.verbs.publish(events))
    assert [one.existing for one in made] == [False] * len(events)
    return [one.id for one in made]


def _line(store: Store, shard: int = 0, limit: int = 100) -> list[OutboxRow]:
    return ask(store, store.verbs.line(shard, fresh(), limit)).rows


def _ids(found: list[OutboxRow]) -> list[str]:
    return [row.id for row in found]


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_and_its_job_are_written_together(store: Store) -> None:
    given = _event("é'1", message_key := "org:\"1'")
    plain = _event("2", "other")._replace(direct=True, plain=True, address="q'", subject="", message='{"a": "☃"}')
    one, two = _publish(store, given, plain)
    [row] = [row for row in _line(store, given.shard) if row.key == message_key]
    assert row[1:] == ("é'1", one, message_key, "events", "it.happened", False, False, given.message, True)
    [row] = [row for row in _line(store, plain.shard) if row.key == "other"]
    assert row[1:] == ("2", two, "other", "q'", "", True, True, '{"a": "☃"}', True)
    assert live(store, one).task == TASK
    count, since = ask(store, store.verbs.backlog())
    assert count == 2
    assert since is not None
    assert ask(store, store.verbs.vitals([])).outbox == (2, since)


def test_events_of_one_call_keep_their_order_within_a_key(store: Store) -> None:
    keys = [f"k{n}" for n in range(7)]
    _publish(store, *(_event(f"{n:03}", keys[n % 7]) for n in range(70)))
    for key in keys:
        found = [row.id for row in _line(store, shard_of(key, 0.0)) if row.key == key]
        assert found == sorted(found)
        assert len(found) == 10


def test_a_line_is_read_from_its_head(store: Store) -> None:
    _publish(store, *(_event(str(n)) for n in range(5)))
    assert _ids(_line(store, limit=2)) == ["0", "1"]
    assert _line(store, 1) == []
    first = _line(store, limit=2)
    assert perform(store, store.verbs.confirmed(first)) == 2
    assert _ids(_line(store)) == ["2", "3", "4"]
    assert perform(store, store.verbs.confirmed(first)) == 0  # by a late worker: nothing of others' is lost
    assert _ids(_line(store)) == ["2", "3", "4"]


def test_a_number_is_never_given_twice(store: Store) -> None:
    for n in range(3):
        _publish(store, _event(str(n)))
        [row] = _line(store)
        perform(store, store.verbs.confirmed([row]))
        _publish(store, _event(f"{n} again"))
        [later] = _line(store)
        assert later.seq > row.seq
        perform(store, store.verbs.confirmed([later]))


def test_what_is_confirmed_ends_the_jobs_that_have_not_begun(store: Store, hand: Hand) -> None:
    later = _event("3", state=State.SCHEDULED, run_at=now() + HOUR)
    one, two, three = _publish(store, _event("1"), _event("2"), later)
    running = hand.claim_one(queues=((QUEUE, 1),), tasks=f'["{TASK}@1"]')
    assert running.id == one
    perform(store, store.verbs.confirmed(_line(store)))
    assert live(store, one).state is State.RUNNING
    assert {ended(store, id).state for id in (two, three)} == {State.SUCCEEDED}
    assert hand.finish(running) == ["applied"]
    assert ask(store, store.verbs.backlog()) == (0, None)


def test_an_event_whose_job_has_ended_is_seen_to_be_dead(store: Store) -> None:
    one, two = _publish(store, _event("1"), _event("2"))
    perform(store, store.verbs.cancel(one, "not this one"))
    assert [(row.id, row.live) for row in _line(store)] == [("1", False), ("2", True)]
    perform(store, store.verbs.put_aside([(_line(store)[0], None)]))
    assert _ids(_line(store)) == ["2"]
    assert ask(store, store.verbs.backlog())[0] == 1
    assert live(store, two).state is State.READY


def test_what_is_refused_is_put_aside_and_its_job_is_due(store: Store) -> None:
    later = _event("1", state=State.SCHEDULED, run_at=now() + HOUR)
    one, _ = _publish(store, later, _event("2"))
    perform(store, store.verbs.put_aside([(_line(store)[0], "too 'large'")]))
    assert _ids(_line(store)) == ["2"]
    assert live(store, one).run_at <= now() + SECOND
    said = ask(store, store.verbs.line(0, one, 10))
    assert said.own is not None
    assert said.own[1:] == (True, "too 'large'")


def test_what_was_put_aside_comes_back_to_its_old_place(store: Store, hand: Hand) -> None:
    one, _ = _publish(store, _event("1"), _event("2"))
    perform(store, store.verbs.put_aside([(_line(store)[0], "no")]))
    again = fresh()
    assert not perform(store, store.verbs.take_back("1", 0, again))  # its job lives
    perform(store, store.verbs.cancel(one, "it has ended"))
    assert not perform(store, store.verbs.take_back("1", 3, again))
    assert not perform(store, store.verbs.take_back("2", 0, again))
    assert perform(store, store.verbs.take_back("1", 0, again))
    assert [(row.id, row.job) for row in _line(store)] == [("1", again), ("2", _line(store)[1].job)]
    assert ask(store, store.verbs.line(0, again, 1)).own == (_line(store)[0].seq, False, None)


def test_what_is_aside_is_forgotten_with_its_job(store: Store) -> None:
    one, two, _ = _publish(store, _event("1"), _event("2"), _event("3"))
    perform(store, store.verbs.put_aside([(row, None) for row in _line(store)]))
    perform(store, store.verbs.cancel(one, "over"))
    perform(store, store.verbs.cancel(two, "over"))
    while perform(store, store.verbs.prune(100)):
        pass
    assert perform(store, store.verbs.take_back("1", 0, fresh()))  # one can still be asked for
    assert perform(store, store.verbs.delete(two))  # and its data with it
    assert not ask(store, store.verbs.in_outbox("2", 0))
    assert not perform(store, store.verbs.take_back("2", 0, fresh()))


def test_what_is_aside_is_looked_at_only_when_it_is_time(store: Store) -> None:
    one, two, three = _publish(store, _event("1"), _event("2"), _event("3"))
    perform(store, store.verbs.put_aside([(row, None) for row in _line(store)]))
    for id in (one, two, three):
        perform(store, store.verbs.cancel(id, "over"))
    assert perform(store, store.verbs.prune(100)) == 0
    change_rows(store, f"delete from offpath_history where id = '{one}'")
    assert ask(store, store.verbs.in_outbox("1", 0))
    change_rows(store, "update offpath_outbox set look_at = 0")
    assert perform(store, store.verbs.prune(2)) in (1, 2)
    while perform(store, store.verbs.prune(2)):
        pass
    assert [ask(store, store.verbs.in_outbox(id, 0)) for id in "123"] == [False, True, True]
    assert perform(store, store.verbs.take_back("2", 0, fresh()))
    assert ask(store, store.verbs.in_outbox("2", 0))
    assert not ask(store, store.verbs.in_outbox("2", 1))


def test_two_workers_confirm_the_same_events_at_once(make: Make) -> None:
    stores = [make() for _ in range(2)]
    _publish(stores[0], *(_event(str(n)) for n in range(50)))
    found = _line(stores[0])
    with ThreadPoolExecutor(2) as pool:
        doing = [
            pool.submit(lambda one: one.perform(lambda: one.verbs.confirmed(found)).result(TIMEOUT), store)
            for store in stores
        ]
        assert sum(one.result(TIMEOUT) for one in doing) == 50
    states = ask(stores[0], stores[0].verbs.list_jobs(JobFilter(), None, 100))
    assert {one.finished.state for one in states if one.finished is not None} == {State.SUCCEEDED}
    assert len(states) == 50


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _told(store: Store, id: str) -> Any:
    """The arguments of the job that answers for this one."""
    job = live(store, answers.derived(id))
    assert (job.task, job.queue, job.state) == (ANSWER, QUEUE, State.READY)
    said = json.loads(job.args)
    assert said["to"] == 'orders "done"'
    assert said["correlation"] == "ä 7"
    assert said["event"] == job.id
    assert said["ended"]["id"] == id
    return said["ended"]


def _asked(**given: Any) -> NewJob:
    fields: dict[str, Any] = {"options": ASKED} | given
    return new_job(**fields)


def test_a_job_that_succeeds_is_answered(store: Store, hand: Hand) -> None:
    seen = watched(options=ASKED)
    put(store, _asked(), seen, new_job())
    one, two, three = hand.claim(3)
    for job in (one, two, three):
        assert hand.say(job, Done('{"sent": true}')) == "applied"
    said = _told(store, one.id)
    assert said.pop("finishedAt") == ended(store, one.id).finished_at
    assert said == {"id": one.id, "task": "mail", "state": "succeeded", "attempt": 1, "result": {"sent": True}}
    assert _told(store, seen.job.id)["state"] == "succeeded"
    assert ask(store, store.verbs.find(answers.derived(three.id))) is None


def test_a_job_that_fails_is_answered_once_it_has_failed(store: Store, hand: Hand) -> None:
    put(store, _asked(), _asked())
    secret, public = hand.claim(2)
    said = error("raised", "Secret", detail="of the house")
    assert hand.say(secret, Errored(said)) == "applied"
    assert ask(store, store.verbs.find(answers.derived(secret.id))) is None  # it will be tried again
    assert hand.say(public, Errored(error("raised", "Gone", detail="x", public=True), retryable=False)) == "applied"
    assert _told(store, public.id)["error"] == {"kind": "raised", "title": "Gone", "detail": "x"}
    put(store, _asked(attempt=3))
    last = hand.claim_one()
    assert hand.say(last, Errored(said)) == "applied"
    assert _told(store, last.id)["error"] == {"kind": "raised"}
    assert _told(store, last.id)["attempt"] == 3


def test_a_job_that_is_canceled_is_answered(store: Store, hand: Hand) -> None:
    waiting, running, seen = _asked(), _asked(), watched(options=ASKED)
    put(store, running)
    held = hand.claim_one()
    put(store, waiting, seen)
    for id in (waiting.job.id, seen.job.id):
        perform(store, store.verbs.cancel(id, "no need"))
        assert _told(store, id)["state"] == "canceled"
        assert _told(store, id)["error"]["reason"] == "no need"
    perform(store, store.verbs.cancel(held.id, "stop"))
    assert ask(store, store.verbs.find(answers.derived(held.id))) is None
    held = held._replace(cancel_at=live(store, held.id).cancel_at)
    assert hand.say(held, Canceled("stop")) == "applied"
    assert _told(store, held.id)["state"] == "canceled"


def test_jobs_that_are_canceled_in_bulk_are_answered(store: Store) -> None:
    jobs = [_asked() for _ in range(3)]
    put(store, *jobs)
    page = perform(store, store.verbs.cancel_page(JobFilter(states=(State.READY,)), None, 10, "all of them"))
    assert page.done == 3
    for job in jobs:
        assert _told(store, job.job.id)["state"] == "canceled"


def test_a_job_whose_deadline_passes_while_it_waits_is_answered(store: Store) -> None:
    late = _asked(deadline=now() - SECOND)
    put(store, late)
    assert perform(store, store.verbs.overdue(10)) == 1
    assert _told(store, late.job.id)["error"] == {"kind": "deadline"}


def test_a_job_that_is_quarantined_or_lost_is_answered(store: Store, hire: Hire) -> None:
    poison, once = _asked(crashes=2), _asked(once=True)
    put(store, poison, once)
    dying, judge = hire(-1.0), hire()
    assert {job.id for job in dying.claim(2)} == {poison.job.id, once.job.id}
    lose(dying, judge)
    assert expire(store, dying.id) == 2
    assert _told(store, poison.job.id)["error"] == {"kind": "quarantined"}
    assert _told(store, once.job.id)["error"] == {"kind": "lost"}


def test_a_job_that_ends_in_its_own_transaction_is_answered(store: Store, hand: Hand) -> None:
    put(store, _asked())
    job = hand.claim_one()
    done = lifecycle.settle(job, Done("7"), Policy(), now(), 0.0)
    assert perform(store, store.verbs.settle_one(hand.id, done))[0] == "applied"
    assert _told(store, job.id)["result"] == 7


def test_a_flow_and_its_parts_are_answered(store: Store, hand: Hand) -> None:
    new = new_flow(graph(part(), part(0)))
    first = new.parts[0]._replace(job=new.parts[0].job._replace(options=ASKED))
    flow = new.flow._replace(job=new.flow.job._replace(options=ASKED))
    perform(store, store.verbs.enqueue_flow(new._replace(flow=flow, parts=[first, *new.parts[1:]])))
    hand.say(hand.claim_one(), Done("1"))
    assert _told(store, first.job.id)["result"] == 1
    hand.say(hand.claim_one(), Done("2"))
    assert _told(store, flow.job.id)["result"] == 2


def test_a_flow_that_fails_or_is_canceled_is_answered(store: Store, hand: Hand) -> None:
    made = [new_flow(graph(part(), part(0))) for _ in range(2)]
    for new in made:
        flow = new.flow._replace(job=new.flow.job._replace(options=ASKED))
        perform(store, store.verbs.enqueue_flow(new._replace(flow=flow)))
    failing, canceled = made
    job = next(job for job in hand.claim() if job.flow == failing.flow.job.id)
    hand.say(job, Errored(error("raised", "x"), retryable=False))
    assert _told(store, failing.flow.job.id)["error"] == {"kind": "raised"}
    perform(store, store.verbs.cancel(canceled.flow.job.id, "enough"))
    running = next(one for one in (canceled.parts[0].job.id,))
    held = live(store, running)
    assert hand.say(held, Canceled("enough")) == "applied"
    assert _told(store, canceled.flow.job.id)["state"] == "canceled"


def test_a_result_that_is_too_large_is_left_out(store: Store, hand: Hand) -> None:
    put(store, _asked(), _asked())
    small, large = hand.claim(2)
    assert hand.say(small, Done(json.dumps("x" * 50_000))) == "applied"
    assert hand.say(large, Done(json.dumps("x" * 60_000))) == "applied"
    assert len(_told(store, small.id)["result"]) == 50_000
    assert _told(store, large.id)["resultOmitted"] is True
    assert "result" not in _told(store, large.id)


def test_a_late_worker_answers_nothing(store: Store, hire: Hire) -> None:
    put(store, _asked())
    late, judge = hire(-1.0), hire()
    job = late.claim_one()
    lose(late, judge)
    expire(store, late.id)
    assert late.say(job, Done("1"), Policy(retention=Retention())) == "stale"
    assert ask(store, store.verbs.find(answers.derived(job.id))) is None
