"""Webhooks: endpoints and their owners, deliveries and attempts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ...core.deliveries import DISABLED, ENDS, EVENTS, QUEUE, TASK, derived
from ...core.job import State
from ...core.options import DAY
from ...errors import Conflict
from ...ports import Pending, Statement, Store, Verb
from ...ports.webhooks import Again, AttemptRow, DeliveryRow, DeliveryState, EndpointRow, NewAttempt, NewDelivery
from .fixtures import Hire
from .kit import Hand, ask, ended, fresh, live, now, perform, put, watched
from .webhooks import add, delivery, queued, row, run

DELIVERED, FAILED, CANCELED, PENDING = (
    DeliveryState.DELIVERED,
    DeliveryState.FAILED,
    DeliveryState.CANCELED,
    DeliveryState.PENDING,
)


def note(state: DeliveryState, **more: Any) -> Callable[..., Any]:
    """A decision: the delivery in this state, the endpoint with these fields."""

    def decide(made: DeliveryRow, endpoint: EndpointRow | None, at: int) -> Any:
        new = endpoint if endpoint is None else endpoint._replace(**more)
        return made._replace(state=state, attempts=made.attempts + 1, next_at=None), new

    return decide


def tried(status: int | None = 500) -> NewAttempt:
    return NewAttempt(fresh(), now(), status, 1_500, None if status else "timeout: x", "ö'\"")


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_column_of_an_endpoint_comes_back(store: Store) -> None:
    mine = add(
        store, 'ö"wner', "äcme 'x'", EVENTS, description="☃", headers="h", enabled=False, reason="r", failing_since=5,
        not_before=6, width=2,
    )  # fmt: skip
    assert ask(store, store.verbs.endpoint(mine.id, "äcme 'x'", 'ö"wner')) == mine


def test_sec_01_an_endpoint_is_there_for_its_owner_alone(store: Store) -> None:
    mine = add(store)
    verbs = store.verbs
    for tenant, owner in (("acme", "bob"), ("globex", "alice")):
        assert ask(store, verbs.endpoint(mine.id, tenant, owner)) is None
        assert ask(store, verbs.endpoints(tenant, owner, None, 10)) == []
        assert perform(store, verbs.change_endpoint(mine.id, tenant, owner, lambda row, at: row)) is None
        assert perform(store, verbs.send_again(mine.id, tenant, owner, Again(since=0), 10)) is None
        assert not perform(store, verbs.drop_endpoint(mine.id, tenant, owner))
    assert ask(store, verbs.endpoint("no id", "acme", "alice")) is None
    assert ask(store, verbs.endpoint(mine.id, "acme", "alice")) == mine


def test_endpoints_are_listed_newest_first_by_pages(store: Store) -> None:
    made = [add(store) for _ in range(5)]
    first = ask(store, store.verbs.endpoints("acme", "alice", None, 3))
    rest = ask(store, store.verbs.endpoints("acme", "alice", first[-1].id, 3))
    assert [*first, *rest] == made[::-1]


def test_sec_07_no_owner_has_more_endpoints_than_allowed(store: Store) -> None:
    """Not even when all of them are added at once."""
    added: list[bool] = []

    def one() -> None:
        added.append(perform(store, store.verbs.add_endpoint(row(), 3)))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [False] * 5 + [True] * 3
    assert perform(store, store.verbs.add_endpoint(row("bob"), 3))


def test_a_deleted_endpoint_takes_its_deliveries_along(store: Store, hand: Hand) -> None:
    mine = add(store)
    id = derived(run(hand), 3, mine.id)
    perform(store, store.verbs.record(id, tried(), note(PENDING)))
    assert perform(store, store.verbs.drop_endpoint(mine.id, "acme", "alice"))
    assert ask(store, store.verbs.work(id)) is None
    assert ended(store, id).state is State.CANCELED
    assert ask(store, store.verbs.attempts(mine.id, None, None, 10)) == []
    assert perform(store, store.verbs.record(id, tried(), note(DELIVERED))) is None


# ── deliveries and attempts ──────────────────────────────────────────────────────────────────────────────────────────


def test_whk_17_attempts_are_kept_in_order(store: Store, hand: Hand) -> None:
    mine = add(store)
    operation = run(hand)
    id = derived(operation, 3, mine.id)
    one, two = tried(), tried(None)
    perform(store, store.verbs.record(id, one, note(PENDING, failing_since=7, width=2)))
    made = perform(store, store.verbs.record(id, two, note(FAILED)))
    assert made is not None
    assert made == delivery(store, id)
    assert (made.attempts, made.state) == (2, FAILED)
    rest = (id, ENDS[0], operation, FAILED)
    assert ask(store, store.verbs.attempts(mine.id, None, None, 10)) == [
        AttemptRow(two.id, id, 2, two.at, None, 1_500, "timeout: x", "ö'\"", *rest),
        AttemptRow(one.id, id, 1, one.at, 500, 1_500, None, "ö'\"", *rest),
    ]
    assert [a.id for a in ask(store, store.verbs.attempts(mine.id, None, two.id, 10))] == [one.id]
    seen = ask(store, store.verbs.endpoint(mine.id, "acme", "alice"))
    assert seen is not None
    assert (seen.failing_since, seen.width) == (7, 2)


def test_the_attempts_at_a_callback_are_its_operations(store: Store, hand: Hand) -> None:
    put(store, watched(options='{"callback": "https://a.example/x"}'))
    job = hand.claim_one()
    hand.finish(job)
    add(store)
    mark = tried(204)
    perform(store, store.verbs.record(derived(job.id, 3, None), mark, note(DELIVERED)))
    assert [one.id for one in ask(store, store.verbs.attempts(None, job.id, None, 10))] == [mark.id]
    assert ask(store, store.verbs.attempts(None, fresh(), None, 10)) == []


def test_whk_10_a_disabled_endpoint_gets_nothing_that_was_queued(store: Store, hire: Hire) -> None:
    hand, courier = hire(), hire(tasks=(f"{TASK}@1",))
    mine, told, deaf = add(store), add(store, events=(DISABLED,)), add(store, "bob", events=(DISABLED,))
    ids = [derived(run(hand), 3, mine.id) for _ in range(3)]
    gone = note(CANCELED, enabled=False, reason="410")
    job = courier.claim_one(queues=((QUEUE, 1),))
    assert job.id == ids[0]
    perform(store, store.verbs.record(ids[0], tried(410), gone))
    courier.finish(job)
    assert [ended(store, id).state for id in ids[1:]] == [State.CANCELED] * 2
    assert [delivery(store, id).state for id in ids] == [CANCELED] * 3
    [id] = queued(store)
    news = delivery(store, id)
    assert (news.endpoint, news.event, news.operation) == (told.id, DISABLED, None)
    assert news.body is not None
    assert mine.id in news.body
    assert deaf.id not in news.body
    run(hand)
    assert queued(store) == [id]


def test_whk_10_a_delivery_under_way_is_not_torn_away(store: Store, hire: Hire) -> None:
    mine, hand, courier = add(store), hire(), hire(tasks=(f"{TASK}@1",))
    id = derived(run(hand), 3, mine.id)
    [job] = courier.claim(queues=((QUEUE, 1),))
    perform(store, store.verbs.change_endpoint(mine.id, "acme", "alice", lambda row, at: row._replace(enabled=False)))
    assert live(store, job.id).cancel_at is None
    assert delivery(store, id).state is CANCELED


def test_whk_17_what_has_ended_is_sent_again_under_its_id(store: Store, hand: Hand) -> None:
    mine = add(store)
    operations = [run(hand) for _ in range(4)]
    ids = [derived(operation, 3, mine.id) for operation in operations]
    for id, state in zip(ids, (DELIVERED, FAILED, CANCELED), strict=False):
        perform(store, store.verbs.record(id, tried(), note(state)))
        perform(store, store.verbs.cancel(id, "its job has ended"))

    def again(which: Again, limit: int = 100) -> list[str] | None:
        return perform(store, store.verbs.send_again(mine.id, "acme", "alice", which, limit))

    assert again(Again(since=now() + DAY)) == []
    assert again(Again(since=0), limit=1) == [ids[1]]
    assert again(Again(since=0)) == [ids[2]]  # one was delivered, one is on its way
    assert again(Again(since=0)) == []
    assert again(Again(delivery=ids[0])) == [ids[0]]
    assert again(Again(operation=operations[0])) == []
    assert again(Again(delivery=fresh())) == []
    assert again(Again(delivery="no id")) == []
    for id in ids[:3]:
        made = delivery(store, id)
        assert (made.state, made.attempts, made.round, made.message) == (PENDING, 1, 1, id)
        assert made.job != id
        assert live(store, made.job).args == f'{{"delivery":"{id}","endpoint":"{mine.id}"}}'


def test_whk_17_a_delivery_whose_job_ended_without_a_word_is_sent_again(store: Store, hand: Hand) -> None:
    mine = add(store)
    id = derived(run(hand), 3, mine.id)
    perform(store, store.verbs.cancel(id, "by an operator"))
    assert perform(store, store.verbs.send_again(mine.id, "acme", "alice", Again(since=0), 10)) == [id]


def test_whk_10_a_disabled_endpoint_is_sent_nothing_again(store: Store) -> None:
    mine = add(store, enabled=False, reason="410")
    with pytest.raises(Conflict):
        perform(store, store.verbs.send_again(mine.id, "acme", "alice", Again(since=0), 10))


def test_whk_10_races_410_against_resend(store: Store, make: Any, hand: Hand) -> None:
    """Whoever comes first: in the end the endpoint is disabled and nothing is queued for it."""
    other = make()
    for _ in range(6):
        mine = add(store)
        one, two = (derived(run(hand), 3, mine.id) for _ in range(2))
        perform(store, store.verbs.record(two, tried(), note(FAILED)))
        perform(store, store.verbs.cancel(two, "its job has ended"))
        off = note(CANCELED, enabled=False, reason="410")
        gone = store.perform(partial(store.verbs.record, one, tried(410), off))
        again = other.perform(partial(other.verbs.send_again, mine.id, "acme", "alice", Again(since=0), 10))
        gone.result(20)
        with contextlib.suppress(Conflict):
            again.result(20)
        assert queued(store) == [one]  # which is under way
        perform(store, store.verbs.cancel(one, "its job has ended"))
        assert delivery(store, two).state in (FAILED, CANCELED)
        assert perform(store, store.verbs.drop_endpoint(mine.id, "acme", "alice"))


def test_deliveries_and_attempts_are_forgotten_with_time(store: Store, hand: Hand) -> None:
    mine = add(store)
    id = derived(run(hand), 3, mine.id)
    perform(store, store.verbs.record(id, tried(), note(FAILED)))
    perform(store, store.verbs.prune(10))
    assert delivery(store, id).state is FAILED

    def age() -> Verb[None]:
        sql = f"update offpath_delivery set created_at = created_at - {40 * DAY}"
        yield Statement(sql, {}, lambda rows: None)

    perform(store, age())
    perform(store, store.verbs.prune(10))
    assert ask(store, store.verbs.work(id)) is None
    assert ask(store, store.verbs.attempts(mine.id, None, None, 10)) == []


def test_a_delivery_ends_without_an_attempt_only_while_it_is_pending(store: Store, hand: Hand) -> None:
    mine = add(store)
    id = derived(run(hand), 3, mine.id)
    perform(store, store.verbs.close_delivery(id, CANCELED))
    assert delivery(store, id).state is CANCELED
    perform(store, store.verbs.close_delivery(id, FAILED))
    assert delivery(store, id).state is CANCELED


def test_an_event_of_no_operation_is_sent(store: Store) -> None:
    mine = add(store)
    new = NewDelivery(fresh(), mine.id, None, "endpoint.test", 0, '{"a":1}')
    perform(store, store.verbs.send([new]))
    assert queued(store) == [new.id]
    work = ask(store, store.verbs.work(new.id))
    assert work is not None
    assert (work.delivery.body, work.operation) == ('{"a":1}', None)


# ── default secrets ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_whk_29_a_default_secret_is_made_once_and_shown_once(store: Store) -> None:
    verbs = store.verbs
    assert perform(store, verbs.signer("acme", "one")) == "one"
    assert perform(store, verbs.signer("acme", "two")) == "one"
    assert perform(store, verbs.signer("globex", "two")) == "two"

    def keep(text: str | None, at: int) -> str:
        return text or "fresh"

    assert perform(store, verbs.show_signer("acme", keep, False)) == "one"
    assert perform(store, verbs.show_signer("acme", keep, False)) is None
    assert perform(store, verbs.show_signer("acme", lambda text, at: f"new {text}", True)) == "new one"
    assert perform(store, verbs.show_signer("initech", keep, False)) == "fresh"
    assert perform(store, verbs.signer("initech", "late")) == "fresh"


def test_whk_29_of_many_who_ask_at_once_one_is_shown_the_secret(store: Store) -> None:
    def ask_for(n: int) -> Pending[str | None]:
        def keep(text: str | None, at: int) -> str:
            return text or f"secret {n}"

        return store.perform(partial(store.verbs.show_signer, "acme", keep, False))

    asking = [ask_for(n) for n in range(8)]
    shown = [text for pending in asking if (text := pending.result(20)) is not None]
    assert shown == [perform(store, store.verbs.signer("acme", "late"))]
