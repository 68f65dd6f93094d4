"""`offpath jobs cancel|retry|delete` without an id: to all that the filters mean, after showing which and asking.

Ctrl-C ends it after the page that is being written, says how far it came, and exits 130; a second one does not wait for
that. What is done stays done, and the same command again goes on with the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

from ..app import Offpath
from ..app.bulk import Bulk, Progress, Tally
from ..core.bulk import TASK
from ..core.job import LIVE, TERMINAL, State
from ..core.selection import Which, narrowed, select
from ..errors import ConfigurationError
from . import filters, listing, printing, progress
from .target import opened, plain

SAMPLE = 5
Make = Callable[[Offpath, Which, Progress | None], Bulk]


def cancel(options: argparse.Namespace) -> int:
    def make(jobs: Offpath, which: Which, progress: Progress | None) -> Bulk:
        return jobs.cancel_many(reason=options.reason, progress=progress, **which)

    return _do(options, "cancel", "canceled", make, LIVE, LIVE)


def retry(options: argparse.Namespace) -> int:
    def make(jobs: Offpath, which: Which, progress: Progress | None) -> Bulk:
        return jobs.retry_many(max_attempts=options.max_attempts, progress=progress, **which)

    return _do(options, "retry", "run again", make, TERMINAL, {State.FAILED})


def delete(options: argparse.Namespace) -> int:
    def make(jobs: Offpath, which: Which, progress: Progress | None) -> Bulk:
        return jobs.delete_many(progress=progress, **which)

    return _do(options, "delete", "erased", make, TERMINAL, TERMINAL)


def _do(
    options: argparse.Namespace, verb: str, what: str, make: Make, able: Collection[State], states: Collection[State]
) -> int:
    """To jobs in some of the states `able`, or when none is named in `states`.

    0 when it was done (or only counted), 1 when whoever was asked said no, 2 when nobody could be asked, 130 when it
    was interrupted."""
    which = filters.which(options)
    if not which:
        raise ConfigurationError("say which: the id of a job, or filters such as --queue, --task or --state")
    narrowed(select(which, 0), able, states, f"jobs {verb}")  # what is said wrongly is told in the words of the command
    with opened(options) as jobs:
        count = make(jobs, which, None).count()
        if not count and not options.json and (said := listing.errors(jobs, which)):
            printing.say(f"no jobs{said}")
        if verb == "retry" and not options.json and (changes := _changes(jobs, which)):
            printing.say(
                f"left out: {changes:,} of task {TASK}. A change of many jobs is not run again: see how many fit now, "
                "and ask for it anew (from its page, or by jobs:bulk)"
            )
        if options.dry_run:
            return _preview(options, _sample(jobs, which, states, verb), count, what)
        if not options.yes and count:
            if not sys.stdin.isatty():
                raise ConfigurationError(
                    f"{printing.many(count)} will be {what}: say --yes to do it, or --dry-run to count only"
                )
            if not options.json:
                listing.table(_sample(jobs, which, states, verb), "", stream=sys.stderr)
            if not sure(f"about to {verb} {printing.many(count)}"):
                return 1
        seen = Tally(0, 0, count)
        with interruptible() as told, progress.bar(what, options.json) as show:

            def note(tally: Tally) -> None:
                nonlocal seen
                seen = tally
                show(tally.done + tally.skipped, tally.of)
                if told.is_set():
                    raise KeyboardInterrupt

            try:
                tally = make(jobs, which, note).run()
            except KeyboardInterrupt:
                tally = None
    if tally is None:
        if options.json:
            printing.as_json(seen._asdict() | {"interrupted": True})
        printing.say(
            f"interrupted: {seen.done:,} of {printing.many(seen.of)} {what}; the same command goes on with the rest"
        )
        return 130
    if options.json:
        printing.as_json(tally._asdict())
    else:
        print(f"{printing.many(tally.done)} {what}" + (f", {tally.skipped:,} skipped" if tally.skipped else ""))
        if tally.skipped and verb == "retry":
            printing.say("skipped is what cannot be run again: `offpath jobs retry ID` says why")
    return 0


def _preview(options: argparse.Namespace, sample: list[dict[str, Any]], count: int, what: str) -> int:
    if options.json:
        printing.as_json({"of": count, "sample": sample})
        return 0
    if sample:
        listing.table(sample, "")
    print(f"{printing.many(count)} would be {what}")
    return 0


def _sample(jobs: Offpath, which: Which, states: Collection[State], verb: str) -> list[dict[str, Any]]:
    """The newest of those that are meant."""
    shown: Which = {**which}
    if "state" not in shown:
        shown["state"] = sorted(state.name.lower() for state in states)
    if verb == "retry":
        shown["outstanding"] = True
    return [plain(info) for info in jobs.list_sync(limit=SAMPLE, **shown)]


def _changes(jobs: Offpath, which: Which) -> int:
    """How many changes of many jobs fit, and are never run again."""
    meant: Which = {"state": "failed", **which, "task": TASK}
    meant.pop("outstanding", None)
    return jobs.count_sync(**meant) if which.get("task", TASK) == TASK else 0


def sure(what: str) -> bool:
    """Whether whoever sits at the terminal says yes."""
    print(f"{printing.line(what)}. Sure? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first SIGINT sets; the second one interrupts as usual."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def hear(number: int, frame: object) -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, before)
