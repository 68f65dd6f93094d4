"""The inbox: at most one job for a message, lines whose jobs run one after the other, and what could not be read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ...core.inbox import QUEUE, TASK
from ...core.job import State
from ...core.options import SECOND
from ...core.outcome import Done, Errored, Snoozed, error
from ...ports import Round, Store, Verb
from ...ports.inbox import Entry, Letter
from ...ports.steps import Statement
from .fixtures import Hire, Make
from .kit import POLICY, Hand, ask, ended, expire, live, lose, new_job, now, perform, put, wait

WEEK = 7 * 86_400.0
RAW = b"\xff\x00 no text \x80"


def entry(id: str | None = None, line: str | None = None, *, source: str = "/orders", **given: Any) -> Entry:
    new = new_job(**given)
    return Entry(new.job.task, source, id, new, line)


def take(store: Store, *entries: Entry, seconds: float = WEEK) -> list[bool]:
    return perform(store, store.verbs.take(entries, seconds))


def lined(store: Store, *lines: str) -> list[str]:
    """One job in each of these lines, in this order: their ids."""
    entries = [entry(None, line) for line in lines]
    assert take(store, *entries) == [True] * len(lines)
    return [one.new.job.id for one in entries]


def states(store: Store, *ids: str) -> list[State]:
    return [live(store, id).state for id in ids]


def change_rows(store: Store, sql: str) -> None:
    def verb() -> Verb[None]:
        yield Statement(sql, {}, lambda rows: None)

    perform(store, verb())


# ── what is known ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_that_comes_again_makes_no_second_job(store: Store, hand: Hand) -> None:
    first, again, other = entry("1"), entry("1"), entry("2")
    assert take(store, first, other) == [True, True]
    assert take(store, again, entry("3")) == [False, True]
    assert ask(store, store.verbs.find(again.new.job.id)) is None
    assert len(hand.claim()) == 3
    assert take(store, entry("1")) == [False], "nor while its job runs, nor later"


def test_a_message_twice_in_one_batch_is_one_job(store: Store, hand: Hand) -> None:
    assert take(store, entry("1"), entry("2"), entry("1")) == [True, True, False]
    assert len(hand.claim()) == 2


def test_an_id_is_known_of_one_source_and_for_one_task(store: Store) -> None:
    assert take(store, entry("1"), entry("1", source="/users"), entry("1", task="push")) == [True] * 3


def test_what_has_no_id_cannot_be_known(store: Store) -> None:
    assert take(store, entry(), entry()) == [True, True]
    assert take(store, entry()) == [True]


def test_an_odd_id_is_as_good_as_any(store: Store) -> None:
    for id in ("", "' or 1=1 --", "é\U0001f4a1", "a b", ":name %s ?"):
        assert [take(store, entry(id)), take(store, entry(id))] == [[True], [False]]


def test_what_is_known_is_forgotten_when_its_time_is_up(store: Store) -> None:
    take(store, entry("short"), seconds=0)
    take(store, entry("long"))
    while perform(store, store.verbs.prune(100)):
        pass
    assert take(store, entry("short"), entry("long")) == [True, False]


def test_of_many_consumers_with_the_same_messages_each_is_taken_once(store: Store, make: Make, hand: Hand) -> None:
    other = make()

    async def main() -> list[Any]:
        def one(n: int) -> Any:
            entries = [entry(str(id)) for id in (range(20) if n % 2 else reversed(range(20)))]
            return wait((store, other)[n % 2].perform(lambda: store.verbs.take(entries, WEEK)))

        return await asyncio.gather(*(one(n) for n in range(8)))

    assert sum(map(sum, asyncio.run(main()))) == 20
    assert len(hand.claim()) == 20


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_jobs_of_a_line_run_one_after_the_other(store: Store, hand: Hand) -> None:
    ids = lined(store, "a", "b", "a", "a")
    ids += lined(store, "a")
    assert states(store, *ids) == [State.READY, State.READY, State.WAITING, State.WAITING, State.WAITING]
    order: list[str] = []
    while jobs := hand.claim():
        order += [job.id for job in jobs]
        hand.finish(*jobs)
    assert [id for id in order if id != ids[1]] == [ids[0], *ids[2:]]


def test_one_that_fails_holds_up_its_line_until_it_has_succeeded(store: Store, hand: Hand) -> None:
    first, second, other = lined(store, "a", "a", "b")
    job = next(job for job in hand.claim() if job.id == first)
    hand.say(job, Errored(error("raised", "no")))
    assert states(store, first, second, other) == [State.SCHEDULED, State.WAITING, State.RUNNING]
    change_rows(store, "update offpath_job set run_at = 0 where state = 0")
    [job] = hand.claim()
    assert job.id == first
    hand.say(job, Snoozed(3600))
    assert states(store, first, second) == [State.SCHEDULED, State.WAITING]
    change_rows(store, "update offpath_job set run_at = 0 where state = 0")
    hand.say(hand.claim_one(), Done(None))
    assert hand.claim_one().id == second


def test_one_that_is_dead_holds_up_nobody(store: Store, hand: Hand) -> None:
    first, second = lined(store, "a", "a")
    hand.say(hand.claim_one(), Errored(error("raised", "no"), retryable=False))
    assert ended(store, first).state is State.FAILED
    assert hand.claim_one().id == second


def test_a_line_outlives_the_death_of_a_worker(store: Store, hire: Hire, hand: Hand) -> None:
    first, second = lined(store, "a", "a")
    dying = hire(-1.0)
    assert dying.claim_one().id == first
    lose(dying, hand)
    expire(store, dying.id)
    assert states(store, first, second) == [State.READY, State.WAITING]
    assert hand.claim_one().id == first


def test_one_that_is_canceled_in_the_middle_frees_nobody_too_early(store: Store, hand: Hand) -> None:
    first, second, third = lined(store, "a", "a", "a")
    perform(store, store.verbs.cancel(second, "enough"))
    assert states(store, first, third) == [State.READY, State.WAITING]
    perform(store, store.verbs.cancel(first, "enough"))
    assert hand.claim_one().id == third


def test_a_line_that_was_empty_begins_anew(store: Store, hand: Hand) -> None:
    for _ in range(2):
        [id] = lined(store, "a")
        job = hand.claim_one()
        assert job.id == id
        hand.finish(job)


def test_whoever_waits_behind_nobody_is_let_go(store: Store, hand: Hand) -> None:
    """What no verb does: two transactions that do not see each other end, and one is left waiting."""
    first, second, third = lined(store, "a", "a", "a")
    lined(store, "b", "b")
    change_rows(store, f"update offpath_job set state = 1 where id = '{first}'")
    assert perform(store, store.verbs.free_lines(100)) == 1
    assert perform(store, store.verbs.free_lines(100)) == 0
    assert states(store, first, second, third) == [State.SCHEDULED, State.WAITING, State.WAITING]
    assert first in {job.id for job in hand.claim()}


def test_lines_are_looked_at_page_by_page_from_where_the_last_look_ended(store: Store) -> None:
    round = Round()
    for line in "abcde":
        lined(store, line, line)
    lined(store, "alone")
    [stuck, _] = lined(store, "f", "f")
    change_rows(store, f"update offpath_job set state = 1 where id = '{stuck}'")
    places, freed = list[str](), 0
    for _ in range(4):
        freed += perform(store, store.verbs.free_lines(2, round))
        round.after = round.next
        places.append(round.after)
    assert (places, freed) == (["b", "d", "f", ""], 1), "and not one in which nobody waits"
    assert states(store, stuck) == [State.SCHEDULED]


def test_many_consumers_put_into_one_line_and_one_job_of_it_runs_at_a_time(
    store: Store, make: Make, hire: Hire
) -> None:
    other, done = make(), list[str]()
    hands = (hire(), hire(on=other), hire(), hire(on=other))  # a worker has one exchange at a time

    def put_one(n: int) -> Any:
        return wait((store, other)[n % 2].perform(lambda: store.verbs.take([entry(str(n), "a")], WEEK)))

    async def main() -> None:
        for round in range(6):
            turns = [asyncio.to_thread(turn, hand) for hand in hands]
            await asyncio.gather(*(put_one(4 * round + n) for n in range(4)), *turns)

    def turn(hand: Hand) -> None:
        running = hand.claim()
        assert len(running) <= 1
        done.extend(job.id for job in running)
        hand.finish(*running)

    asyncio.run(main())
    while len(done) < 24:
        before = len(done)
        turn(hands[0])
        assert len(done) > before or perform(store, store.verbs.free_lines(100))
    assert len(set(done)) == 24


def test_the_depth_of_a_queue_counts_what_waits_in_line(store: Store, hand: Hand) -> None:
    put(store, new_job(), new_job(queue="other"), new_job(lane="limit:x"), new_job(once=True))
    lined(store, "a", "a", "a")
    assert ask(store, store.verbs.depth("default", 100)) == 6
    assert ask(store, store.verbs.depth("default", 4)) == 4
    assert ask(store, store.verbs.depth("none", 4)) == 0


# ── what could not be read ───────────────────────────────────────────────────────────────────────────────────────────


def letter(body: bytes = RAW) -> Entry:
    new = new_job(task=TASK, queue=QUEUE)
    id = new.job.id
    new = new._replace(job=new.job._replace(key=id, args=json.dumps({"letter": id})))
    kept = Letter(id, id, "", "redis", '["t","topic","g"]', "t@1", body, len(body), "ab" * 32, '{"headers":{}}', now())
    return Entry(TASK, "t", kept.digest, new, None, kept)


def kept(store: Store, id: str) -> Letter | None:
    return ask(store, store.verbs.letter(id))


def test_a_letter_comes_back_byte_for_byte(store: Store) -> None:
    one = letter()
    assert take(store, one) == [True]
    assert kept(store, one.new.job.id) == one.letter
    assert take(store, letter()) == [False], "the same poison is one dead letter"
    large = letter(RAW * 100_000)._replace(id="large")
    take(store, large)
    assert kept(store, large.new.job.id) == large.letter
    assert kept(store, new_job().job.id) is None


def look_now(store: Store) -> None:
    change_rows(store, "update offpath_letter set look_at = 0")
    while perform(store, store.verbs.prune(100)):
        pass


def test_a_letter_is_kept_as_long_as_the_newest_job_that_read_it(store: Store, hire: Hire) -> None:
    hand = hire(tasks=(f"{TASK}@1",))
    one = letter()
    id = one.new.job.id
    take(store, one)
    hand.say(hand.claim_one(queues=((QUEUE, 1),)), Errored(error("raised", "no"), retryable=False), POLICY)
    look_now(store)
    assert kept(store, id) is not None
    again = perform(store, store.verbs.retry(id, new_job().job.id)).id
    perform(store, store.verbs.delete(id))
    assert kept(store, id) is None, "whoever erases its job erases it"
    take(store, one._replace(id="other", new=one.new._replace(job=one.new.job._replace(id=new_job().job.id, key=None))))
    assert kept(store, id) is not None
    change_rows(store, f"update offpath_letter set job = '{id}'")
    look_now(store)
    assert kept(store, id) is not None, "somebody is still to read it"
    assert perform(store, store.verbs.reread(id, again, [], WEEK)) == []
    read = kept(store, id)
    assert read is not None
    assert read.job == again
    perform(store, store.verbs.cancel(again, "enough"))
    look_now(store)
    assert kept(store, id) is not None
    perform(store, store.verbs.delete(again))
    assert kept(store, id) is None


def test_a_letter_whose_job_is_nowhere_goes(store: Store) -> None:
    one = letter()
    take(store, one._replace(new=one.new._replace(job=one.new.job._replace(key=None))))
    change_rows(store, f"delete from offpath_job where id = '{one.new.job.id}'")
    look_now(store)
    assert kept(store, one.new.job.id) is None


def test_reading_a_letter_again_makes_its_jobs_once(store: Store) -> None:
    one = letter()
    take(store, one)
    id = one.new.job.id
    first, second = entry("7"), entry("7")
    assert perform(store, store.verbs.reread(id, id, [first], WEEK)) == [True]
    assert perform(store, store.verbs.reread(id, id, [second], WEEK)) == [False]
    assert live(store, first.new.job.id).state is State.READY
    assert live(store, first.new.job.id).run_at <= now() + SECOND
