"""How far long work has come, on stderr: a bar where it is a terminal, else a line for every tenth."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from . import printing

BAR = 30  # characters
SELDOM = 10.0  # s between two lines of work whose end is not known
Show = Callable[[int, int | None], None]
"""(done so far, of how many, if that is known)"""


@contextlib.contextmanager
def bar(what: str, quiet: bool = False) -> Iterator[Show]:
    """`quiet`: nothing where stderr is no terminal: whoever asked for JSON reads that."""
    if not sys.stderr.isatty():
        yield _nothing if quiet else _lines(what)
        return
    console = printing.rich(sys.stderr)
    if console is None:
        yield _plain
        print(file=sys.stderr, flush=True)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=False) as drawn:
        task = drawn.add_task(printing.line(what), total=None)

        def show(done: int, of: int | None) -> None:
            # Others may have come since they were counted, so it may be more than all of them.
            drawn.update(task, completed=done, total=None if of is None else max(of, done), refresh=True)

        yield show


def _nothing(done: int, of: int | None) -> None:
    return None


def _plain(done: int, of: int | None) -> None:
    """Rewrites its line."""
    if of is None:
        print(f"\r{done:,}", end="", file=sys.stderr, flush=True)
        return
    full = BAR if not of else min(BAR, BAR * done // of)
    print(f"\r[{'#' * full}{' ' * (BAR - full)}] {done:,} of {of:,}", end="", file=sys.stderr, flush=True)


def _lines(what: str) -> Show:
    last, said_at = -1, time.monotonic()

    def show(done: int, of: int | None) -> None:
        nonlocal last, said_at
        if of is None:
            if time.monotonic() - said_at >= SELDOM:
                said_at = time.monotonic()
                printing.say(f"{done:,} {what}")
            return
        tenth = 10 if not of else min(10, 10 * done // of)
        if tenth != last and of:
            last = tenth
            printing.say(f"{done:,} of {of:,} {what} ({10 * tenth} %)")

    return show
