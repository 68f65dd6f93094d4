"""Many jobs at once: what a filter means, and what is done to all that it means."""

import asyncio
import json
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ...core import bulk
from ...core.ids import uuid7
from ...core.job import LIVE, TERMINAL, Finished, Job, State
from ...core.outcome import Canceled, Done, Errored, Outcome, error
from ...core.policy import Policy
from ...core.selection import JobFilter
from ...errors import Conflict, NotFound
from ...ports import Enqueued, Found, Hint, NewJob, Page, Round, Statement, Store, Verb
from .fixtures import Make
from .kit import HOUR, Hand, ask, change, ended, fresh, live, new_job, now, perform, put, shown, told, watched

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
FAIL = Errored(error("raised", "it broke", exception="shop.CardDeclined"), False)


# ── which ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rows_of(store: Store, where: JobFilter) -> list[Job | Finished]:
    return [
        one for found in ask(store, store.verbs.list_jobs(where, None, 1000)) if (one := found.job or found.finished)
    ]


def means(where: JobFilter, row: Job | Finished, again: bool) -> bool:
    """What a filter says, one job at a time."""
    finished = isinstance(row, Finished)
    since = row.finished_at if isinstance(row, Finished) else int(row.id[:8] + row.id[9:13], 16) * 1000
    said = json.loads(row.error) if isinstance(row, Finished) and row.error else {}
    return (
        (not where.states or row.state in where.states)
        and where.queue in (None, row.queue)
        and where.task in (None, row.task)
        and where.owner in (None, row.owner)
        and (where.key_prefix is None or (row.key or "").startswith(where.key_prefix))
        and (where.before is None or since < where.before)
        and (where.error is None or (finished and where.error in (said.get("kind"), said.get("class"))))
        and (not where.outstanding or (finished and not again))
    )


def test_a_filter_means_the_same_everywhere(store: Store, hand: Hand) -> None:
    """Listed, counted, and as said in plain words: on a small zoo of jobs, for many filters."""
    early = now() - 10 * HOUR
    at = int(early / 1000) * 1000
    zoo = [
        new_job(
            queue="ab"[n % 2],
            task=("mail", "push")[n // 2 % 2],
            owner=(None, "o_1", "o%1")[n % 3],
            key=(None, f"a:{n}", f"a%{n}", f"ä:{n}")[n % 4],
            state=(State.READY, State.WAITING)[n // 12],
            id=uuid7(at + n * HOUR // 4, n.to_bytes(10, "big")),
        )
        for n in range(24)
    ]
    put(store, *zoo)
    claimed = hand.claim(10, queues=(("a", 1), ("b", 1)), tasks='["mail@1","push@1"]')
    outcomes: list[Outcome] = [Done(None), FAIL, Errored(error("timeout", "late"), False), Canceled("no")]
    hand.settle(*(change(job, outcomes[n % 4]) for n, job in enumerate(claimed[:8])))
    again = [job.id for job in claimed[:8] if ended(store, job.id).state is State.FAILED][:2]
    new = [fresh() for _ in again]
    for old, id in zip(again, new, strict=True):
        perform(store, store.verbs.retry(old, id))
    everything = rows_of(store, JobFilter())
    assert len(everything) == 24 + len(again)
    live_states, end_states = tuple(sorted(map(int, LIVE))), tuple(sorted(map(int, TERMINAL)))

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=SLOW,
        database=None,
    )
    @given(
        st.builds(
            JobFilter,
            states=st.sampled_from([(), (5,), (4, 6), live_states, end_states, (2,), (3, 5)]),
            queue=st.sampled_from([None, None, "a", "b", "c"]),
            task=st.sampled_from([None, None, "mail", "push"]),
            owner=st.sampled_from([None, None, "o_1", "o%1"]),
            key_prefix=st.sampled_from([None, None, None, "a", "a%", "ä:", "a_", "A"]),
            before=st.sampled_from([None, None, at + 2 * HOUR, now() - HOUR, now() + HOUR]),
            error=st.sampled_from([None, None, "raised", "timeout", "shop.CardDeclined", "nothing"]),
            outstanding=st.booleans(),
        )
    )
    def check(where: JobFilter) -> None:
        wanted = sorted((row.id for row in everything if means(where, row, row.id in again)), reverse=True)
        assert [row.id for row in rows_of(store, where)] == wanted, where
        assert ask(store, store.verbs.count_jobs(where)) == len(wanted), where

    check()


# ── cancel many ──────────────────────────────────────────────────────────────────────────────────────────────────────

LIVING = JobFilter(tuple(sorted(int(state) for state in LIVE)), queue="a")


def sweep(store: Store, page: Callable[[str | None], Verb[Page]]) -> list[Page]:
    """Page after page, to the end."""
    pages: list[Page] = []
    after: str | None = None
    while True:
        pages.append(perform(store, page(after)))
        after = pages[-1].last
        if after is None:
            return pages


def test_many_are_asked_to_stop_page_by_page(store: Store, hand: Hand, heard: list[Hint]) -> None:
    waiting = [watched(queue="a"), new_job(queue="a", state=State.SCHEDULED, run_at=now() + HOUR)]
    put(store, new_job(queue="a", priority=0), new_job())
    running = hand.claim_one(queues=(("a", 1),))
    put(store, *waiting, *(new_job(queue="a") for _ in range(3)))
    heard.clear()
    pages = sweep(store, lambda after: store.verbs.cancel_page(LIVING, after, 2, "enough"))
    assert [page.done for page in pages] == [2, 2, 2, 0]
    assert sum(page.skipped for page in pages) == 0
    for new in waiting:
        after = ended(store, new.job.id)
        assert (after.state, json.loads(after.error or "")["reason"]) == (State.CANCELED, "enough")
    assert told(store, waiting[0].job.id)[-1][1:] == ("canceled", {"reason": "enough"})
    asked = live(store, running.id)
    assert (asked.state, asked.cancel_reason) == (State.RUNNING, "enough")
    assert Hint("cancel", (running.id,)) in heard
    assert ask(store, store.verbs.count_jobs(JobFilter(queue="default"))) == 1, "another queue's is left alone"
    again = sweep(store, lambda after: store.verbs.cancel_page(LIVING, after, 2, "again"))
    assert [(page.done, page.skipped) for page in again] == [(0, 1)], "it had been asked before"
    assert live(store, running.id).cancel_reason == "enough"


def test_what_has_gone_on_meanwhile_is_skipped(store: Store, hand: Hand) -> None:
    """By id, as a page looks at its jobs once they are held: one has started, one has ended, one was never there."""
    put(store, *(new_job(queue="a") for _ in range(3)))
    started, finished = hand.claim(2, queues=(("a", 1),))
    hand.finish(finished)
    [ready] = rows_of(store, JobFilter((State.READY,)))
    where = JobFilter((State.READY,), queue="a")
    page = perform(store, store.verbs.cancel_these([started.id, finished.id, ready.id, fresh()], where, "no"))
    assert page == Page(1, 3, (), None)
    assert live(store, started.id).cancel_at is None
    assert ended(store, finished.id).state is State.SUCCEEDED
    assert ended(store, ready.id).state is State.CANCELED


# ── run again ────────────────────────────────────────────────────────────────────────────────────────────────────────

DEAD = JobFilter((State.FAILED,), outstanding=True)


def dead(store: Store, hand: Hand, *news: NewJob) -> list[Finished]:
    """These, failed for good."""
    put(store, *news)
    queues = tuple((queue, 1) for queue in sorted({new.job.queue for new in news}))
    for job in hand.claim(len(news), queues=queues):
        hand.say(job, FAIL, Policy(max_attempts=1))
    return [ended(store, new.job.id) for new in news]


def retry(store: Store, after: str | None, count: int, max_attempts: int | None = None) -> Verb[Page]:
    return store.verbs.retry_page(DEAD, after, [fresh() for _ in range(count)], max_attempts)


def test_dead_letters_are_run_again_once(store: Store, hand: Hand, heard: list[Hint]) -> None:
    letters = dead(store, hand, *(watched(queue="a", args=f'{{"n":{n}}}', options='{"timeout":9}') for n in range(5)))
    heard.clear()
    pages = sweep(store, lambda after: retry(store, after, 2, 7))
    assert [page.done for page in pages] == [2, 2, 1]
    assert Hint("work", ("a",)) in heard
    new = rows_of(store, JobFilter((State.READY,)))
    assert isinstance(new[0], Job)
    assert {row.retry_of for row in new} == {letter.id for letter in letters}
    for row in new:
        assert isinstance(row, Job)
        old = ended(store, row.retry_of or "")
        assert old in letters, "what has ended stays as it ended"
        assert (row.args, row.attempt, row.crashes, row.fence, row.queue) == (old.args, 1, 0, 0, "a")
        assert json.loads(row.options or "") == {"timeout": 9, "max_attempts": 7}
        assert shown(store, row.id).retry_of == old.id
        assert ask(store, store.verbs.retried_as(old.id)) == row.id
    assert sum(page.done for page in sweep(store, lambda after: retry(store, after, 2))) == 0
    assert ask(store, store.verbs.count_jobs(DEAD)) == 0
    assert ask(store, store.verbs.count_jobs(JobFilter((State.FAILED,)))) == 5
    hand.claim(5, queues=(("a", 1),))


def test_one_that_fails_again_is_a_dead_letter_again(store: Store, hand: Hand) -> None:
    dead(store, hand, new_job())
    perform(store, retry(store, None, 5))
    hand.say(hand.claim_one(), FAIL, Policy(max_attempts=1))
    assert ask(store, store.verbs.count_jobs(DEAD)) == 1
    assert perform(store, retry(store, None, 5)).done == 1


def test_a_letter_whose_key_is_taken_waits_for_another_time(store: Store, hand: Hand) -> None:
    keyed, plain = dead(store, hand, new_job(key="k"), new_job())
    put(store, new_job(key="k"))
    holder = hand.claim_one()
    page = perform(store, retry(store, None, 5))
    assert (page.done, page.skipped) == (1, 1)
    assert ask(store, store.verbs.retried_as(keyed.id)) is None
    assert ask(store, store.verbs.retried_as(plain.id)) is not None
    hand.finish(holder)
    assert perform(store, retry(store, None, 5)).done == 1


def test_at_most_once_and_erased_arguments_are_skipped(store: Store, hand: Hand) -> None:
    once, erased, good = dead(store, hand, new_job(once=True), new_job(), new_job())

    def erase() -> Verb[int]:
        sql = "update offpath_history set args = null where cast(id as text) = :id"
        gone: int = yield Statement(sql, {"id": erased.id}, lambda rows: rows[0][0])
        return gone

    assert perform(store, erase()) == 1
    page = perform(store, retry(store, None, 5, 3))
    assert (page.done, page.skipped) == (1, 2)
    assert ask(store, store.verbs.retried_as(good.id)) is not None
    assert perform(store, retry(store, None, 5)).done == 1, "with the one attempt it has"
    assert ask(store, store.verbs.retried_as(once.id)) is not None


def test_a_single_retry_counts_too(store: Store, hand: Hand) -> None:
    [letter] = dead(store, hand, new_job())
    new_id = fresh()
    perform(store, store.verbs.retry(letter.id, new_id, 4))
    assert json.loads(live(store, new_id).options or "") == {"max_attempts": 4}
    assert ask(store, store.verbs.retried_as(letter.id)) == new_id
    assert perform(store, retry(store, None, 5)) == Page(0, 0, (), None)
    assert ask(store, store.verbs.retried_as("nonsense")) is None


def test_a_change_of_many_jobs_is_no_outstanding_dead_letter(store: Store, hand: Hand) -> None:
    """It is never run again: nobody has to see to it for ever."""
    put(store, new_job(), new_job(task=bulk.TASK))
    for job in hand.claim(2, tasks=f'["mail@1", "{bulk.TASK}@1"]'):
        hand.say(job, FAIL, Policy(max_attempts=1))
    failed = JobFilter((State.FAILED,))
    some = JobFilter((State.FAILED, State.CANCELED))
    for where, count in ((failed, 2), (DEAD, 1), (some, 2), (some._replace(outstanding=True), 1)):
        assert ask(store, store.verbs.count_jobs(where)) == count, where
        assert len(rows_of(store, where)) == count, where
        assert ask(store, store.verbs.count_walk(where, None, 100))[0] == count, where
    assert ask(store, store.verbs.totals(100)).outstanding == 1
    page = perform(store, retry(store, None, 5))
    assert (page.done, page.skipped) == (1, 0)


def test_who_has_not_seen_that_it_was_run_again_does_not_run_it_again(store: Store, hand: Hand) -> None:
    [letter] = dead(store, hand, new_job())
    first, second, third = fresh(), fresh(), fresh()
    assert perform(store, store.verbs.retry(letter.id, first, seen=None)) == Enqueued(first, False)
    for seen in (None, fresh()):
        with pytest.raises(Conflict, match=f"run again already, as {first}"):
            perform(store, store.verbs.retry(letter.id, second, seen=seen))
    assert ask(store, store.verbs.find(second)) is None
    assert perform(store, store.verbs.retry(letter.id, second, seen=first)) == Enqueued(second, False)
    assert perform(store, store.verbs.retry(letter.id, third)) == Enqueued(third, False)
    with pytest.raises(NotFound):
        perform(store, store.verbs.retry(fresh(), fresh(), seen=None))


async def test_of_two_who_run_one_again_at_once_one_does(store: Store, make: Make, hand: Hand) -> None:
    letters = dead(store, hand, *(new_job() for _ in range(20)))
    other = make()
    for letter in letters:
        both = [one.perform(partial(one.verbs.retry, letter.id, fresh(), None, None)) for one in (store, other)]
        said = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(one).__name__ for one in said) == ["Conflict", "Enqueued"]


async def test_two_who_run_the_same_letters_again_run_none_twice(store: Store, make: Make, hand: Hand) -> None:
    letters = dead(store, hand, *(new_job() for _ in range(40)))
    other = make()
    first = [store.perform(partial(retry, store, None, 40)) for _ in range(2)]
    second = [other.perform(partial(retry, other, None, 40)) for _ in range(2)]
    pages = [await pending for pending in (*first, *second)]
    assert sum(page.done for page in pages) == len(letters)
    new = rows_of(store, JobFilter((State.READY,)))
    assert sorted(row.retry_of or "" for row in new) == sorted(letter.id for letter in letters)


# ── erase many ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_are_erased_with_all_that_is_known_of_them(store: Store, hand: Hand) -> None:
    put(store, *(watched(queue="a") for _ in range(3)), watched(queue="b"))
    for queue in "ab":
        hand.finish(*hand.claim(queues=((queue, 1),)))
    put(store, watched(queue="a"))
    gone = rows_of(store, JobFilter((State.SUCCEEDED,), queue="a"))
    where = JobFilter((State.SUCCEEDED, State.FAILED, State.CANCELED), queue="a")
    pages = sweep(store, lambda after: store.verbs.delete_page(where, after, 2))
    assert [(page.done, page.skipped) for page in pages] == [(2, 0), (1, 0)]
    for row in gone:
        assert ask(store, store.verbs.find(row.id)) is None
        assert ask(store, store.verbs.operation(row.id)) is None
        assert ask(store, store.verbs.events(row.id, 0, 9)) == []
    assert {row.queue for row in rows_of(store, JobFilter())} == {"a", "b"}, "what lives, and what was not meant"
    assert len(rows_of(store, JobFilter())) == 2
    assert perform(store, store.verbs.delete_page(where, None, 2)) == Page(0, 0, (), None)


def test_a_page_goes_on_behind_what_is_skipped(store: Store, hand: Hand) -> None:
    letters = sorted(dead(store, hand, *(new_job() for _ in range(5))), key=lambda one: one.id, reverse=True)
    round = Round()
    round.skip = {letters[0].id, letters[1].id, letters[3].id}
    where = JobFilter((State.FAILED,))
    pages = sweep(store, lambda after: store.verbs.delete_page(where, after, 1, round))
    assert sum(page.done for page in pages) == 2
    assert {row.id for row in rows_of(store, JobFilter())} == round.skip


def test_nothing_found_is_not_an_error(store: Store) -> None:
    assert ask(store, store.verbs.count_jobs(JobFilter())) == 0
    assert perform(store, store.verbs.cancel_page(LIVING, None, 5, "x")) == Page(0, 0, (), None)
    assert perform(store, retry(store, None, 5)) == Page(0, 0, (), None)
    assert ask(store, store.verbs.list_jobs(JobFilter(error="x", states=(2,)), None, 5)) == list[Found]()
