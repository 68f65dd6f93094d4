"""What is kept of one owner: every table has rows of alice and of bob; hers are told and erased, and his stay."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from ...core.audit import Act, ActFilter
from ...core.deliveries import QUEUE, TASK, derived
from ...core.ids import uuid7
from ...core.job import State
from ...core.options import SECOND
from ...core.outcome import Done, Errored, error
from ...core.steps import Asked
from ...ports import Reservation, Statement, Store, Ticket, Verb
from ...ports.inbox import Entry, Letter
from ...ports.outbox import NewEvent
from ...ports.owners import Living, Owner, Swept, Where
from ...ports.webhooks import Again, DeliveryState
from ...stores.rows import dumps
from .deliveries import note, tried
from .fixtures import Hire, Make
from .flowmachine import graph, part, start
from .inbox import take
from .kit import HOUR, TIMEOUT, Hand, ask, change, ended, live, new_job, now, perform, put, watched
from .memory import emit, remember
from .webhooks import add

PLACES: tuple[Where, ...] = ("live", "ended", "operations")
KINDS = frozenset(
    ("job", "operation", "event", "step", "attempt", "letter", "message", "received", "endpoint", "delivery", "sending")
) | {"idempotency", "audit"}
TENANT = '{"tenant":"acme"}'


def fill(store: Store, hire: Hire, owner: str) -> dict[str, str]:
    """A row of this owner in every table that names one; ids by what they are."""
    hand = hire(tasks=("mail@1",))
    endpoint = add(store, owner)
    made = {"endpoint": endpoint.id}
    key = f"key of {owner}"
    put(store, watched(owner, owner=owner, options=TENANT, args=f'{{"of":"{owner}"}}', key=key))
    job = hand.claim_one()
    made["ended"] = job.id
    assert remember(store, job, (Asked(f"step of {owner}", 1, 1, 1), f'"{owner}"'))
    assert hand.say(job, Errored(error("raised", f"no, {owner}"), False)) == "applied"
    perform(store, store.verbs.record(derived(job.id, 3, endpoint.id), tried(), note(DeliveryState.FAILED)))
    later: dict[str, Any] = {"state": State.SCHEDULED, "run_at": now() + HOUR, "owner": owner, "options": TENANT}
    waits = watched(owner, **later)
    put(store, waits, new_job(args=f'{{"of":"{owner}"}}', **later))
    made["live"] = waits.job.id
    perform(store, store.verbs.note([Act(owner, "job.cancel", waits.job.id, {"reason": owner}, "acme")]))
    one = Reservation(f'["acme","{owner}"]', key, "f" * 64, "me", HOUR, HOUR)
    assert perform(store, store.verbs.reserve(one)).fence == 1
    assert perform(store, store.verbs.remember(one, 1, 202, "[]", "AP8=", made["live"]))
    perform(store, store.verbs.issue_ticket(Ticket(owner.ljust(64, "0"), made["live"], "acme", owner), 30))
    sent = new_job(owner=owner, options=TENANT, queue="offpath.outbox", task="offpath.publish")
    event = NewEvent(f"event of {owner}", 0, None, "events", "it.happened", False, False, f'{{"id":"{owner}"}}', sent)
    perform(store, store.verbs.publish([event]))
    read = new_job(owner=owner, options=TENANT, queue="offpath.inbox", task="offpath.receive")
    id = read.job.id
    letter = Letter(
        id, id, "", "redis", f'["t","{owner}","g"]', "t@1", owner.encode(), 5, owner.ljust(64, "a"), "{}", now()
    )
    assert take(store, Entry("offpath.receive", "t", letter.digest, read, None, letter)) == [True]
    return made


def kinds(told: list[tuple[str, dict[str, Any]]]) -> set[str]:
    return {kind for kind, _ in told}


def all_of(store: Store, owner: Owner) -> list[tuple[str, dict[str, Any]]]:
    told: list[tuple[str, dict[str, Any]]] = []
    seen: set[str] = set()
    for where in PLACES:
        ids = [id for id in ask(store, store.verbs.owned(owner, where, None, 1_000)) if id not in seen]
        seen.update(ids)
        more = ids
        while more := [id for id in ask(store, store.verbs.kin(more)) if id not in seen]:
            seen.update(more)
            ids += more
        told += ask(store, store.verbs.told(ids))
    return told + ask(store, store.verbs.told_of(owner))


def erase_all(store: Store, owner: Owner, limit: int = 1_000) -> dict[str, int]:
    gone: dict[str, int] = {}

    def add_up(more: Any) -> None:
        for kind, count in more.items():
            gone[kind] = gone.get(kind, 0) + count

    for where in PLACES:
        after: str | None = None
        while True:
            swept: Swept = perform(store, store.verbs.sweep(owner, where, after, limit))
            add_up(swept.gone)
            if swept.last is None:
                break
            after = swept.last
    naming = ask(store, store.verbs.naming(owner))
    add_up(perform(store, store.verbs.sweep_rest(owner, "erased:x", naming)))
    return gone


ALICE, BOB = Owner("alice", "acme"), Owner("bob", "acme")


def test_of_every_table_an_owners_rows_are_told(store: Store, hire: Hire) -> None:
    fill(store, hire, "alice")
    told = all_of(store, ALICE)
    assert kinds(told) == KINDS
    fill(store, hire, "bob")
    assert all_of(store, ALICE) == told
    assert "bob" not in repr(told)
    assert all_of(store, Owner("alice", "globex")) == []


@pytest.mark.parametrize("limit", [1_000, 1])
def test_what_is_erased_is_in_no_table_and_others_have_theirs(store: Store, hire: Hire, limit: int) -> None:
    fill(store, hire, "alice")
    fill(store, hire, "bob")
    bobs = all_of(store, BOB)
    gone = erase_all(store, ALICE, limit)
    assert KINDS - {"audit"} | {"ticket", "renamed"} <= gone.keys()
    assert all_of(store, ALICE) == []
    assert all_of(store, BOB) == bobs
    assert "alice" not in everything(store)
    assert "bob" in everything(store)
    assert erase_all(store, ALICE) == {}


@pytest.mark.parametrize("ran_again", [True, False])
def test_all_that_ever_sent_a_delivery_goes_and_each_sending_is_told_once(
    store: Store, hire: Hire, ran_again: bool
) -> None:
    """Resent twice, by its owner and by an operator: three jobs and their attempts, of which its row names the last."""
    hand = hire(tasks=("mail@1", f"{TASK}@1"))
    endpoint = add(store, "alice")
    put(store, watched("alice", owner="alice", options=TENANT))
    job = hand.claim_one()
    assert hand.say(job, Done(None)) == "applied"
    id = derived(job.id, 3, endpoint.id)
    senders: list[str] = []
    for turn in range(3):
        sender = hand.claim_one(queues=((QUEUE, 1),))
        senders.append(sender.id)
        perform(store, store.verbs.record(id, tried(), note(DeliveryState.FAILED)))
        assert hand.say(sender, Errored(error("raised", "500"), False)) == "applied"
        if ran_again and turn == 1:
            perform(store, store.verbs.retry(sender.id, uuid7(now(), bytes(10))))
        elif turn < 2:
            assert perform(store, store.verbs.send_again(endpoint.id, "acme", "alice", Again(since=0), 10)) == [id]
    assert len(set(senders)) == 3
    told = all_of(store, ALICE)
    assert {row["id"] for kind, row in told if kind == "job"} == {job.id, *senders}
    for kind, count in (("delivery", 1), ("sending", 3)):
        assert len([row for of, row in told if of == kind]) == count
    gone = erase_all(store, ALICE)
    assert (gone["job"], gone["attempt"], gone["delivery"], gone["sending"]) == (4, 3, 1, 3)
    assert not [one for one in senders if one in everything(store)]


def test_others_of_that_name_keep_what_they_did_and_what_was_done_to_them(store: Store) -> None:
    """Somebody of another tenant, somebody who is no owner, a queue; and what an owner did to others' work."""
    said = {"reason": "incident 4711"}
    mine = [
        Act("alice", "queue.pause", "mail", said, "acme"),
        Act("root", "owner.export", "alice", {"tenant": "acme", "secrets": True}),
    ]
    others = [
        Act("alice", "queue.pause", "mail", said, "globex"),
        Act("alice", "queue.pause", "mail", said),
        Act("root", "queue.pause", "alice", said, ""),
        Act("root", "owner.export", "alice", {"tenant": "globex", "secrets": True}),
    ]
    perform(store, store.verbs.note([*mine, *others]))
    assert ask(store, store.verbs.tenants("alice")) == ["acme", "globex"]
    assert [row["data"] for _, row in all_of(store, ALICE)] == [dumps(said)]
    assert erase_all(store, ALICE) == {"renamed": 2}
    hers = [
        mine[0]._replace(actor="erased:x", tenant=None),
        mine[1]._replace(target="erased:x"),
    ]
    left = [one[2:] for one in ask(store, store.verbs.acts(ActFilter(), None, 100))]
    assert left == [(*one[:3], dumps(one.data), one.tenant) for one in reversed([*hers, *others])]
    assert erase_all(store, ALICE) == {}


def test_who_changed_many_jobs_of_an_owner_is_known_and_whose_they_were_is_not(store: Store, hire: Hire) -> None:
    hand = hire(tasks=("offpath.bulk@1",))

    def call(owner: str) -> str:
        which = {"owner": owner, "state": ["failed"], "key_prefix": f"welcome:{owner}"}
        return dumps({"action": "retry", "filter": which, "reason": f"{owner} wrote", "actor": "bob"})

    made = [new_job(task="offpath.bulk", args=call(name), owner="bob") for name in ("älice", "bob", "älice")]
    put(store, *made[:2])
    for _ in made[:2]:
        hand.finish(hand.claim_one())
    put(store, made[2])
    done = {"done": 3, "skipped": 1}
    told = [{**json.loads(call(name)), **done} for name in ("älice", "bob")]
    told.append({"filter": {"task": "älice"}})
    perform(store, store.verbs.note([Act("bob", "jobs.retry.ended", made[0].job.id, said) for said in told]))
    assert erase_all(store, Owner("älice", "acme")) == {"renamed": 3}
    text = everything(store)
    assert "welcome:älice" not in text
    assert "älice wrote" not in text
    bulk = {"action": "retry", "filter": {"owner": "erased:x", "state": ["failed"], "key_prefix": "erased:x"}}
    for one in (live(store, made[2].job.id), ended(store, made[0].job.id)):
        assert json.loads(one.args or "") == {**bulk, "actor": "bob"}
    assert ended(store, made[1].job.id).args == call("bob")
    lines = [json.loads(one.data) for one in ask(store, store.verbs.acts(ActFilter(), None, 100))]
    assert lines == [told[2], told[1], {**bulk, "actor": "bob", **done}]


def everything(store: Store) -> str:
    """Every row of every table of ours, as text."""

    def verb() -> Verb[str]:
        text = ""
        for table in TABLES:
            found: list[Any] = yield Statement(f"select * from {table}", {}, lambda rows: [tuple(row) for row in rows])
            text += repr(found)
        return text

    return perform(store, verb())


TABLES = tuple(
    f"offpath_{name}"
    for name in (
        *("job", "history", "operation", "event", "idempotency", "endpoint", "signer", "delivery", "attempt", "ticket"),
        *(
            "edge",
            "step",
            "schedule",
            "limit",
            "rate",
            "queue",
            "alert",
            "window",
            "outbox",
            "inbox",
            "letter",
            "audit",
        ),
        *("audit", "stat", "sample", "job_attempt", "worker"),
    )
)


def test_what_lives_is_counted_and_what_runs_is_named(store: Store, hand: Hand) -> None:
    assert ask(store, store.verbs.living(ALICE)) == Living(0, 0)
    put(store, new_job(owner="alice", options=TENANT), new_job(owner="alice", options=TENANT), new_job(owner="alice"))
    job = hand.claim_one()
    assert ask(store, store.verbs.living(ALICE)) == Living(2, 1)
    assert ask(store, store.verbs.running_of(ALICE, 10)) == [job.id]
    perform(store, store.verbs.cancel(job.id, "enough"))
    assert ask(store, store.verbs.running_of(ALICE, 10)) == []
    assert ask(store, store.verbs.living(Owner("alice"))) == Living(1, 0), "of no tenant"


def test_in_which_tenants_there_is_something_of_an_owner(store: Store, hand: Hand) -> None:
    assert ask(store, store.verbs.tenants("alice")) == []
    put(store, new_job(owner="alice", options=TENANT), new_job(owner="bob", options=TENANT))
    assert ask(store, store.verbs.tenants("alice")) == ["acme"]
    put(store, new_job(owner="alice"), watched(owner="alice", options=TENANT))
    hand.finish(*hand.claim())
    assert ask(store, store.verbs.tenants("alice")) == ["", "acme"]
    assert ask(store, store.verbs.tenants("carol")) == []


def test_i3_a_late_word_about_what_was_erased_writes_nothing(store: Store, hand: Hand) -> None:
    put(store, watched("alice", owner="alice", options=TENANT))
    job = hand.claim_one()
    erase_all(store, ALICE)
    assert hand.finish(job) == ["stale"]
    assert not emit(store, job, '{"x":"alice"}')
    assert "alice" not in everything(store)


def test_parts_of_an_owners_flow_go_with_it(store: Store, hand: Hand) -> None:
    start(store, graph(part(), part(0)), by="alice", owner="alice", options=TENANT)
    gone = erase_all(store, ALICE)
    assert (gone["job"], gone["operation"], gone["edge"]) == (3, 1, 2)
    assert hand.claim() == []


def test_erasing_and_settling_at_once_end_neither_with_an_error(store: Store, make: Make, hire: Hire) -> None:
    """Both take the rows of jobs before what hangs on them: whoever comes second finds nothing, or waits."""
    hand = hire()
    other = make()
    put(store, *(watched("alice", owner="alice", options=TENANT, run_at=now() - SECOND) for _ in range(60)))
    jobs = hand.claim(60)
    assert len(jobs) == 60
    begin = threading.Barrier(2)
    failed: list[BaseException] = []

    def erase() -> None:
        try:
            begin.wait(TIMEOUT)
            erase_all(other, ALICE, 3)
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=erase)
    thread.start()
    begin.wait(TIMEOUT)
    verdicts: set[str] = set()
    for n in range(0, 60, 4):
        verdicts.update(hand.settle(*(change(job, Done(None)) for job in jobs[n : n + 4])))
    thread.join(TIMEOUT)
    assert failed == []
    assert verdicts <= {"applied", "stale", "changed"}
    erase_all(store, ALICE)
    assert "alice" not in everything(store)


def test_an_id_that_sorts_before_all_is_an_owner_like_any(store: Store) -> None:
    put(store, new_job(id=uuid7(0, bytes(10)), owner="alice", options=TENANT))
    assert erase_all(store, ALICE) == {"job": 1}
