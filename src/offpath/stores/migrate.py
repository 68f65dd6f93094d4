"""Which numbered migrations a database has, lacks, or has too many of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
