"""Which offset a Kafka consumer may commit."""

from hypothesis import given
from hypothesis import strategies as st

from offpath.brokers.kafka.offsets import Offsets


def handed(*offsets: int) -> Offsets:
    made = Offsets()
    for offset in offsets:
        made.handed(0, offset)
    return made


def test_a_later_acceptance_does_not_pass_an_earlier_message() -> None:
    offsets = handed(5, 6, 9)
    offsets.accept(0, 9)
    offsets.accept(0, 6)
    assert offsets.ready() == {}
    offsets.accept(0, 5)
    assert offsets.ready() == {0: 10}


def test_what_is_committed_is_not_committed_again_and_what_failed_is() -> None:
    offsets = handed(1, 2)
    offsets.accept(0, 1)
    assert offsets.ready() == offsets.ready() == {0: 2}
    offsets.committed(0, 2)
    assert offsets.ready() == {}
    offsets.accept(0, 2)
    assert offsets.ready() == {0: 3}


def test_a_partition_that_went_to_others_is_not_committed() -> None:
    offsets = handed(1, 2)
    offsets.accept(0, 1)
    offsets.forget(0)
    assert offsets.ready() == {}
    offsets.accept(0, 2)  # it was on its way
    assert offsets.ready() == {}
    offsets.handed(0, 1)  # it is ours again, from what had been committed
    offsets.accept(0, 2)
    assert offsets.ready() == {}


def test_what_is_given_back_comes_again_with_all_behind_it() -> None:
    offsets = handed(3, 4, 5, 6)
    offsets.accept(0, 3)
    offsets.accept(0, 5)
    assert offsets.rewind([(0, 6), (0, 4), (1, 1), (0, 3)]) == {0: 4}
    assert offsets.ready() == {0: 4}
    for offset in (4, 5, 6):
        offsets.handed(0, offset)
    offsets.accept(0, 4)
    assert offsets.ready() == {0: 5}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.randoms())
def test_the_commit_is_behind_exactly_the_accepted_beginning(gaps: list[int], random: object) -> None:
    places, at = [], 0
    for gap in gaps:
        at += gap + 1
        places.append(at)
    offsets = handed(*places)
    order = list(places)
    random.shuffle(order)  # type: ignore[attr-defined]
    done: set[int] = set()
    for place in order:
        offsets.accept(0, place)
        done.add(place)
        beginning = [p for n, p in enumerate(places) if set(places[: n + 1]) <= done]
        assert offsets.ready() == ({0: beginning[-1] + 1} if beginning else {})
