"""Idempotency keys: one holder at a time, an answer that stays, and nothing that a stranger could finish."""

import json
from concurrent.futures import ThreadPoolExecutor

from ...core.ids import uuid7
from ...ports import Remembered, Reservation, Reserved, Store
from .kit import HOUR, ask, now, perform

ONE = Reservation('["acme","alice"]', "8e03978e", "f" * 64, "me", HOUR, HOUR)
HEADERS = json.dumps([["etag", '"1"'], ["x-ö", "\x7f"]])


def test_a_free_key_is_ours_until_we_have_answered(store: Store) -> None:
    assert perform(store, store.verbs.reserve(ONE)) == Reserved(1, None)
    second = perform(store, store.verbs.reserve(ONE._replace(holder="another", fingerprint="0" * 64)))
    assert second == Reserved(0, Remembered(ONE.fingerprint, None, None, None, None))
    operation = uuid7(now(), bytes(10))
    assert perform(store, store.verbs.remember(ONE, 1, 202, HEADERS, "AP8=", operation))
    again = perform(store, store.verbs.reserve(ONE._replace(holder="another")))
    assert again == Reserved(0, Remembered(ONE.fingerprint, 202, HEADERS, "AP8=", operation))


def test_another_scope_or_key_is_another_one(store: Store) -> None:
    assert perform(store, store.verbs.reserve(ONE)).fence == 1
    for other in (ONE._replace(scope='["","alice"]'), ONE._replace(key="8e03978E")):
        assert perform(store, store.verbs.reserve(other)).fence == 1


def test_only_its_holder_finishes_renews_or_releases_it(store: Store) -> None:
    verbs = store.verbs
    assert perform(store, verbs.reserve(ONE)).fence == 1
    for key, fence in ((ONE._replace(holder="another"), 1), (ONE, 2)):
        assert not perform(store, verbs.remember(key, fence, 200, "[]", "", None))
        assert not perform(store, verbs.renew_reservation(key, fence))
        perform(store, verbs.release(key, fence))
        assert perform(store, verbs.reserve(ONE._replace(holder="third"))).fence == 0
    assert perform(store, verbs.renew_reservation(ONE, 1))
    perform(store, verbs.release(ONE, 1))
    assert perform(store, verbs.reserve(ONE._replace(holder="third"))) == Reserved(1, None)


def test_an_answer_is_not_finished_twice_nor_released(store: Store) -> None:
    verbs = store.verbs
    perform(store, verbs.reserve(ONE))
    assert perform(store, verbs.remember(ONE, 1, 200, "[]", "", None))
    assert not perform(store, verbs.remember(ONE, 1, 500, "[]", "", None))
    assert not perform(store, verbs.renew_reservation(ONE, 1))
    perform(store, verbs.release(ONE, 1))
    found = perform(store, verbs.reserve(ONE)).found
    assert found is not None
    assert found.status == 200


def test_a_lease_that_ran_out_lets_the_next_one_in(store: Store) -> None:
    verbs = store.verbs
    gone = ONE._replace(lease=-1)
    assert perform(store, verbs.reserve(gone)).fence == 1
    next_one = ONE._replace(holder="another", fingerprint="0" * 64)
    assert perform(store, verbs.reserve(next_one)) == Reserved(2, None)
    assert not perform(store, verbs.remember(gone, 1, 200, "[]", "", None))
    assert perform(store, verbs.remember(next_one, 2, 200, "[]", "", None))


def test_an_answer_whose_time_is_up_is_forgotten(store: Store) -> None:
    verbs = store.verbs
    for n, ttl in enumerate((-1, -1, -1, HOUR)):
        key = ONE._replace(key=f"{n}", ttl=ttl)
        perform(store, verbs.reserve(key))
        if n:
            perform(store, verbs.remember(key, 1, 200, "[]", "", None))
    assert perform(store, verbs.reserve(ONE._replace(key="1", ttl=-1))) == Reserved(2, None), "new to whoever asks"
    perform(store, verbs.remember(ONE._replace(key="1"), 2, 200, "[]", "", None))
    assert perform(store, verbs.prune(1)) == 1
    assert perform(store, verbs.prune(100)) == 1
    assert perform(store, verbs.prune(100)) == 0
    left = [perform(store, verbs.reserve(ONE._replace(key=f"{n}", holder="x"))).fence for n in range(4)]
    assert left == [0, 1, 1, 0], "what is being worked on is nobody's to prune"


def test_many_at_once_and_one_has_it(store: Store) -> None:
    def take(n: int) -> int:
        key = ONE._replace(holder=str(n))
        return store.perform(lambda: store.verbs.reserve(key)).result().fence

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, range(48))) == 1
    assert ask(store, store.verbs.counts()) == []
