"""What HTTP shows: one row and one numbered log for each watched job, listed newest first."""

import random
from typing import Any

import pytest

from ...core.job import State
from ...core.outcome import Done, Errored, Interrupted, error
from ...core.policy import Retention
from ...ports import Found, Hint, JobFilter, OperationFilter, Store
from .fixtures import Hire, Make
from .kit import HOUR, POLICY, TIMEOUT, Hand, ask, change, fresh, live, new_job, now, perform, put, shown, told, watched

MINE = OperationFilter("acme", "alice")


def listed(store: Store, where: OperationFilter, after: str | None = None, limit: int = 100) -> list[str]:
    return [row.id for row in ask(store, store.verbs.list_operations(where, after, limit))]


def test_every_column_of_an_operation_comes_back(store: Store, hand: Hand) -> None:
    new = watched(
        'ö"wner', tenant="äcme 'x'", label="☃ \"l'\n", task="päth.to:täsk", queue="quëue", priority=-3, attempt=2,
        options='{"timeout":null}', retry_of=fresh(),
    )  # fmt: skip
    put(store, new)
    job = hand.claim_one(queues=(("quëue", 1),), tasks='["päth.to:täsk@1"]')
    progress, boom = '{"message":"\\u0000 \U0001f4a1"}', error("raised", "x", public=True)
    perform(store, store.verbs.progress(job.id, job.fence, hand.id, progress))
    running = shown(store, job.id)
    blank = {"finished_at": None, "expires_at": None, "cancel_at": None, "result": None, "error": None}
    assert running._asdict() == {
        "id": job.id, "tenant": "äcme 'x'", "owner": 'ö"wner', "kind": "päth.to:täsk", "label": "☃ \"l'\n",
        "status": State.RUNNING, "seq": 3, "progress": progress, "expired": False, "run_at": job.run_at,
        "queue": "quëue", "priority": -3, "attempt": 2, "options": '{"timeout":null}', "retry_of": job.retry_of,
        **{name: getattr(running, name) for name in ("created_at", "updated_at", "started_at")}, **blank,
    }  # fmt: skip
    assert running.started_at is not None
    assert running.created_at <= running.started_at <= running.updated_at <= now()
    wish = change(job, Errored(boom, False), POLICY._replace(retention=Retention(operation=HOUR)))
    hand.settle(wish)
    failed = shown(store, job.id)
    times = {name: getattr(failed, name) for name in ("updated_at", "finished_at")}
    assert failed == running._replace(status=State.FAILED, seq=4, error=boom, expires_at=wish.expires_at, **times)
    assert running.updated_at <= failed.updated_at == failed.finished_at
    assert wish.expires_at is not None


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_progress_is_the_newest_word_and_a_line_in_the_log(store: Store, hand: Hand, heard: list[Hint]) -> None:
    put(store, watched())
    job = hand.claim_one()
    heard.clear()
    for n in (1, 2):
        assert perform(store, store.verbs.progress(job.id, job.fence, hand.id, f'{{"current":{n}}}'))
    row = shown(store, job.id)
    assert (row.progress, row.seq, row.status) == ('{"current":2}', 4, State.RUNNING)
    assert told(store, job.id)[2:] == [(3, "progress", {"current": 1}), (4, "progress", {"current": 2})]
    assert heard == [Hint("event", (job.id,))] * 2


def test_progress_is_fenced(store: Store, hire: Hire) -> None:
    """Fence, worker and state: each of them alone is refused."""
    hand, other = hire(), hire()
    put(store, watched())
    job = hand.claim_one()
    hand.say(job, Interrupted())
    back = live(store, job.id)
    attempts: list[tuple[int, Any]] = [(job.fence, hand.id), (back.fence, None)]
    job = hand.claim_one()
    attempts += [(job.fence - 1, hand.id), (job.fence, other.id), (job.fence + 1, hand.id)]
    for fence, worker in attempts:
        assert not perform(store, store.verbs.progress(job.id, fence, worker, '{"current":9}'))
    assert shown(store, job.id).progress is None
    assert perform(store, store.verbs.progress(job.id, job.fence, hand.id, '{"current":1}'))
    hand.finish(job)
    assert not perform(store, store.verbs.progress(job.id, job.fence, hand.id, '{"current":9}'))
    assert [type for _, type, _ in told(store, job.id)][-2:] == ["progress", "succeeded"]


def test_no_progress_before_the_claim_is_asked_for(store: Store) -> None:
    new = watched()
    put(store, new)
    assert not perform(store, store.verbs.progress(new.job.id, 0, None, "{}"))  # type: ignore[arg-type]


# ── numbering ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_are_numbered_without_a_gap_whoever_writes_them(store: Store, make: Make, hand: Hand) -> None:
    """Progress from one process, a cancel from another, settled by a third object: one line of numbers."""
    other = make()
    put(store, watched())
    job = hand.claim_one()
    writers = [
        (store, other)[n % 2].perform(store.verbs.progress(job.id, job.fence, hand.id, f'{{"current":{n}}}'))
        for n in range(60)
    ]
    cancelled = other.perform(store.verbs.cancel(job.id, "enough"))
    assert all(writer.result(TIMEOUT) for writer in writers)
    cancelled.result(TIMEOUT)
    hand.say(live(store, job.id), Done(None))
    events = told(store, job.id)
    assert len(events) == 64
    assert sorted(data["current"] for _, type, data in events if type == "progress") == list(range(60))
    assert (events[0][1], events[1][1], events[-1][1]) == ("queued", "started", "canceled")


def test_events_are_read_from_where_one_left_off(store: Store, hand: Hand) -> None:
    put(store, watched(), watched())
    job = hand.claim_one()
    for n in range(8):
        perform(store, store.verbs.progress(job.id, job.fence, hand.id, f'{{"current":{n}}}'))
    read, after = list[int](), 0
    while page := ask(store, store.verbs.events(job.id, after, 3)):
        read += [event.seq for event in page]
        after = page[-1].seq
    assert read == list(range(1, 11))
    assert ask(store, store.verbs.events("nobody", 0, 3)) == []


# ── listing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_holds_ones_own_only(store: Store) -> None:
    mine = [watched("alice") for _ in range(3)]
    put(store, *mine, watched("bob"), watched("alice", tenant="globex"), new_job(owner="alice"))
    assert listed(store, MINE) == [new.job.id for new in reversed(mine)]
    assert listed(store, OperationFilter("acme", "nobody")) == []


def test_every_status_and_every_filter(store: Store, hand: Hand, hire: Hire) -> None:
    jobs = [watched(label="odd" if n % 2 else "even", priority=n) for n in range(6)]
    put(store, *jobs)
    ids = [new.job.id for new in jobs]
    _, canceling, succeeded, failed = (hand.claim_one() for _ in range(4))
    perform(store, store.verbs.cancel(canceling.id, "stop"))
    hand.say(succeeded, Done('"secret"'))
    hand.say(failed, Errored(error("raised", "x", public=True), False))
    perform(store, store.verbs.cancel(ids[4], "stop"))
    words = ("running", "canceling", "succeeded", "failed", "canceled", "queued")
    for id, word in zip(ids, words, strict=True):
        assert listed(store, MINE._replace(statuses=(word,))) == [id]
    assert listed(store, MINE._replace(statuses=("queued", "failed"))) == [ids[5], ids[3]]
    assert listed(store, MINE._replace(statuses=("nonsense",))) == []
    assert listed(store, MINE._replace(label="odd", statuses=("queued", "canceling"))) == [ids[5], ids[1]]
    assert listed(store, MINE._replace(kind="mail")) == ids[::-1]
    assert listed(store, MINE._replace(kind="push")) == []
    made = [shown(store, id).created_at for id in ids]
    assert listed(store, MINE._replace(created_after=made[0] - 1, created_before=made[0] + 1)) == ids[::-1]
    assert listed(store, MINE._replace(created_after=made[0])) == []
    assert listed(store, MINE._replace(created_before=made[0])) == []
    rows = {row.id: row for row in ask(store, store.verbs.list_operations(MINE, None, 100))}
    for id in ids:
        assert rows[id] == shown(store, id)._replace(result=None)


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_paging_while_others_insert(store: Store, make: Make, limit: int) -> None:
    """Nothing that was there is missed or seen twice; what comes in meanwhile is newer, so it is not in the way."""
    there = [watched() for _ in range(60)]
    put(store, *there)
    other, after, seen = make(), None, list[str]()
    while True:
        inserts = [other.enqueue([watched()]) for _ in range(3)]
        page = ask(store, store.verbs.list_operations(MINE, after, limit))
        for insert in inserts:
            insert.result(TIMEOUT)
        if not page:
            break
        seen += [row.id for row in page]
        after = page[-1].id
    assert seen[-60:] == [new.job.id for new in reversed(there)]
    assert len(seen) == len(set(seen)) <= 63


# ── jobs, live and ended ─────────────────────────────────────────────────────────────────────────────────────────────


def jobs_listed(store: Store, where: JobFilter, after: str | None = None, limit: int = 100) -> list[str]:
    found: list[Found] = ask(store, store.verbs.list_jobs(where, after, limit))
    assert all((one.job is None) != (one.finished is None) for one in found)
    return [(one.job or one.finished).id for one in found]  # type: ignore[union-attr]


def test_jobs_are_listed_from_both_tables(store: Store, hand: Hand) -> None:
    jobs = [new_job(queue="ab"[n % 2], task=("mail", "push")[n % 3 == 0], owner=str(n % 4)) for n in range(24)]
    put(store, *jobs)
    rng = random.Random(1)
    for job in hand.claim(18, queues=(("a", 1), ("b", 1)), tasks='["mail@1","push@1"]'):
        match rng.randrange(4):
            case 0:
                hand.say(job, Done("1"))
            case 1:
                hand.say(job, Errored(error("raised", "x"), False))
            case 2:
                perform(store, store.verbs.cancel(job.id, "x"))
                hand.say(live(store, job.id), Done("1"))
            case _:
                pass  # goes on running
    state: dict[str, int] = {}
    for new in jobs:
        found = ask(store, store.verbs.find(new.job.id))
        assert found is not None
        state[new.job.id] = int((found.job or found.finished).state)  # type: ignore[union-attr]
    assert len(set(state.values())) == 5
    newest = [new.job for new in reversed(jobs)]
    assert jobs_listed(store, JobFilter()) == [job.id for job in newest]
    for wanted in ((2,), (3,), (4,), (5,), (6,), (2, 3), (5, 6), (2, 5), (0, 1)):
        expected = [job.id for job in newest if state[job.id] in wanted]
        assert jobs_listed(store, JobFilter(states=wanted)) == expected, wanted
    for where in (
        JobFilter(queue="a"),
        JobFilter(task="push"),
        JobFilter(owner="2"),
        JobFilter((5,), "b", "mail", "1"),
    ):
        expected = [
            job.id
            for job in newest
            if (not where.states or state[job.id] in where.states)
            and all(
                wish is None or wish == got
                for wish, got in ((where.queue, job.queue), (where.task, job.task), (where.owner, job.owner))
            )
        ]
        assert jobs_listed(store, where) == expected, where


@pytest.mark.parametrize("most", [1, 3, 10, 100])
@pytest.mark.parametrize(
    "where",
    [
        JobFilter(),
        JobFilter(queue="b"),
        JobFilter(states=(0, 2)),
        JobFilter(states=(State.SUCCEEDED,), task="push"),
        JobFilter(states=(State.FAILED,), queue="a"),
        JobFilter(queue="nowhere"),
    ],
    ids=str,
)
def test_a_walk_comes_to_all_that_is_meant_a_few_rows_at_a_time(
    store: Store, hand: Hand, where: JobFilter, most: int
) -> None:
    put(store, *(new_job(queue="ab"[n % 2], task=("mail", "push")[n % 3 == 0]) for n in range(24)))
    for n, job in enumerate(hand.claim(18, queues=(("a", 1), ("b", 1)), tasks='["mail@1","push@1"]')):
        if n % 3:
            hand.say(job, Done("1") if n % 2 else Errored(error("raised", "x"), False))
    found: list[Found] = ask(store, store.verbs.list_jobs(where, None, 100))
    for limit in (2, 100):
        walked: list[Found] = []
        counted, after, steps = 0, None, 0
        while True:
            page, floor = ask(store, store.verbs.walk(where, after, limit, most))
            number, same = ask(store, store.verbs.count_walk(where, after, most))
            assert same == floor
            assert len(page) <= min(limit, number) <= 2 * most  # so many of each of the two tables
            walked += page
            counted += len(page)
            steps += 1
            assert steps <= 24 + 2 * len(found) + 1, "it goes on for ever"
            if len(page) == limit and number > limit:
                after = (page[-1].job or page[-1].finished).id  # type: ignore[union-attr]
            elif floor is None:
                break
            else:
                after = floor
        assert walked == found


def test_a_job_that_ends_between_two_pages_is_seen_once(store: Store, hand: Hand) -> None:
    jobs = [new_job() for _ in range(40)]
    put(store, *jobs)
    claimed, seen, after = hand.claim(40), list[str](), None
    while page := jobs_listed(store, JobFilter(), after, 7):
        seen += page
        after = page[-1]
        hand.finish(*claimed[:9])
        del claimed[:9]
        put(store, new_job())
    assert seen == [new.job.id for new in reversed(jobs)]


def test_dead_letters_are_a_query(store: Store, hand: Hand) -> None:
    jobs = [new_job() for _ in range(5)]
    put(store, *jobs)
    for job in hand.claim(5)[:3]:
        hand.say(job, Errored(error("raised", "x"), False))
    dead = JobFilter(states=(State.FAILED,))
    first = jobs_listed(store, dead, None, 2)
    assert first + jobs_listed(store, dead, first[-1], 2) == [new.job.id for new in reversed(jobs[:3])]
    assert jobs_listed(store, dead._replace(task="push")) == []


def test_an_unknown_id_finds_nothing(store: Store) -> None:
    for id in ("", "x", "' or 1=1 --", "\x00", "01890a5d-ac96-774b-bcce-b302099a8057"):
        assert ask(store, store.verbs.find(id)) is None
        assert ask(store, store.verbs.operation(id)) is None
    assert now() + HOUR > store.now()
