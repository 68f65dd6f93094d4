"""`offpath doctor`: what is wrong, and what to do about it. Each check is a line; nothing is written.

0: no problem; 1: there is one; 2, as everywhere: asked wrongly, or the database cannot be used.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from ..app import Offpath, places
from ..core.checks import number
from ..core.health import Check, few, judge
from ..errors import ConfigurationError, StoreError
from .target import application_or_database


def run(options: argparse.Namespace) -> int:
    """Print every check, and what to do where something is not as it should be."""
    long = number(options.long, 0, 1e9, "--long")
    jobs = application_or_database(options)
    if not places.exists(jobs.settings.url):
        raise ConfigurationError(f"there is no database at {jobs.settings.url}")
    try:
        checks = examine(jobs, long)
    finally:
        jobs.close()
    if options.json:
        print(json.dumps([check._asdict() for check in checks], ensure_ascii=False))
    else:
        _print(checks)
    return 1 if any(check.state == "problem" for check in checks) else 0


def examine(jobs: Offpath, long: float) -> list[Check]:
    """Everything there is to say; StoreError when the database cannot be used at all."""
    store = jobs.store
    lacking = store.lacking()
    checks = store.doctor(long)
    if lacking:
        detail = f"the database lacks {few(lacking)}; jobs were not looked at"
        return [*checks, Check("schema", "problem", detail, "run `offpath migrate`")]
    checks.append(Check("schema", "ok", "every migration of this version has been applied"))
    try:
        vitals = store.read(store.verbs.vitals()).result()
    except StoreError as error:  # somebody has locked the tables, or we may not read them: the rest still helps
        return [*checks, Check("jobs", "problem", f"could not be looked at: {error}", "see the checks above")]
    return [*checks, *judge(vitals)]


def _print(checks: Sequence[Check]) -> None:
    state = max(len(check.state) for check in checks)
    name = max(len(check.check) for check in checks)
    for check in checks:
        print(f"{check.state:{state}}  {check.check:{name}}  {_line(check.detail)}")
        if check.remedy is not None:
            print(f"{'':{state}}  {'':{name}}  → {_line(check.remedy)}")


def _line(text: str) -> str:
    """On one line, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
