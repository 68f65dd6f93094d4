"""`offpath migrate`: the tables, created or brought forward, printed or only checked."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from ..app import Offpath, places
from .target import application_or_database


def run(options: argparse.Namespace) -> int:
    """0: the tables are as this version wants them (or were printed); 1: --check found something to do."""
    jobs = application_or_database(options)
    if options.show:
        known = jobs.store.migrations()
        if options.json:
            print(json.dumps([{"name": name, "sql": text} for name, text in known]))
        else:
            print("\n".join(f"-- {name}\n{text.rstrip()}\n" for name, text in known), end="")
        return 0
    try:
        if options.check:
            return _check(jobs, options.json, options.cure)
        applied = list(jobs.migrate())
    finally:
        jobs.close()
    if options.json:
        print(json.dumps(applied))
    else:
        print("\n".join(f"applied {name}" for name in applied) or "nothing to do")
    return 0


def _check(jobs: Offpath, as_json: bool, cure: str) -> int:
    """Only look: a check writes nothing. A database that is too new is an error (SchemaError), as for every command."""
    url = jobs.settings.url
    there = places.exists(url)
    lacking = jobs.store.lacking()
    if as_json:
        print(json.dumps(lacking))
    elif not lacking:
        print("nothing to do")
    if not lacking:
        return 0
    said = _said(lacking, len(jobs.store.migrations())) if there else "there is no database there yet"
    print(f"offpath: {said}: run {cure}", file=sys.stderr)
    return 1


def _said(lacking: Sequence[str], known: int) -> str:
    if len(lacking) == known:
        return f"the database has no tables of offpath yet (none of {known} migrations)"
    many = "" if len(lacking) == 1 else f" and {len(lacking) - 1} more"
    return f"the database lacks the migration {lacking[0]}{many}"
