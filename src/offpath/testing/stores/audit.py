"""The audit log: what is written with what it tells of, and stands or falls with it (reliability I30)."""

import json
import os

import pytest

from ...core.audit import Act, ActFilter
from ...core.ids import uuid7
from ...core.options import SECOND
from ...core.retention import Retention, Terms
from ...ports import Round, Statement, Store, Verb
from .fixtures import Make
from .kit import ask, live, new_job, now, perform, put

DAY = 86_400 * SECOND
ANY = ActFilter()


def noted(store: Store, *acts: Act) -> None:
    perform(store, store.verbs.note(acts))


def log(store: Store, where: ActFilter = ANY, after: str | None = None, limit: int = 100) -> list[tuple[str, str, str]]:
    return [(row.actor, row.action, row.target) for row in ask(store, store.verbs.acts(where, after, limit))]


def test_acts_are_listed_newest_first_and_by_their_parts(store: Store) -> None:
    noted(store, Act("ann", "job.retry", "a"), Act("bob", "job.cancel", "b", {"reason": "it's «late»", "n": [1]}))
    noted(store, Act("ann", "job.cancel", "a"))
    assert log(store) == [("ann", "job.cancel", "a"), ("bob", "job.cancel", "b"), ("ann", "job.retry", "a")]
    assert log(store, ActFilter(actor="ann")) == [("ann", "job.cancel", "a"), ("ann", "job.retry", "a")]
    assert log(store, ActFilter(action="job.cancel", target="b")) == [("bob", "job.cancel", "b")]
    assert log(store, ActFilter("ann", "job.retry", "a")) == [("ann", "job.retry", "a")]
    assert log(store, ActFilter("bob", "job.retry")) == []
    assert log(store, ActFilter(action="job.cancel")) == [("ann", "job.cancel", "a"), ("bob", "job.cancel", "b")]
    [row] = ask(store, store.verbs.acts(ActFilter(actor="bob"), None, 1))
    assert json.loads(row.data) == {"reason": "it's «late»", "n": [1]}


def test_pages_of_acts_meet_without_a_gap(store: Store) -> None:
    noted(store, *(Act("ann", "job.retry", str(n)) for n in range(25)))
    made = now()
    while now() < made + 26_000:  # acts of one statement are a millisecond apart
        pass
    seen: list[str] = []
    after: str | None = None
    while page := ask(store, store.verbs.acts(ActFilter(actor="ann"), after, 10)):
        noted(store, Act("ann", "job.retry", "newer"))  # what comes meanwhile is on no later page
        seen += [row.target for row in page]
        after = page[-1].id
    assert seen == [str(n) for n in reversed(range(25))]


def test_i30_an_act_and_what_it_tells_of_stand_or_fall_together(store: Store) -> None:
    """Wherever it breaks off: before the act, or between it and the commit."""
    new = new_job()
    put(store, new)

    class Gone(Exception):
        pass

    def half(before: bool) -> Verb[None]:
        yield from store.verbs.cancel(new.job.id, "stop")
        if before:
            raise Gone
        yield from store.verbs.note([Act("ann", "job.cancel", new.job.id)])
        raise Gone

    for before in (True, False):
        with pytest.raises(Gone):
            perform(store, half(before))
        assert live(store, new.job.id) == new.job
        assert log(store) == []


def test_acts_are_forgotten_when_their_time_is_up(make: Make, store: Store) -> None:
    def aged() -> Verb[None]:
        """Their ids say when they were written."""
        yield from store.verbs.note([Act("ann", "job.retry", "old")])
        old = uuid7(now() - 400 * DAY, os.urandom(10))
        yield Statement(f"update offpath_audit set id = '{old}'", {}, lambda rows: None)
        yield from store.verbs.note([Act("ann", "job.retry", "new")])

    perform(store, aged())
    terms = Terms(Retention())
    terms.audit = None
    patient = make(retention=terms)
    perform(patient, patient.verbs.prune(100, Round()))
    assert len(log(store)) == 2
    assert perform(store, store.verbs.prune(100, Round())) == 1
    assert perform(store, store.verbs.prune(100, Round())) == 0
    assert log(store) == [("ann", "job.retry", "new")]
