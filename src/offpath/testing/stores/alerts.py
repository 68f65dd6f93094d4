"""What rules watch, and who tells of it."""

from functools import partial

from ...core import alerts
from ...core.alerts import AlertRow
from ...core.deliveries import OPERATOR, OWNER, by_hand
from ...core.options import SECOND
from ...core.selection import JobFilter
from ...core.stats import MINUTE, Line
from ...ports import Hint, Store
from .bulk import dead, rows_of
from .fixtures import Hire, Make
from .kit import HOUR, Hand, ask, lose, new_job, now, perform, put
from .schedules import a_row, keep
from .webhooks import add

FAILING = alerts.rule("failing", {"dead_letters": 2, "within": 3600})
OLD = alerts.rule("old", {"age": 60, "queue": "a"})


def test_what_rules_read(store: Store, hand: Hand) -> None:
    value, row, at = ask(store, store.verbs.reading(FAILING))
    assert (value, row) == (0, AlertRow("failing", 0, None, 0))
    assert abs(at - now()) < 60 * SECOND
    dead(store, hand, *(new_job(queue="a") for _ in range(3)), new_job(queue="b"))
    hand_over(store, hand)
    assert ask(store, store.verbs.reading(FAILING))[0] == 4
    for said, wanted in (({"queue": "a"}, 3), ({"task": "mail"}, 4), ({"task": "push"}, 0), ({"queue": "c"}, 0)):
        rule = alerts.rule("x", {"dead_letters": 0, "within": 60, **said})
        assert ask(store, store.verbs.reading(rule))[0] == wanted, said
    brief = alerts.rule("x", {"dead_letters": 1, "within": 1e-6})
    assert ask(store, store.verbs.reading(brief))[0] == 0, "that was longer ago"


def hand_over(store: Store, hand: Hand) -> None:
    """One that succeeded: no rule counts it."""
    put(store, new_job())
    hand.finish(hand.claim_one())


def test_how_old_a_queue_is(store: Store, hand: Hand) -> None:
    assert ask(store, store.verbs.reading(OLD))[0] == 0
    put(store, new_job(queue="a", run_at=now() - 90 * SECOND, priority=9), new_job(queue="a", priority=0))
    put(store, new_job(queue="b", run_at=now() - 200 * SECOND))
    assert 90 * SECOND <= ask(store, store.verbs.reading(OLD))[0] < 150 * SECOND
    anywhere = alerts.rule("x", {"age": 60})
    assert 200 * SECOND <= ask(store, store.verbs.reading(anywhere))[0] < 260 * SECOND
    hand.claim(3, queues=(("a", 1), ("b", 1)))
    assert ask(store, store.verbs.reading(anywhere))[0] == 0


def test_an_alert_is_moved_by_whoever_saw_its_last_change(store: Store, heard: list[Hint]) -> None:
    _, unseen, _ = ask(store, store.verbs.reading(FAILING))
    job = new_job(queue="pager")
    heard.clear()
    assert perform(store, store.verbs.move_alert(unseen, 7, 5, job))
    assert heard == [Hint("work", ("pager",))]
    assert not perform(store, store.verbs.move_alert(unseen, 7, 6, new_job(queue="pager")))
    _, raised, _ = ask(store, store.verbs.reading(FAILING))
    assert raised == AlertRow("failing", 1, 7, 5)
    assert perform(store, store.verbs.move_alert(raised, None, 1, None))
    assert not perform(store, store.verbs.move_alert(raised, None, 0, new_job(queue="pager")))
    _, resolved, _ = ask(store, store.verbs.reading(FAILING))
    assert resolved == AlertRow("failing", 2, None, 1)
    assert [row.id for row in rows_of(store, JobFilter(queue="pager"))] == [job.job.id]


async def test_of_many_who_see_the_same_one_tells(store: Store, make: Make) -> None:
    other = make()
    _, seen, _ = ask(store, store.verbs.reading(FAILING))
    for raised in (7, None, 8):
        moves = [
            one.perform(partial(one.verbs.move_alert, seen, raised, 3, new_job(queue="pager")))
            for one in (store, other) * 4
        ]
        assert sorted([await move for move in moves]) == [False] * 7 + [True]
        _, seen, _ = ask(store, store.verbs.reading(FAILING))
    assert len(rows_of(store, JobFilter(queue="pager"))) == 3


def read(store: Store, **given: object) -> int:
    return ask(store, store.verbs.reading(alerts.rule("x", given)))[0]


def test_how_deep_a_queue_is(store: Store, hand: Hand) -> None:
    assert read(store, depth=1) == 0
    put(store, *(new_job(queue="a") for _ in range(3)), *(new_job(queue="b") for _ in range(5)))
    assert (read(store, depth=1), read(store, depth=1, queue="a"), read(store, depth=1, queue="c")) == (5, 3, 0)
    hand.claim(5, queues=(("b", 1),))
    assert read(store, depth=1) == 3, "what runs does not wait"


def test_which_share_of_the_attempts_failed(store: Store) -> None:
    assert read(store, error_rate=0.1, within=900) == 0
    at = now() // MINUTE * MINUTE
    none: dict[int, int] = {}
    for source, queue, minute in (("one", "a", at), ("other", "a", at), ("one", "b", at), ("one", "a", at - HOUR)):
        line = Line(minute, queue, "mail", 10 if queue == "a" else 30, 4, 99, 1, 0, 0, none, none)
        perform(store, store.verbs.count_ended(source, [line]))
    assert read(store, error_rate=0.1, within=900, queue="a") == 10 * 1000 // 30
    assert read(store, error_rate=0.1, within=900) == 15 * 1000 // 65
    assert read(store, error_rate=0.1, within=900, task="push") == 0
    assert read(store, error_rate=0.1, within=900, queue="a", at_least=31) == 0, "too few to say"


def test_how_many_workers_are_alive(store: Store, hire: Hire) -> None:
    assert read(store, workers=1) == 0
    judge, _ = hire(), hire()
    assert read(store, workers=1) == 2
    dead = hire(-1)
    assert read(store, workers=1) == 2, "its lease has run out"
    lose(dead, judge)
    assert read(store, workers=1) == 2


def test_how_late_a_schedule_is(store: Store) -> None:
    assert read(store, schedule_late=1) == 0
    at = now()
    keep(
        store,
        a_row("a", next_at=at - 30 * SECOND),
        a_row("b", next_at=at + 60 * SECOND),
        a_row("c", next_at=at - 900 * SECOND, paused=True),
        a_row("d", next_at=None),
    )
    assert 30 * SECOND <= read(store, schedule_late=1) < 90 * SECOND


def which(store: Store, at: int, **given: object) -> list[str]:
    return ask(store, store.verbs.which(alerts.rule("x", given), at))


def test_which_schedules_are_later_than_a_rule_allows(store: Store) -> None:
    at = now()
    assert which(store, at, schedule_late=1) == []
    late = [a_row(name, next_at=at - behind * SECOND) for name, behind in (("a", 40), ("b", 90), ("c", 30), ("d", 20))]
    keep(store, *late, a_row("e", next_at=at - 900 * SECOND, paused=True), a_row("f", next_at=None), a_row("g"))
    assert which(store, at, schedule_late=30) == ["b", "a"], "the one that is furthest behind first"
    assert which(store, at, depth=1) == []


def test_which_endpoints_were_disabled_the_last_that_was_first(store: Store) -> None:
    assert which(store, now(), endpoints_disabled=0) == []
    gone, silent = "the endpoint answered 410 Gone", "no success for 5 days"
    reasons = ((gone, 2), (silent, 3), ("disabled by its owner", 4), (None, 5), (gone, 1))
    ids = [add(store, enabled=reason is None, reason=reason, updated_at=at).id for reason, at in reasons]
    assert which(store, now(), endpoints_disabled=0) == [ids[1], ids[0], ids[4]]


def test_endpoints_that_failed_are_counted_and_those_switched_off_are_not(store: Store) -> None:
    assert read(store, endpoints_disabled=0) == 0
    hands = (by_hand(OWNER), by_hand(OPERATOR, "no success for 5 days, says the customer"))
    reasons = ("the endpoint answered 410 Gone", "no success for 5 days", *hands, None)
    for reason in reasons:
        add(store, enabled=reason is None, reason=reason)
    assert read(store, endpoints_disabled=0) == 2


def test_every_rule_that_was_ever_raised_is_known(store: Store) -> None:
    assert ask(store, store.verbs.alerts()) == []
    for name in ("b", "a"):
        perform(store, store.verbs.move_alert(AlertRow(name, 0, None, 0), 7, 3, None))
    perform(store, store.verbs.move_alert(AlertRow("a", 1, 7, 3), None, 0, None))
    assert ask(store, store.verbs.alerts()) == [AlertRow("a", 2, None, 0), AlertRow("b", 1, 7, 3)]


def test_an_alert_is_forgotten_as_it_was_seen(store: Store) -> None:
    for name in ("a", "b"):
        assert perform(store, store.verbs.move_alert(AlertRow(name, 0, None, 0), 6, 8, None))
    assert not perform(store, store.verbs.forget_alert(AlertRow("a", 2, None, 8))), "somebody has moved it"
    assert perform(store, store.verbs.forget_alert(AlertRow("a", 1, 6, 8)))
    assert not perform(store, store.verbs.forget_alert(AlertRow("a", 1, 6, 8)))
    assert [row.name for row in ask(store, store.verbs.alerts())] == ["b"]
