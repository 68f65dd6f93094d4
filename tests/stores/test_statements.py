"""SQL with `:name` parameters as each driver wants it, and the loops that drive a verb."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from offpath.ports import Hint, Now, Statement, Verb
from offpath.stores.statements import drive, drive_async, numbered, positional, pyformat, returns_rows


@pytest.mark.parametrize(
    ("sql", "wanted", "names"),
    [
        ("select 1", "select 1", ()),
        ("select :b, :a, :b", "select $1, $2, $1", ("b", "a")),
        ("cast(cast(:rows as text) as jsonb)", "cast(cast($1 as text) as jsonb)", ("rows",)),
        ("now()::text where a=:a_1::int", "now()::text where a=$1::int", ("a_1",)),
        ("a % :n", "a % $1", ("n",)),
    ],
)
def test_numbered(sql: str, wanted: str, names: tuple[str, ...]) -> None:
    assert numbered(sql) == (wanted, names)


def test_positional() -> None:
    assert positional("update t set a = :a, at = :now where at < :now") == (
        "update t set a = ?, at = ? where at < ?",
        ("a", "now", "now"),
    )


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("select :b, :a, :b", "select %(b)s, %(a)s, %(b)s"),
        ("now()::text where a=:a_1::int", "now()::text where a=%(a_1)s::int"),
        ("name like 'x%' and a % :n", "name like 'x%%' and a %% %(n)s"),
    ],
)
def test_pyformat(sql: str, wanted: str) -> None:
    assert pyformat(sql) == wanted


@pytest.mark.parametrize(
    ("sql", "gives"),
    [
        ("select 1", True),
        ("with a as (delete from b returning 1) select 1 from a", True),
        ("insert into a select 1", False),
        ("  update a set b = 1", False),
        ("delete from a\nreturning id", True),
        ("savepoint a", False),
    ],
)
def test_returns_rows(sql: str, gives: bool) -> None:
    assert returns_rows(sql) is gives


def one_of_all() -> Verb[list[Any]]:
    got: list[Any] = [(yield Statement("fine", {}, len)), (yield Now())]
    try:
        yield Statement("broken", {}, len)
    except ZeroDivisionError:
        got.append((yield Statement("instead", {}, len)))
    yield Hint("work", ("a",))
    return got


def answer(statement: Statement) -> Any:
    if statement.sql == "broken":
        raise ZeroDivisionError
    return statement.sql


def driven(verb: Verb[Any], hint: Callable[[Hint], None]) -> Any:
    return drive(verb, answer, lambda: 7, hint)


def driven_async(verb: Verb[Any], hint: Callable[[Hint], None]) -> Any:
    async def execute(statement: Statement) -> Any:
        return answer(statement)

    async def clock() -> int:
        return 7

    return asyncio.run(drive_async(verb, execute, clock, hint))


@pytest.mark.parametrize("way", [driven, driven_async])
def test_a_verb_is_driven_to_its_end(way: Callable[..., Any]) -> None:
    """Each step is answered; what a statement raises is the verb's to deal with, or comes out."""
    hints: list[Hint] = []
    assert way(one_of_all(), hints.append) == ["fine", 7, "instead"]
    assert hints == [Hint("work", ("a",))]

    def helpless() -> Verb[None]:
        yield Statement("broken", {}, len)

    with pytest.raises(ZeroDivisionError):
        way(helpless(), hints.append)
