"""Which numbered migrations a database has, lacks, or has too many of."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from ..core.health import Check, few
from ..errors import SchemaError


def missing(known: Sequence[tuple[str, str]], applied: Iterable[str]) -> list[tuple[str, str]]:
    """The migrations still to run; SchemaError when the database is ahead of this version of offpath."""
    have = set(applied)
    ahead = sorted(have - {name for name, _ in known})
    if ahead:
        raise SchemaError(
            f"the database has the migration {ahead[-1]}, which this version of offpath does not know: upgrade offpath"
        )
    return [(name, sql) for name, sql in known if name not in have]


def indexes(known: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The indexes that there are once all these migrations have been applied, by name, and what makes each."""
    found: dict[str, str] = {}
    for _, text in known:
        for statement, made, name in _INDEX.findall(text):
            found.pop(name, None)
            if made:
                found[name] = " ".join(statement.split())
    return found


def complete(
    wanted: Mapping[str, str], found: Collection[str], broken: Sequence[str] = (), again: Sequence[str] = ()
) -> Check:
    """Whether the indexes are there; `broken` are there and not used, `again` makes them anew."""
    lacking = sorted(wanted.keys() - set(found))
    if not lacking and not broken:
        return Check("indexes", "ok", f"all {len(wanted)} indexes are there")
    said = [f"there is no index {name}" for name in lacking] + [f"the index {name} is invalid" for name in broken]
    return Check("indexes", "problem", few(said), "; ".join([*(wanted[name] for name in lacking), *again]))


_INDEX = re.compile(r"^((?:drop|(create(?: unique)?)) index (offpath_\w+)[^;]*)", re.MULTILINE)

_NOTES = "create table if not exists offpath_migration (name text primary key not null, at integer not null);"
_NOTE = "insert into offpath_migration (name, at) values ('{name}', strftime('%s', 'now') * 1000000);"


def script(known: Iterable[tuple[str, str]], notes: str = _NOTES, note: str = _NOTE) -> list[tuple[str, str]]:
    """The same migrations with what notes each of them: what is printed is what runs, by hand too.

    `notes` makes the table of notes in the dialect's SQL, `note` writes `{name}` into it; without them it is SQLite's.
    """
    return [(name, f"{notes}\n\n{text.rstrip()}\n\n{note.format(name=name)}\n") for name, text in known]


def demand(known: Sequence[tuple[str, str]], applied: Iterable[str]) -> None:
    """SchemaError unless the database has exactly what this version needs."""
    lacking = missing(known, applied)
    if lacking:
        raise SchemaError(f"the database lacks the migration {lacking[0][0]}: run `offpath migrate`")
