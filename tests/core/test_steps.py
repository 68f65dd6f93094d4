"""Which remembered step is which: names, order, versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core.outputs import MAX_BYTES, MAX_OUTPUTS, MAX_WAITING, output, room
from offpath.core.steps import FREE, Asked, Script, check_name, check_version
from offpath.errors import ArgumentError, StepError

CHARGE, RESERVE, MAIL = (Asked(name, n, 1, 1) for n, name in enumerate(("charge", "reserve", "mail"), 1))


def test_what_is_remembered_is_known_by_name_and_place() -> None:
    script = Script([CHARGE, RESERVE])
    assert script.has(CHARGE)
    assert script.has(RESERVE)
    assert not script.has(MAIL)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (RESERVE._replace(position=1), "'reserve' was number 2 when it was remembered and is number 1 now"),
        (MAIL._replace(position=2), "step 2 was 'reserve' when it was remembered and is 'mail' now"),
        (Asked("charged", 1, 1, 1), "step 1 was 'charge' when it was remembered and is 'charged' now"),
    ],
)
def test_another_order_or_name_is_an_error(asked: Asked, said: str) -> None:
    with pytest.raises(StepError, match=said):
        Script([CHARGE, RESERVE]).has(asked)


def test_under_another_version_of_the_task_only_names_count() -> None:
    script = Script([CHARGE, RESERVE])
    assert script.has(RESERVE._replace(position=1, task=2))
    assert not script.has(MAIL._replace(position=2, task=2))
    # and what the new version has remembered since has an order again
    script = Script([CHARGE, MAIL._replace(position=1, task=2)])
    assert script.has(CHARGE._replace(position=7, task=2))
    with pytest.raises(StepError, match="step 1 was 'mail'"):
        script.has(RESERVE._replace(position=1, task=2))


def test_under_another_version_of_the_step_it_is_not_remembered() -> None:
    script = Script([CHARGE, RESERVE])
    assert not script.has(CHARGE._replace(version=2))
    assert not script.has(RESERVE._replace(version=2, position=1))


def test_what_runs_beside_the_task_has_no_order() -> None:
    script = Script([CHARGE, RESERVE._replace(position=FREE)])
    assert script.has(RESERVE._replace(position=FREE))
    assert script.has(RESERVE)
    assert script.has(CHARGE._replace(position=FREE))
    assert not script.has(MAIL._replace(position=FREE))


@given(
    st.lists(st.tuples(st.text("abcdef", min_size=1, max_size=2), st.booleans()), unique_by=lambda one: one[0]),
    st.data(),
)
def test_the_same_steps_in_the_same_order_are_always_accepted(
    names: list[tuple[str, bool]], data: st.DataObject
) -> None:
    """Whichever of them had been remembered by the time of the crash."""
    asked, count = [], 0
    for name, in_order in names:
        count += in_order
        asked.append(Asked(name, count if in_order else FREE, 1, 1))
    kept = [step for step in asked if data.draw(st.booleans())]
    script = Script(kept)
    assert [script.has(step) for step in asked] == [step in kept for step in asked]


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x00", "a\nb", 3, None, b"a", "\ud800"])
def test_a_name_that_cannot_be_one_is_refused(name: object) -> None:
    with pytest.raises(StepError, match="name"):
        check_name(name)


@pytest.mark.parametrize("version", [0, 32768, True, "2", 1.0, None])
def test_a_version_is_a_number(version: object) -> None:
    with pytest.raises(StepError, match="version"):
        check_version(version)
    assert check_version(32767) == 32767


# ── events of its own ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_output_is_a_name_and_data() -> None:
    assert output("page-rendered", '{"page":3}') == '{"name":"page-rendered","data":{"page":3}}'
    assert output("a.b:c/d_E-1", "null")
    output("x", '"' + "é" * (MAX_BYTES // 2 - 1) + '"')


@pytest.mark.parametrize("name", ["", "-a", 'a"b', "a b", "é", "x" * 101, None, "a\n"])
def test_a_bad_name_is_refused(name: object) -> None:
    with pytest.raises(ArgumentError, match="an event's name"):
        output(name, "null")


def test_outputs_are_bounded() -> None:
    with pytest.raises(ArgumentError, match="65538 bytes"):
        output("x", '"' + "é" * (MAX_BYTES // 2) + '"')
    room(MAX_OUTPUTS - 1, MAX_WAITING - 1)
    with pytest.raises(ArgumentError, match="10,000"):
        room(MAX_OUTPUTS, 0)
    with pytest.raises(ArgumentError, match="await"):
        room(MAX_WAITING, MAX_WAITING)
