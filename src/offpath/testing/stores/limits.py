"""Jobs under a limit: how many run at once, and what gives a place back. (`turns.py` has the rest.)"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from ...core.job import Job, State
from ...core.limits import Rule
from ...core.options import SECOND, SUSPECT
from ...core.outcome import Done, Errored, Interrupted, Outcome, Snoozed, error
from ...ports import Look, NewJob, Seen, Store
from .fixtures import Hire
from .kit import Hand, ask, change, expire, live, lose, new_job, now, perform, put, shown, watched

HOUR = 3600 * SECOND


def declare(store: Store, *rules: Rule) -> None:
    perform(store, store.verbs.declare(rules))


def one_at_a_time(name: str = "t", most: int = 1) -> Rule:
    return Rule(name, most, None, 1)


def look(hand: Hand, room: int = 100, **given: Any) -> tuple[list[Job], Seen]:
    """Claim with a look for jobs under a limit; what came, and what it said."""
    limited = Look(
        room, given.pop("slots", room), given.pop("cursors", {}), given.pop("first", False), given.pop("eager", False)
    )
    said = hand.exchange(want=hand.want(given.pop("limit", 100), limited=limited, **given))
    return said.claimed, said.limited or Seen({})


def ids(jobs: Iterable[Job | NewJob]) -> list[str]:
    return [one.id if isinstance(one, Job) else one.job.id for one in jobs]


def lanes(jobs: Iterable[Job]) -> list[str | None]:
    return [job.lane for job in jobs]


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_does_not_ask_gets_none_of_them(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=5))
    plain, limited = new_job(), new_job(lane="t", priority=1)
    put(store, limited, plain)
    assert ids(hand.claim(10)) == [plain.job.id]
    assert ask(store, store.verbs.limited_queues()) == ["default"]
    assert "default" in ask(store, store.verbs.queues())
    [job], seen = look(hand)
    assert (job.id, job.lane, job.state, job.fence, job.worker) == (limited.job.id, "t", State.RUNNING, 1, hand.id)
    assert live(store, job.id) == job
    assert (seen.again_at, seen.more, seen.busy) == (None, False, False)
    assert ask(store, store.verbs.limited_queues()) == []


def test_room_queues_tasks_and_versions_are_heeded(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50))
    put(store, new_job(lane="t", queue="other"), new_job(lane="t", task="push"), new_job(lane="t", version=2))
    mine = [new_job(lane="t") for _ in range(4)]
    put(store, *mine)
    assert ids(look(hand, 0)[0]) == []
    got, seen = look(hand, 3)
    assert (ids(got), seen.more) == (ids(mine[:3]), True)
    got, seen = look(hand, 3)
    assert (ids(got), seen.more) == (ids(mine[3:]), False)
    assert look(hand)[0] == []
    assert [job.queue for job in look(hand, queues=(("other", 1),))[0]] == ["other"]
    assert [job.task for job in look(hand, tasks='["push@1"]')[0]] == ["push"]


def test_what_was_declared_and_what_runs_under_it_is_told(store: Store, hand: Hand) -> None:
    assert ask(store, store.verbs.limits()) == ([], [])
    few, slow = Rule("t", 2, None, 1), Rule("r", None, HOUR, 3)
    declare(store, few, slow)
    put(store, *(new_job(lane="t") for _ in range(3)), new_job(lane="t\ta"), new_job(lane="r"), new_job())
    assert ask(store, store.verbs.limits()) == ([slow, few], [])
    got, _ = look(hand)
    running = Counter(job.lane for job in got if job.lane is not None)
    assert running["t"] == 2
    rules, lanes = ask(store, store.verbs.limits())
    assert (rules, Counter(dict(lanes))) == ([slow, few], running)
    hand.finish(*got)
    declare(store, one_at_a_time())
    assert ask(store, store.verbs.limits()) == ([slow, one_at_a_time()], [])


def test_a_paused_queue_has_no_turn(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50), Rule("r", None, HOUR, 1))
    mine, rated = new_job(lane="t"), new_job(lane="r")
    put(store, mine, rated)
    perform(store, store.verbs.pause("default", ""))
    assert look(hand) == ([], Seen({}))
    perform(store, store.verbs.resume("default"))
    assert sorted(ids(look(hand)[0])) == sorted(ids((mine, rated))), "and no start was counted meanwhile"


def test_order_in_a_lane_is_priority_then_time_then_id(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50))
    at = now() - HOUR
    last, first, second, third = (
        new_job(lane="t", priority=priority, run_at=at + later) for priority, later in ((9, 0), (1, 5), (5, 1), (5, 1))
    )
    put(store, last, second, third, first)
    assert ids(look(hand)[0]) == ids((first, second, third, last))


def test_who_must_start_at_once_comes_only_into_a_free_slot(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50), Rule("r", None, 1, 50))
    put(store, *(new_job(lane="r") for _ in range(3)))
    once, crashed = new_job(lane="t", once=True), new_job(lane="t", crashes=1)
    put(store, once, crashed)
    got, seen = look(hand, 10, slots=0)
    assert (got, seen.starved, seen.more) == ([], True, False)
    plain = [new_job(lane="s") for _ in range(3)]
    declare(store, one_at_a_time("s", 50))
    put(store, *plain)
    got, seen = look(hand, 10, slots=0)
    assert (ids(got), seen.starved) == (ids(plain), True)
    got, seen = look(hand, 10, slots=2)
    assert (len(got), seen.starved) == (2, True)
    got, seen = look(hand, 10, slots=9)
    assert (len(got), seen.starved) == (3, False)


def test_they_come_first_when_that_is_asked_and_never_more_than_there_is_room(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50))
    put(store, *(new_job() for _ in range(6)), *(new_job(lane="t") for _ in range(6)))
    got, seen = look(hand, 2, limit=4, first=True)
    assert (lanes(got), seen.more) == (["t", "t", None, None], True)
    got, _ = look(hand, 3, limit=2)
    assert lanes(got) == [None, None, "t"]


def test_scheduled_ones_come_when_they_are_due(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50))
    due, later = new_job(lane="t", state=State.SCHEDULED), new_job(lane="t", state=State.SCHEDULED, run_at=now() + HOUR)
    put(store, due, later)
    assert ids(look(hand)[0]) == [due.job.id]


def test_due_ones_are_found_by_whoever_looks_for_limits_first(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50))
    due = new_job(lane="t", state=State.SCHEDULED)
    put(store, due)
    got, seen = look(hand, first=True)
    if not got:
        assert seen.more, "or nobody would look again before the next poll"
        got, _ = look(hand, first=True)
    assert ids(got) == [due.job.id]


def test_others_are_found_although_many_wait_under_a_limit(store: Store, hand: Hand) -> None:
    """They need not come at once, but whoever asked is told to ask again until they have."""
    declare(store, one_at_a_time(most=1_000))
    put(store, *(new_job(lane="t") for _ in range(12)))
    got, seen = look(hand, 2, limit=4, first=True, eager=True)
    assert len(got) == 2
    assert seen.more
    plain = new_job()
    put(store, plain)
    found: list[str] = []
    while plain.job.id not in found:
        assert seen.more, "or nobody would look again before the next poll"
        got, seen = look(hand, 2, limit=4, first=True, eager=True)
        found += ids(got)


def test_a_claim_tells_watchers_that_it_started(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time())
    new = watched(lane="t")
    put(store, new)
    before = now()
    assert ids(look(hand)[0]) == [new.job.id]
    row = shown(store, new.job.id)
    assert (row.status, row.seq) == (State.RUNNING, 2)
    assert row.started_at is not None
    assert before <= row.started_at == row.updated_at


# ── concurrency: a place belongs to a running job ────────────────────────────────────────────────────────────────────


def test_no_more_run_than_the_limit_says_over_all_workers(store: Store, hire: Hire) -> None:
    declare(store, one_at_a_time(most=2))
    put(store, *(new_job(lane="t") for _ in range(5)))
    first, second = hire(), hire()
    [a], _ = look(first, 1)
    got, seen = look(second)
    assert (len(got), seen.more) == (1, False)
    assert look(first)[0] == []
    assert first.finish(a) == ["applied"]
    assert len(look(second)[0]) == 1


BOOM = error("raised", "Failed", detail="boom")


@pytest.mark.parametrize("said", [Errored(BOOM), Errored(BOOM, retryable=False), Snoozed(60.0), Interrupted()])
def test_whatever_ends_an_attempt_gives_its_place_back(store: Store, hand: Hand, said: Outcome) -> None:
    declare(store, one_at_a_time())
    put(store, new_job(lane="t", priority=1), new_job(lane="t"))
    [job], _ = look(hand)
    assert look(hand)[0] == []
    assert hand.say(job, said) == "applied"
    assert len(look(hand)[0]) == 1


def test_a_settle_and_a_claim_in_one_exchange_pass_the_place_on(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time())
    put(store, *(new_job(lane="t") for _ in range(5)))
    [job], _ = look(hand)
    for _ in range(4):
        said = hand.exchange([change(job, Done(None))], hand.want(10, limited=Look(10, 10)))
        assert said.verdicts == ["applied"]
        [job] = said.claimed


def test_a_cancel_frees_the_place_only_when_the_attempt_has_ended(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time())
    waits, runs = new_job(lane="t"), new_job(lane="t", priority=1)
    put(store, waits, runs)
    [job], _ = look(hand)
    perform(store, store.verbs.cancel(job.id, "enough"))
    assert look(hand)[0] == []
    perform(store, store.verbs.cancel(waits.job.id, "enough"))
    assert ask(store, store.verbs.limited_queues()) == []


def test_the_places_of_a_dead_worker_are_free_once_its_jobs_are_taken_from_it(store: Store, hire: Hire) -> None:
    declare(store, one_at_a_time(most=3))
    put(store, *(new_job(lane="t") for _ in range(5)))
    dead, alive = hire(-1.0), hire()
    held, _ = look(dead)
    assert len(held) == 3
    assert look(alive)[0] == []
    lose(dead, alive)
    assert look(alive)[0] == []  # a verdict alone frees nothing: who says that the attempt does not run any more?
    assert look(dead)[0] == []
    assert expire(store, dead.id) == 3
    got, _ = look(alive)
    assert len(got) == 3
    assert dead.finish(*held) == ["stale"] * 3  # a release by somebody who owns nothing releases nothing
    assert look(alive)[0] == []


def test_a_job_is_in_every_bucket_of_its_lane(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time("all", 3), one_at_a_time("t/x", 2), one_at_a_time("q", 1))
    for key in "12":
        put(store, *(new_job(lane=f"all\nt/x\t{key}") for _ in range(3)))
    put(store, *(new_job(lane="q") for _ in range(3)))
    got, _ = look(hand)
    assert Counter(lanes(got)) == {"all\nt/x\t1": 2, "all\nt/x\t2": 1, "q": 1}
    done = next(job for job in got if job.lane == "all\nt/x\t1")
    assert hand.finish(done) == ["applied"]
    assert len(look(hand)[0]) == 1


def test_what_nobody_has_declared_waits_and_is_named(store: Store, hand: Hand) -> None:
    put(store, new_job(lane="t\nnew\t1"))
    declare(store, one_at_a_time())
    got, seen = look(hand)
    assert (got, set(seen.undeclared)) == ([], {"new"})
    declare(store, one_at_a_time("new", 4))
    assert len(look(hand)[0]) == 1


def test_the_newest_declaration_holds_for_those_who_wait_already(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=2))
    put(store, *(new_job(lane="t") for _ in range(9)))
    assert len(look(hand)[0]) == 2
    declare(store, one_at_a_time(most=4), one_at_a_time("other"))
    more, _ = look(hand)
    assert len(more) == 2
    declare(store, one_at_a_time(most=3))
    assert hand.finish(more[0]) == ["applied"]
    assert look(hand)[0] == []
    assert hand.finish(more[1]) == ["applied"]
    assert len(look(hand)[0]) == 1


def test_one_suspect_at_a_time_among_them_and_the_others_together(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50))
    put(store, *(new_job(lane="t", crashes=SUSPECT) for _ in range(3)), new_job(lane="t"), new_job(crashes=SUSPECT))
    got, _ = look(hand, first=True)
    assert sorted(job.crashes for job in got) == [0, SUSPECT]
    assert look(hand, suspect=False)[0] == []


def test_a_claim_carries_a_mebibyte_at_most(store: Store, hand: Hand) -> None:
    declare(store, one_at_a_time(most=50))
    put(store, *(new_job(lane="t", args=f'{{"text":"{"x" * 600_000}"}}') for _ in range(3)))
    got, seen = look(hand)
    assert (len(got), seen.more) == (1, True)
