"""What goes into a job comes out of it as the annotated types; what cannot is refused, by the argument's name."""

import enum
import json
import math
import subprocess
import sys
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from typing_extensions import TypedDict

from offpath.codec import MAX_BYTES, Arguments, Value
from offpath.codec.guards import refuse
from offpath.errors import ArgumentError, ConfigurationError, ResultError


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Point:
    x: float
    label: str | None = None


class Item(BaseModel):
    sku: str
    price: Decimal
    at: datetime | None = None
    extra: Any = None
    weight: float | None = None


class Row(TypedDict):
    id: int
    tags: list[str]


class Pair(NamedTuple):
    left: int
    right: str


BERLIN = timezone(timedelta(hours=2))

CARRIED = [
    (str, 'ünï 🎈 \x01\x7f\u2028\\u0000 "quoted" NaN Infinity'),
    (int, 2**53 + 1),
    (int, -(10**4000)),
    (float, 0.1),
    (float, 1e308),
    (bool, True),
    (None, None),
    (bytes, b"\x00\xff\xfe"),
    (Decimal, Decimal("0.10")),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 678901, BERLIN)),
    (datetime, datetime(2026, 1, 2)),  # noqa: DTZ001 (a naive one comes back naive)
    (date, date(2026, 1, 2)),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (uuid.UUID, uuid.UUID(int=7)),
    (Colour, Colour.RED),
    (Level, Level.LOW),
    (Point, Point(1.5, "a")),
    (Item, Item(sku="a", price=Decimal("1.10"), at=datetime(2026, 1, 1, tzinfo=UTC), extra={"a": [1, None]})),
    (Row, {"id": 1, "tags": ["a"]}),
    (Pair, Pair(1, "b")),
    (list[Item], [Item(sku="a", price=Decimal(1))]),
    (dict[int, set[str]], {1: {"a"}, 2: set()}),
    (tuple[int, str], (1, "a")),
    (frozenset[int], frozenset({1})),
    (deque[int], deque([1, 2])),
    (Literal["a", 3], 3),
    (int | str | None, "5"),
    (PurePosixPath, PurePosixPath("/a/b")),
    (Any, {"a": [1, 2.5, None, True, "x", {"b": {}}]}),
    (dict[str, Any], {"": {"ключ": []}}),
    (Annotated[int, Field(gt=0)], 3),
]


@pytest.mark.parametrize(("kind", "value"), CARRIED, ids=[str(i) for i in range(len(CARRIED))])
def test_a_value_comes_back_as_its_annotated_type(kind: Any, value: Any) -> None:
    arguments = Arguments("t", {"value": (kind, True)})
    text = arguments.encode({"value": value})
    back = arguments.decode(text)["value"]
    assert back == value
    assert type(back) is type(value)
    assert "\x00" not in text
    result = Value("t", kind)
    assert result.decode(result.encode(value)) == value


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def circle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


REFUSED: list[tuple[Any, Any, str]] = [
    (float, math.nan, "NaN or an infinite"),
    (Any, {"a": [math.inf]}, "NaN or an infinite"),
    (Item, Item(sku="a", price=Decimal(1), weight=math.nan), "NaN or an infinite"),
    (Item, Item(sku="a", price=Decimal(1), extra=[-math.inf]), "NaN or an infinite"),
    (Point, Point(math.nan), "NaN or an infinite"),
    (Decimal, Decimal("NaN"), ""),
    (str, "a\x00b", "NUL"),
    (Any, {"a\x00": 1}, "NUL"),
    (str, "\ud800", ""),
    (Any, ["\udfff"], "surrogate"),
    (dict[str, Any], {"\ud800": 1}, "surrogate"),
    (Any, nested(65), "nested more than 64"),
    (Any, nested(300), "nested"),
    (Any, circle(), ""),
    (str, "x" * MAX_BYTES, "more than 1,048,576"),
    (str, "é" * (MAX_BYTES // 2), "more than 1,048,576"),
    (int, 10**4300, "4,300 digits"),
    (Any, object(), ""),
    (Any, test_a_value_comes_back_as_its_annotated_type, ""),
    (int, "many", "valid integer"),
    (str, None, "valid string"),
    (Literal["a"], "b", ""),
    (Item, Item.model_construct(sku=object(), price="x"), ""),
    (list[int], [1, "a"], "(at 1)"),
    (Any, {1: 2, "1": 3}, "two keys that are both '1'"),
    (dict, {True: 2, "true": 3}, "two keys that are both 'true'"),
    (list, [{"a": ({"b": {1: 2, "1": 3}},)}], "two keys that are both '1'"),
    (dict[int | str, int], {1: 2, "1": 3}, "two keys that are both '1'"),
    (Open, Open.model_validate({"more": {1: 2, "1": 3}}), "two keys that are both '1'"),
    (Any, {(1, 2): 3}, "keys are tuples"),
    (dict[str, Any], {"a": {(1, 2): 3}}, "keys are tuples"),
    (dict[tuple[int, int], int], {(1, 2): 3}, "keys are tuples"),
]


@pytest.mark.parametrize(("kind", "value", "reason"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_cannot_be_stored_is_refused_by_name(kind: Any, value: Any, reason: str) -> None:
    arguments = Arguments("t", {"fine": (str, True), "culprit": (kind, True)})
    with pytest.raises(ArgumentError) as caught:
        arguments.encode({"fine": "x", "culprit": value})
    assert caught.value.argument == "culprit"
    assert reason in caught.value.reason
    assert len(str(caught.value)) < 500
    with pytest.raises(ResultError) as failed:
        Value("t", kind).encode(value)
    assert reason in str(failed.value)


class Order(BaseModel):
    count: PositiveInt = 1
    price: Decimal = Decimal(0)
    part: Point = Field(default_factory=lambda: Point(1.0))


def changed(name: str, value: Any) -> Order:
    order = Order()
    setattr(order, name, value)
    return order


def bent(value: Any) -> Point:
    point = Point(1.0)
    point.x = value
    return point


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (Order, changed("count", -5), "should be greater than 0 (at count)"),
        (Order, Order.model_construct(price=Decimal("nan")), "finite number (at price)"),
        (Order, changed("count", "abc"), "valid integer, unable to parse string as an integer (at count)"),
        (Order, changed("count", "5"), "int is expected (at count)"),
        (Order, changed("part", bent("x")), "unable to parse string as a number (at part.x)"),
        (list[Order], [Order(), changed("count", 0)], "greater than 0 (at 1.count)"),
        (dict[str, Order | None], {"a": changed("count", 0)}, "greater than 0 (at a.count)"),
        (Annotated[Point, Field(description="one")], bent("far"), "valid number"),
    ],
)
def test_an_instance_that_is_not_valid_any_more_is_refused_before_it_is_stored(
    kind: Any, value: Any, reason: str
) -> None:
    """pydantic looks at an instance of a model no more; the worker, which reads JSON, would."""
    with pytest.raises(ArgumentError) as caught:
        Arguments("t", {"fine": (str, True), "culprit": (kind, True)}).encode({"fine": "x", "culprit": value})
    assert caught.value.argument == "culprit"
    assert reason in caught.value.reason


def test_a_result_that_leaves_something_out_for_its_readers_is_a_result() -> None:
    class Told(BaseModel):
        id: int
        hidden: str = Field(exclude=True)

    assert Value("t", Told).encode(Told(id=1, hidden="x")) == '{"id":1}'


def test_arguments_that_are_too_large_only_together_blame_all() -> None:
    arguments = Arguments("t", {"a": (str, True), "b": (str, True)})
    with pytest.raises(ArgumentError, match="arguments: takes") as caught:
        arguments.encode({"a": "x" * 600_000, "b": "x" * 600_000})
    assert caught.value.argument == ""


def test_a_name_that_is_no_text_is_no_parameter() -> None:
    for value in (1, object()):
        with pytest.raises(ArgumentError, match="no such parameter") as caught:
            Arguments("t", {"a": (str, True)}).encode({"a": "x", "\ud800": value})
        assert caught.value.argument == "\ud800"


def test_the_limits_themselves_are_allowed() -> None:
    arguments = Arguments("t", {"a": (Any, True)})
    for value in (nested(64), "x" * (MAX_BYTES - len('{"a":""}')), 10**4299, "\\u0000", '"NaN"', ["[" * 100]):
        assert arguments.decode(arguments.encode({"a": value}))["a"] == value
    assert Value("t", Any).encode(nested(64))


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [({}, "a", "is missing"), ({"a": "x", "c": 1}, "c", "no such parameter"), ({"a": 1}, "a", "valid string")],
)
def test_a_call_that_does_not_fit_names_the_parameter(values: dict[str, Any], name: str, reason: str) -> None:
    arguments = Arguments("t", {"a": (str, True), "b": (int, False)})
    with pytest.raises(ArgumentError, match=reason) as caught:
        arguments.encode(values)
    assert caught.value.argument == name
    with pytest.raises(ArgumentError, match=reason) as caught:
        arguments.decode(json.dumps(values))
    assert caught.value.argument == name


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a":', "\ud800", '"a"'])
def test_stored_text_that_is_no_arguments_is_an_argument_error(text: str) -> None:
    with pytest.raises(ArgumentError):
        Arguments("t", {"a": (str, True)}).decode(text)
    with pytest.raises(ResultError):
        Value("t", Row).decode(text)


def test_an_exception_of_a_users_validator_is_ours_with_its_cause() -> None:
    class Odd(BaseModel):
        a: int

        def __init__(self, **data: Any) -> None:
            raise ArithmeticError("odd")

    with pytest.raises(ArgumentError, match="odd"):
        Arguments("t", {"a": (Odd, True)}).encode({"a": {"a": 1}})


class Opaque: ...


@pytest.mark.parametrize("kind", [Opaque, list[Opaque], type[int], "Nowhere"])
def test_a_type_that_cannot_travel_is_refused_at_registration(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"task t: (parameter 'a'|.*)"):
        Arguments("t", {"a": (kind, True)})


def test_a_result_annotated_none_is_null_whatever_it_is() -> None:
    assert Value("t", None).encode(object()) == "null"
    assert Value("t", None).decode("null") is None


def test_defaults_are_left_to_the_function() -> None:
    arguments = Arguments("t", {"a": (str, True), "b": (int, False)})
    assert arguments.encode({"a": "x"}) == '{"a":"x"}'


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_any_plain_json_comes_back_or_is_refused_for_a_nul(value: Any) -> None:
    arguments = Arguments("t", {"a": (Any, True)})
    if "\\u0000" in json.dumps(value).replace("\\\\", ""):
        with pytest.raises(ArgumentError, match="NUL"):
            arguments.encode({"a": value})
    else:
        text = arguments.encode({"a": value})
        assert json.loads(text) == {"a": value}
        assert arguments.decode(text) == {"a": value}


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(plain, st.integers(0, 6))
def test_depth_is_counted_outside_of_strings(value: Any, limit: int) -> None:
    reason = refuse(json.dumps(value).replace("\\u0000", "").encode(), limit)
    assert (reason is not None) == (depth(value) > limit)


def test_two_arguments_are_cheap() -> None:
    """The hot path of every enqueue; the bound is ten times what it takes, so that only a change of kind fails."""
    import timeit

    arguments = Arguments("t", {"to": (str, True), "template": (str, True)})
    values = {"to": "a@example.org", "template": "welcome"}
    text = arguments.encode(values)
    assert min(timeit.repeat(lambda: arguments.encode(values), number=1000, repeat=5)) < 0.060  # 60 µs each
    assert min(timeit.repeat(lambda: arguments.decode(text), number=1000, repeat=5)) < 0.030


WITHOUT = """
import sys
sys.modules["pydantic"] = None
import enum, json, math
from datetime import datetime, date, UTC
from decimal import Decimal
from typing import Any, Literal, Optional
from uuid import UUID
from offpath.codec import Arguments, Value
from offpath.errors import ArgumentError, MissingExtraError, ResultError
class Colour(enum.Enum):
    RED = "red"
def there_and_back(kind, value):
    arguments = Arguments("t", {"v": (kind, True)})
    back = arguments.decode(arguments.encode({"v": value}))["v"]
    assert back == value and type(back) is type(value), (kind, value, back)
for kind, value in [
    (str, "a"), (int, 2**70), (float, 0.5), (bool, False), (None, None), (bytes, b"\\xff"), (Any, {"a": [1, None]}),
    (list[int], [1]), (dict[str, bool], {"a": True}), (tuple[int, ...], (1, 2)), (Optional[int], None),
    (int | str, "x"),
    (Literal["a"], "a"), (Colour, Colour.RED), (UUID, UUID(int=1)), (Decimal, Decimal("0.10")),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC)), (date, date(2026, 1, 1)), (list, [1]), (dict, {"a": 1}),
]:
    there_and_back(kind, value)
for kind, value in [
    (str, 1), (int, True), (int, "1"), (float, math.nan), (str, "\\0"), (str, "\\ud800"), (list[int], ["a"]),
    (Any, object()),
    (Any, {1: 2}), (Literal["a"], "b"), (int | None, "x"), (datetime, "2026"), (str, "x" * (1 << 20)), (int, 10**4300),
    (Decimal, 1), (dict[str, int], {"a": "b"}), (tuple[int, ...], [1]),
]:
    try:
        Arguments("t", {"fine": (str, True), "v": (kind, True)}).encode({"fine": "x", "v": value})
    except ArgumentError as error:
        assert error.argument == "v", (kind, error)
    else:
        raise AssertionError((kind, value))
for values, name in [({}, "a"), ({"a": 1, "b": 2}, "b")]:
    try:
        Arguments("t", {"a": (int, True)}).encode(values)
    except ArgumentError as error:
        assert error.argument == name
for text in ["", "{", "[1]", '{"a":"x"}']:
    try:
        Arguments("t", {"a": (int, True)}).decode(text)
    except ArgumentError:
        continue
    raise AssertionError(text)
try:
    Value("t", complex)
except MissingExtraError as error:
    assert 'pip install "offpath[http]"' in str(error)
try:
    Value("t", int).encode("x")
except ResultError:
    print("ok")
"""


def test_without_pydantic_the_plain_types_travel_and_others_name_the_extra() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False, timeout=200)
    assert done.stdout == "ok\n", done.stderr


def test_both_write_the_same_text() -> None:
    from offpath.codec import plain as without
    from offpath.codec import typed

    for kind, value in [
        (bytes, b"\xff\xfe\xfd"),
        (datetime, datetime(2026, 1, 1, 1, 2, 3, 4, UTC)),
        (Decimal, Decimal("1.10")),
        (uuid.UUID, uuid.UUID(int=5)),
        (Colour, Colour.RED),
        (tuple[int, ...], (1, 2)),
        (dict[str, Any], {"ü": [1.5, None]}),
    ]:
        texts = typed.shape(kind, "t").dump(value).decode(), without.shape(kind, "t").dump(value).decode()
        assert typed.shape(kind, "t").load(texts[1]) == value
        assert without.shape(kind, "t").load(texts[0]) == value


class Aliased(BaseModel):
    full_name: str = Field(alias="fullName")


class WrittenByAlias(BaseModel):
    full_name: str = Field(serialization_alias="fullName")


@pytest.mark.parametrize("kind", [Aliased, WrittenByAlias])
def test_models_with_aliases_come_back_as_arguments_and_as_results(kind: type[BaseModel]) -> None:
    value = kind.model_validate({"fullName": "Ada"} if kind is Aliased else {"full_name": "Ada"})
    arguments = Arguments("task", {"person": (kind, True)})
    assert arguments.decode(arguments.encode({"person": value})) == {"person": value}
    result = Value("task", kind)
    assert result.decode(result.encode(value)) == value


def test_a_result_is_written_by_alias_as_openapi_says() -> None:
    assert json.loads(Value("task", Aliased).encode(Aliased(fullName="Ada"))) == {"fullName": "Ada"}
