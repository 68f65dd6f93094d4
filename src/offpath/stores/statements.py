"""SQL as files (one verb, one file), and the loop that drives a verb over any connection.

A verb of several statements separates them by `-- name: …` lines:

`load("offpath.stores.sqlite")` gives {"claim.take": "select …", "find": "…"}: the file's name, and the part's.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from ..ports import Hint, Now, Statement, Verb

R = TypeVar("R")

_PART = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(package: str) -> dict[str, str]:
    """Every statement in the package's `sql/` folder, by name."""
    found: dict[str, str] = {}
    for file in sorted(files(package).joinpath("sql").iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        verb = file.name.removesuffix(".sql")
        head, *parts = _PART.split(file.read_text("utf-8"))
        if not parts:
            found[verb] = _strip(head)
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            found[f"{verb}.{name}"] = _strip(text)
    return found


@cache
def migrations(package: str) -> tuple[tuple[str, str], ...]:
    """(name, SQL) of the package's numbered migrations, in order."""
    found = [f for f in files(package).joinpath("migrations").iterdir() if f.name.endswith(".sql")]
    return tuple((f.name.removesuffix(".sql"), f.read_text("utf-8")) for f in sorted(found, key=lambda f: f.name))


def _strip(text: str) -> str:
    """Without comments and blank lines: what is sent is what is cached and compared."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--")]
    return "\n".join(lines).strip().rstrip(";")


def drive(
    verb: Verb[R], execute: Callable[[Statement], Any], clock: Callable[[], int], hint: Callable[[Hint], None]
) -> R:
    """Run a verb to its end: each statement is executed, each hint kept for after the commit.

    What a statement raises is raised in the verb, which may know what to do.
    """
    proceed: Callable[[Any], Any] = verb.send
    answer: Any = None
    try:
        while True:
            step = proceed(answer)
            proceed = verb.send
            try:
                if isinstance(step, Statement):
                    answer = execute(step)
                elif isinstance(step, Now):
                    answer = clock()
                else:
                    hint(step)
                    answer = None
            except Exception as e:
                proceed, answer = verb.throw, e
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        answer = None  # an exception kept here would keep this frame, and all it knows, alive


async def drive_async(
    verb: Verb[R],
    execute: Callable[[Statement], Awaitable[Any]],
    clock: Callable[[], Awaitable[int]],
    hint: Callable[[Hint], None],
) -> R:
    """The same over a connection that has to be awaited."""
    proceed: Callable[[Any], Any] = verb.send
    answer: Any = None
    try:
        while True:
            step = proceed(answer)
            proceed = verb.send
            try:
                if isinstance(step, Statement):
                    answer = await execute(step)
                elif isinstance(step, Now):
                    answer = await clock()
                else:
                    hint(step)
                    answer = None
            except Exception as e:
                proceed, answer = verb.throw, e
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        answer = None  # an exception kept here would keep this frame, and all it knows, alive


_NAME = re.compile(r"(?<![:\w]):([a-z_]\w*)")
_COMMAND = re.compile(r"\s*(?:insert|update|delete|savepoint|release|rollback)\b", re.IGNORECASE)
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)


@cache
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """For asyncpg: the text with `$1, $2, …` in place of `:name`, and the names in that order."""
    names = tuple(dict.fromkeys(_NAME.findall(sql)))
    return _NAME.sub(lambda found: f"${names.index(found[1]) + 1}", sql), names


@cache
def positional(sql: str) -> tuple[str, tuple[str, ...]]:
    """For sqlite3: the text with `?` in place of each `:name`, and the names in that order, repeated where they are."""
    return _NAME.sub("?", sql), tuple(_NAME.findall(sql))


@cache
def pyformat(sql: str) -> str:
    """For psycopg: the text with `%(name)s` in place of `:name`, and each `%` of its own doubled."""
    return _NAME.sub(r"%(\1)s", sql.replace("%", "%%"))


@cache
def returns_rows(sql: str) -> bool:
    """Whether the statement gives rows; of the others a driver tells only how many rows they touched."""
    return not _COMMAND.match(sql) or _RETURNING.search(sql) is not None
