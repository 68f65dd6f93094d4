"""Webhooks: what is announced with the end of an operation, and to whom."""

from __future__ import annotations

from typing import Any

import pytest

from ...core.deliveries import DISABLED, ENDS, EVENTS, QUEUE, TASK, derived
from ...core.job import State
from ...core.outcome import Done, Errored, error
from ...ports import Found, Hint, JobFilter, Store, Verb
from ...ports.webhooks import DeliveryRow, DeliveryState, EndpointRow
from .fixtures import Hire
from .kit import Hand, ask, change, fresh, lose, now, perform, put, watched


def row(owner: str = "alice", tenant: str = "acme", events: tuple[str, ...] = ENDS, **given: Any) -> EndpointRow:
    text = "[" + ",".join(f'"{event}"' for event in events) + "]"
    at = now()
    fields: dict[str, Any] = {"id": fresh(), "url": "https://a.example/x", "description": "", "secrets": "sealed"}
    more: dict[str, Any] = {"headers": None, "enabled": True, "reason": None, "failing_since": None, "not_before": None}
    fields |= more | {"width": 4, "created_at": at, "updated_at": at} | given
    return EndpointRow(tenant=tenant, owner=owner, events=text, **fields)


def add(store: Store, *args: Any, **given: Any) -> EndpointRow:
    made = row(*args, **given)
    assert perform(store, store.verbs.add_endpoint(made, 100))
    return made


def test_everybodys_endpoints_by_tenant_and_by_whether_they_are_sent_to(store: Store) -> None:
    one = add(store)
    off = add(store, "bob", "globex", enabled=False, reason="no success for 5 days")
    last = add(store, "bob", "globex")

    def ids(*which: Any) -> list[str]:
        return [row.id for row in ask(store, store.verbs.all_endpoints(*which))]

    assert ask(store, store.verbs.any_endpoint(off.id)) == off
    assert ask(store, store.verbs.any_endpoint(fresh())) is None
    everybody = ids(None, None, None, 10)
    assert sorted(everybody, reverse=True) == everybody
    assert set(everybody) == {one.id, off.id, last.id}
    assert ids(None, None, everybody[0], 10) == everybody[1:]
    assert ids(None, None, None, 2) == everybody[:2]
    assert set(ids("globex", None, None, 10)) == {off.id, last.id}
    assert ids("globex", False, None, 10) == [off.id]
    assert set(ids(None, True, None, 10)) == {one.id, last.id}


def queued(store: Store) -> list[str]:
    """The ids of the live jobs that send."""
    found: list[Found] = ask(store, store.verbs.list_jobs(JobFilter(queue=QUEUE, states=(0, 1, 2, 3)), None, 1000))
    assert all(one.job is not None and one.job.task == TASK for one in found)
    return sorted(one.job.id for one in found if one.job is not None)


def delivery(store: Store, id: str) -> DeliveryRow:
    work = ask(store, store.verbs.work(id))
    assert work is not None, f"no delivery {id}"
    return work.delivery


def run(hand: Hand, *, ok: bool = True) -> str:
    """One operation from start to end."""
    put(hand.store, watched())
    job = hand.claim_one()
    hand.say(job, Done(None) if ok else Errored(error("raised", "x"), False))
    return job.id


# ── what is announced ────────────────────────────────────────────────────────────────────────────────────────────────


def test_whk_20_an_end_and_its_deliveries_are_one_transaction(store: Store, hand: Hand, heard: list[Hint]) -> None:
    mine, second = add(store), add(store)
    heard.clear()
    id = run(hand)
    assert queued(store) == sorted(derived(id, 3, one.id) for one in (mine, second))
    assert Hint("work", (QUEUE,)) in heard
    found = delivery(store, derived(id, 3, mine.id))
    assert found == DeliveryRow(
        derived(id, 3, mine.id), derived(id, 3, mine.id), derived(id, 3, mine.id), mine.id, id, ENDS[0], 3, None,
        DeliveryState.PENDING, 0, 0, None, found.created_at,
    )  # fmt: skip
    work = ask(store, store.verbs.work(found.id))
    assert work is not None
    assert work.endpoint == mine
    assert work.operation is not None
    assert (work.operation.id, work.operation.seq, work.operation.status) == (id, 3, State.SUCCEEDED)


def test_whk_20_what_is_rolled_back_is_announced_to_nobody(store: Store, hand: Hand) -> None:
    add(store)
    put(store, watched())
    job = hand.claim_one()

    def broken() -> Verb[None]:
        yield from store.verbs.settle_one(hand.id, change(job, Done(None)))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        perform(store, broken())
    assert queued(store) == []
    assert perform(store, store.verbs.settle_one(hand.id, change(job, Done(None))))[0] == "applied"
    assert len(queued(store)) == 1


@pytest.mark.parametrize("way", ["exchange", "one", "cancel", "expire", "overdue", "mixed"])
def test_whk_20_every_way_to_end_is_announced(store: Store, hire: Hire, way: str) -> None:
    add(store)
    hand, judge = hire(-1.0 if way == "expire" else 60.0), hire()
    kind = "failed" if way == "overdue" else "canceled" if way in ("cancel", "expire") else "succeeded"
    put(store, watched(deadline=now() - 1) if way == "overdue" else watched())
    if way == "overdue":
        assert perform(store, store.verbs.overdue(10)) == 1
    elif way == "cancel":
        found = ask(store, store.verbs.list_jobs(JobFilter(states=(2,)), None, 1))
        assert found[0].job is not None
        perform(store, store.verbs.cancel(found[0].job.id, "enough"))
    else:
        job = hand.claim_one()
        match way:
            case "exchange":
                assert hand.finish(job) == ["applied"]
            case "one":
                assert perform(store, store.verbs.settle_one(hand.id, change(job, Done(None))))[0] == "applied"
            case "mixed":
                put(store, watched())
                other = hand.claim_one()
                back = change(other, Errored(error("raised", "x"), True))
                assert hand.settle(change(job, Done(None)), back) == ["applied", "applied"]
            case _:
                perform(store, store.verbs.cancel(job.id, "enough"))
                lose(hand, judge)
                perform(store, store.verbs.expire(hand.id, 10))
    [id] = queued(store)
    assert delivery(store, id).event == f"operation.{kind}"


def test_whk_20_a_repeated_announcement_is_the_same_row(store: Store, hand: Hand) -> None:
    add(store)
    put(store, watched())
    job = hand.claim_one()
    wish = change(job, Done(None))
    hand.settle(wish)
    before = queued(store)
    perform(store, store.verbs.announce([wish], now()))  # type: ignore[attr-defined]  # a part of settling
    assert queued(store) == before
    assert len(before) == 1


def test_whk_18_only_who_asked_for_an_event_hears_of_it(store: Store, hand: Hand) -> None:
    """Of the same tenant and owner, enabled, and with the event in its filter."""
    wants = add(store, events=(ENDS[1],))
    add(store, events=(ENDS[0], DISABLED))
    add(store, "bob")
    add(store, tenant="globex")
    add(store, enabled=False, reason="x")
    id = run(hand, ok=False)
    assert queued(store) == [derived(id, 3, wants.id)]


def test_what_nobody_watches_is_announced_to_nobody(store: Store, hand: Hand) -> None:
    add(store, events=EVENTS)
    put(store, watched())
    job = hand.claim_one()
    hand.say(job, Errored(error("raised", "x"), True))  # it comes again: no end
    assert queued(store) == []


def test_whk_27_a_callback_is_announced_without_an_endpoint(store: Store, hand: Hand) -> None:
    put(store, watched(options='{"callback": "https://a.example/x"}'), watched())
    jobs = hand.claim(2)
    hand.finish(*jobs)
    [called] = [job.id for job in jobs if job.options]
    assert queued(store) == [derived(called, 3, None)]
    work = ask(store, store.verbs.work(derived(called, 3, None)))
    assert work is not None
    assert (work.endpoint, work.signer) == (None, None)
    assert work.operation is not None
    assert work.operation.options == '{"callback": "https://a.example/x"}'
