"""What an attempt remembers and tells while it runs: steps, and events of its own, under the fence."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from ...core.job import Job
from ...core.options import DAY, SECOND
from ...core.outcome import Errored, Snoozed, error
from ...core.steps import Asked
from ...ports import Statement, Store, Verb
from .fixtures import Hire, Make
from .kit import POLICY, TIMEOUT, Hand, ask, expire, lose, new_job, now, perform, put, shown, told, watched

CHARGE, MAIL = Asked("charge", 1, 1, 1), Asked("mail", 2, 1, 1)
HARD = '{"a":"\\u0000 \U0001f4a1 \\" \\\\ %s :name  é","b":[1.0,1e400,-0,null]}'


def remember(store: Store, job: Job, *steps: tuple[Asked, str], worker: str | None = None) -> bool:
    held = job.worker or ""
    return perform(store, store.verbs.remember_steps(job.id, job.fence, worker or held, steps))


def emit(store: Store, job: Job, *lines: str) -> bool:
    return perform(store, store.verbs.emit(job.id, job.fence, job.worker or "", lines))


def names(store: Store, id: str) -> list[str]:
    return [step.name for step in ask(store, store.verbs.steps(id, 100))]


def claimed(store: Store, hand: Hand, *, seen: bool = False) -> Job:
    put(store, watched() if seen else new_job())
    return hand.claim_one()


def late(store: Store, set_to: str) -> None:
    """Steps whose time for a look has come, or not."""

    def verb() -> Verb[None]:
        yield Statement(f"update offpath_step set look_at = {set_to}", {}, lambda rows: None)

    perform(store, verb())


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_comes_back_byte_for_byte(store: Store, hand: Hand) -> None:
    job = claimed(store, hand)
    assert ask(store, store.verbs.remembered_steps(job.id)) == []
    free = Asked("a 'name' with \" \\ : and \U0001f4a1", 0, 32767, 32767)
    assert remember(store, job, (CHARGE, HARD), (free, "null"))
    assert remember(store, job, (MAIL, '"' + "x" * (1 << 20) + '"'))
    assert sorted(ask(store, store.verbs.remembered_steps(job.id))) == sorted([CHARGE, MAIL, free])
    assert ask(store, store.verbs.step_result(job.id, "charge")) == HARD
    assert ask(store, store.verbs.step_result(job.id, free.name)) == "null"
    assert len(ask(store, store.verbs.step_result(job.id, "mail")) or "") == (1 << 20) + 2
    assert ask(store, store.verbs.step_result(job.id, "Charge")) is None
    assert ask(store, store.verbs.step_result("no id", "charge")) is None
    assert ask(store, store.verbs.steps("no id", 9)) == []
    assert ask(store, store.verbs.remembered_steps("no id")) == []
    assert names(store, job.id)[2] == "mail"
    [first] = [step for step in ask(store, store.verbs.steps(job.id, 100)) if step.name == "charge"]
    assert (first.position, first.version, first.result) == (1, 1, HARD)
    assert abs(first.at - now()) < 60 * SECOND
    assert len(ask(store, store.verbs.steps(job.id, 2))) == 2


def test_written_again_a_step_is_the_same_and_a_new_version_takes_its_place(store: Store, hand: Hand) -> None:
    job = claimed(store, hand)
    assert remember(store, job, (CHARGE, "1"))
    assert remember(store, job, (CHARGE, "1"))  # the answer had been lost
    assert remember(store, job, (CHARGE._replace(version=2, position=3, task=4), "2"))
    assert ask(store, store.verbs.remembered_steps(job.id)) == [Asked("charge", 3, 2, 4)]
    assert ask(store, store.verbs.step_result(job.id, "charge")) == "2"


def test_a_job_has_steps_of_its_own(store: Store, hand: Hand) -> None:
    one, other = claimed(store, hand), claimed(store, hand)
    remember(store, one, (CHARGE, "1"))
    remember(store, other, (CHARGE, "2"))
    assert ask(store, store.verbs.step_result(one.id, "charge")) == "1"
    assert ask(store, store.verbs.step_result(other.id, "charge")) == "2"


def test_steps_stay_over_snoozes_and_failures(store: Store, hand: Hand) -> None:
    job = claimed(store, hand)
    remember(store, job, (CHARGE, "1"))
    hand.say(job, Snoozed(0))
    job = hand.claim_one()
    assert ask(store, store.verbs.remembered_steps(job.id)) == [CHARGE]
    hand.say(job, Errored(error("raised", "x")), POLICY._replace(max_attempts=1))
    assert names(store, job.id) == ["charge"], "what a failed job has done can be seen"


STALE: dict[str, Callable[[Job], Job]] = {
    "another fence": lambda job: job._replace(fence=job.fence - 1),
    "another worker": lambda job: job._replace(worker="0190" * 8),
    "another job": lambda job: job._replace(id="01890a5d-ac96-774b-bcce-b302099a8057"),
    "no id": lambda job: job._replace(id="no id"),
}


@pytest.mark.parametrize("change", list(STALE.values()), ids=list(STALE))
def test_who_does_not_hold_the_job_writes_nothing(store: Store, hand: Hand, change: Callable[[Job], Job]) -> None:
    job = claimed(store, hand, seen=True)
    assert not remember(store, change(job), (CHARGE, "1"))
    assert not emit(store, change(job), "{}")
    assert names(store, job.id) == []
    assert [type for _, type, _ in told(store, job.id)] == ["queued", "started"]


def test_after_the_end_nothing_is_written(store: Store, hand: Hand) -> None:
    job = claimed(store, hand, seen=True)
    hand.finish(job)
    assert not remember(store, job, (CHARGE, "1"))
    assert not emit(store, job, "{}")
    assert names(store, job.id) == []
    assert [type for _, type, _ in told(store, job.id)] == ["queued", "started", "succeeded"]


def test_back_in_the_queue_nothing_is_written(store: Store, hire: Hire) -> None:
    """Between the verdict's work and the next claim the fence is still the same."""
    dead, judge = hire(-1), hire()
    put(store, new_job())
    job = dead.claim_one()
    assert remember(store, job, (CHARGE, "1")), "late, but without a verdict"
    lose(dead, judge)
    expire(store, dead.id)
    assert not remember(store, job, (MAIL, "2"))
    job = judge.claim_one()
    assert names(store, job.id) == ["charge"]


def test_a_late_step_never_lands_after_a_new_claim(store: Store, make: Make, hire: Hire) -> None:
    """Both at once, again and again: what the dead worker was told it had remembered, the next one finds."""
    other = make()
    judge = hire()
    for _ in range(10):
        dead = hire(-1, on=other)
        put(store, new_job())
        job = dead.claim_one()
        start = threading.Barrier(2)
        said: list[bool] = []

        def write(start: threading.Barrier = start, job: Job = job, said: list[bool] = said) -> None:
            start.wait(TIMEOUT)
            said.append(remember(other, job, (CHARGE, "1")))

        writing = threading.Thread(target=write)
        writing.start()
        start.wait(TIMEOUT)
        lose(dead, judge)
        got: list[Job] = []
        while not got:  # a row that is locked at the moment, for the step, is left for the next look
            expire(store, dead.id)
            got = judge.claim(1)
        again = got[0]
        found = names(store, again.id)
        writing.join(TIMEOUT)
        assert names(store, again.id) == found, "nothing came after the claim"
        assert said == [bool(found)]
        judge.finish(again)
        dead.close()


# ── how long they are kept ───────────────────────────────────────────────────────────────────────────────────────────


def test_steps_go_when_history_forgets_their_job(store: Store, hand: Hand) -> None:
    live, ended, forgotten = (claimed(store, hand) for _ in range(3))
    for job in (live, ended, forgotten):
        remember(store, job, (CHARGE, "1"), (MAIL, "2"))
    perform(store, store.verbs.prune(100))
    hand.finish(ended, forgotten)
    perform(store, store.verbs.delete(forgotten.id))
    assert names(store, forgotten.id) == [], "erased at once"
    put(store, new_job())
    vanished = hand.claim_one()
    remember(store, vanished, (CHARGE, "1"), (MAIL, "2"))

    def verb() -> Verb[None]:
        yield Statement("delete from offpath_job where cast(id as text) = :id", {"id": vanished.id}, lambda rows: None)

    perform(store, verb())
    assert perform(store, store.verbs.prune(100)) == 0
    assert names(store, vanished.id) == ["charge", "mail"], "nobody looks before an hour has passed"
    late(store, "1")
    assert perform(store, store.verbs.prune(2)) == 2
    pages = 1
    while perform(store, store.verbs.prune(2)):
        pages += 1
    assert pages == 3
    assert names(store, vanished.id) == []
    assert names(store, live.id) == names(store, ended.id) == ["charge", "mail"]
    looks = dict(perform(store, looked(store)))
    assert looks[live.id] - now() < 2 * 3600 * SECOND
    assert looks[ended.id] - now() > 6 * DAY, "history says when it forgets it"


def looked(store: Store) -> Verb[list[tuple[str, int]]]:
    sql = "select cast(job as text), min(look_at) from offpath_step group by job"
    found: list[tuple[str, int]] = yield Statement(sql, {}, lambda rows: [(row[0], row[1]) for row in rows])
    return found


def test_a_job_whose_history_is_overdue_is_not_looked_at_for_ever(store: Store, hand: Hand) -> None:
    job = claimed(store, hand)
    remember(store, job, (CHARGE, "1"))
    hand.finish(job)
    late(store, "1")

    def verb() -> Verb[None]:
        yield Statement("update offpath_history set expires_at = 1, finished_at = 0", {}, lambda rows: None)

    perform(store, verb())
    assert perform(store, store.verbs.forget_steps(now(), 100)) == 1  # type: ignore[attr-defined]
    assert perform(store, store.verbs.forget_steps(now(), 100)) == 0  # type: ignore[attr-defined]
    assert names(store, job.id) == ["charge"]


# ── events of its own ────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_of_its_own_are_numbered_with_the_others(store: Store, hand: Hand) -> None:
    job = claimed(store, hand, seen=True)
    hard = json.dumps({"name": "x", "data": "\u0000 \U0001f4a1 ' %"}, ensure_ascii=True)
    assert emit(store, job, *(f'{{"n":{n}}}' for n in range(12)), hard)
    assert perform(store, store.verbs.progress(job.id, job.fence, hand.id, '{"current":1}'))
    assert emit(store, job, '{"n":12}')
    hand.finish(job)
    events = told(store, job.id)
    assert [type for _, type, _ in events] == ["queued", "started", *["output"] * 13, "progress", "output", "succeeded"]
    assert [data["n"] for _, type, data in events if type == "output" and "n" in data] == list(range(13))
    assert events[14][2] == json.loads(hard)
    assert shown(store, job.id).progress == '{"current":1}'


def test_an_event_hints_to_those_who_watch(store: Store, hand: Hand, heard: list[object]) -> None:
    job = claimed(store, hand, seen=True)
    heard.clear()
    assert emit(store, job, "{}", "{}")
    assert [(hint.kind, hint.names) for hint in heard] == [("event", (job.id,))]  # type: ignore[attr-defined]
