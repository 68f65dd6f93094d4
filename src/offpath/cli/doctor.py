"""`offpath doctor`: what is wrong, and what to do about it. Each check is a line; nothing is written.

0: no problem; 1: there is one; 2, as everywhere: asked wrongly, or the database cannot be used. (With --json that is
a finding, too.)
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence

from ..app import places
from ..app.doctor import examine
from ..core import redact
from ..core.checks import number
from ..core.health import Check
from ..errors import ConfigurationError, StoreError
from . import printing
from .target import application_or_database

NARROW = 20  # columns of text, with fewer of which nobody wraps
AWAY = "let the URL lead to a database that can be used; nothing else was looked at"


def run(options: argparse.Namespace) -> int:
    """Print every check, and what to do where something is not as it should be."""
    long = number(options.long, 0, 1e9, "--long")
    jobs = application_or_database(options)
    unusable = False
    try:
        if not places.exists(jobs.settings.url):
            where = redact.url(jobs.settings.url)
            raise ConfigurationError(f"there is no database at {where}: correct the URL, or run `offpath migrate`")
        checks = examine(jobs, long)
    except (StoreError, ConfigurationError) as error:
        if not options.json:
            raise
        unusable, checks = True, [Check("database", "problem", str(error), AWAY)]
    finally:
        jobs.close()
    if options.json:
        printing.as_json([check._asdict() for check in checks])
    else:
        _print(checks)
    if unusable:
        return 2
    return 1 if any(check.state == "problem" for check in checks) else 0


def _print(checks: Sequence[Check]) -> None:
    state = max(len(check.state) for check in checks)
    name = max(len(check.check) for check in checks)
    width, beside = printing.terminal_width(sys.stdout), state + name + 4
    for check in checks:
        head = f"{check.state:{state}}  {check.check:{name}}  "
        print("\n".join(wrapped(head, printing.line(check.detail), width, beside)))
        if check.remedy is not None:
            print("\n".join(wrapped(f"{'':{beside}}→ ", printing.line(check.remedy), width, beside + 2)))


def wrapped(head: str, text: str, width: int | None, indent: int) -> list[str]:
    """On so many columns, further lines below the first of the text; a pipe, or what is too narrow, gets one line. What
    has no blank in it, such as a path, stays whole, to be copied."""
    if width is None or width - indent < NARROW:
        return [head + text]
    return textwrap.wrap(
        text, width, initial_indent=head, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
