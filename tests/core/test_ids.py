"""Identifiers: UUIDv7 text that sorts by time."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from offpath.core.ids import is_id, uuid7, uuid7_fine

moments = st.integers(0, 253_402_300_799_999_999)  # 1970 to 9999, µs
noise = st.binary(min_size=10, max_size=10)


@given(moments, noise)
def test_it_is_a_version_7_uuid_in_canonical_form(now: int, random: bytes) -> None:
    made = uuid7(now, random)
    read = uuid.UUID(made)
    assert str(read) == made
    assert read.version == 7
    assert read.variant == uuid.RFC_4122
    assert read.int >> 80 == now // 1000
    assert is_id(made)


@given(moments, moments, noise, noise)
def test_ids_sort_by_millisecond(one: int, two: int, r1: bytes, r2: bytes) -> None:
    if one // 1000 < two // 1000:
        assert uuid7(one, r1) < uuid7(two, r2)


@given(moments, st.integers(1, 2000), noise, noise)
def test_fine_ids_sort_by_microsecond(one: int, later: int, r1: bytes, r2: bytes) -> None:
    first, second = uuid7_fine(one, r1), uuid7_fine(one + later, r2)
    assert first < second
    read = uuid.UUID(first)
    assert (read.version, read.variant, read.int >> 80) == (7, uuid.RFC_4122, one // 1000)
    assert is_id(first)


def test_74_random_bits_reach_the_id() -> None:
    """Each of the 80 bits is flipped alone: 74 change the id, each in its own place, 6 do not."""
    base = int(uuid7(0, bytes(10)).replace("-", ""), 16)
    reached = [int(uuid7(0, (1 << bit).to_bytes(10, "big")).replace("-", ""), 16) ^ base for bit in range(80)]
    alive = [change for change in reached if change]
    assert len(alive) == 74
    assert len(set(alive)) == 74
    assert all(change.bit_count() == 1 for change in alive)


@given(st.lists(noise, unique=True, min_size=2, max_size=50))
def test_different_noise_in_one_millisecond_gives_different_ids(many: list[bytes]) -> None:
    used = {(r[0], r[1] >> 4, r[1] & 3, r[2:9], r[9] >> 4) for r in many}  # the 74 bits that count
    assert len({uuid7(1_000_000, r) for r in many}) == len(used)


@given(st.text(max_size=40) | st.text(min_size=36, max_size=36))
def test_other_text_is_no_id(text: str) -> None:
    try:
        known = uuid.UUID(text)
    except ValueError:
        assert not is_id(text)
    else:
        assert is_id(text) == (str(known) == text and known.version == 7)


def test_near_misses_are_no_ids() -> None:
    good = uuid7(1_700_000_000_000_000, b"0123456789")
    assert is_id(good)
    version_4 = good[:14] + "4" + good[15:]
    for near in (good.upper(), good + "\n", " " + good, good[:-1], good.replace("-", ""), f"{{{good}}}", version_4, ""):
        assert not is_id(near), near
