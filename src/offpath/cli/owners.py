"""`offpath export|purge --owner ID`: what is kept of somebody, and its erasure."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

from ..app import Offpath
from ..app.owners import Erased
from ..errors import ConfigurationError, Conflict, OffpathError
from . import printing, progress
from .bulk import interruptible, sure
from .target import opened


def export(options: argparse.Namespace) -> int:
    """A JSON object on a line for each thing that is kept. A file is written beside its place and put there when it is
    whole, readable by nobody else; one that is there already is not overwritten."""
    if options.out == "-":
        options.out = None
    if options.out is not None and os.path.exists(options.out):
        raise ConfigurationError(f"--out {options.out}: it is there already; name another file")
    with opened(options) as jobs:
        elsewhere = _elsewhere(jobs, options)
        lines = jobs.export_owner_sync(options.owner, options.tenant, secrets=options.secrets)
        if options.out is None:
            try:
                count = _write(lines, sys.stdout)
                sys.stdout.flush()
            except BrokenPipeError:  # half of it must not look like all of it
                printing.mute()
                raise OffpathError("whoever reads has closed the pipe: not all of it was written") from None
        else:
            half = f"{options.out}.part"
            try:
                with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                    count = _write(lines, file)
                    file.flush()
                    os.fsync(file.fileno())
                if count:
                    os.rename(half, options.out)
                else:
                    os.remove(half)
            except OSError as error:
                raise ConfigurationError(f"--out {options.out}: {error.strerror}") from None
    said = {
        "owner": options.owner,
        "tenant": options.tenant,
        "lines": count,
        "out": options.out,
        "elsewhere": elsewhere,
    }
    if options.json:
        print(printing.dumps(said), file=sys.stderr)
    elif count:
        printing.say(f"{printing.many(count, 'line')} of {options.owner} written, {_where(options)}")
    return _told(options, count, elsewhere)


def _write(lines: Iterator[dict[str, Any]], out: IO[str]) -> int:
    count = 0
    with progress.bar("written", quiet=True) as show:
        for line in lines:
            out.write(printing.dumps(line) + "\n")
            count += 1
            if count % 500 == 0:
                show(count, None)
    return count


def purge(options: argparse.Namespace) -> int:
    """1 when whoever was asked said no, and when there was nothing."""
    whose = f"all that is kept of {_whose(options)}"
    if not options.yes:
        if not sys.stdin.isatty():
            raise ConfigurationError(f"{whose} will be erased for good: say --yes to do it")
        if not sure(f"about to erase {whose}, for good"):
            return 1
    seen = 0
    with opened(options) as jobs, interruptible() as told, progress.bar("rows erased", options.json) as show:

        def note(done: Erased) -> None:
            nonlocal seen
            seen = done.total
            show(done.total, None)
            if told.is_set():
                raise KeyboardInterrupt

        elsewhere = _elsewhere(jobs, options)
        try:
            gone = jobs.purge_owner_sync(options.owner, options.tenant, cancel=options.cancel, progress=note)
        except KeyboardInterrupt:
            gone = None
        except Conflict as error:  # as it is said here
            raise Conflict(str(error).replace("with cancel=True", "with --cancel")) from None
    if gone is None:
        printing.say(f"interrupted: {seen:,} rows erased; the same command goes on with the rest")
        return 130
    renamed = gone.counts.get("renamed", 0)  # alone, it may be of a look that went to the wrong tenant before
    kept = gone.total - renamed
    if options.json:
        printing.as_json(
            {"erased": dict(gone.counts), "total": gone.total, "tenant": options.tenant, "elsewhere": elsewhere}
        )
    elif kept:
        printing.record({**gone.counts, "total": gone.total}, False)
    return _told(options, kept, elsewhere, renamed)


def _whose(options: argparse.Namespace) -> str:
    return f"{options.owner} {_where(options)}"


def _where(options: argparse.Namespace) -> str:
    return f"in tenant {options.tenant}" if options.tenant else "in no tenant"


def _elsewhere(jobs: Offpath, options: argparse.Namespace) -> list[str]:
    """The tenants that were not asked for, and have something of that owner."""
    return [
        name for name in jobs.store.read(jobs.store.verbs.tenants(options.owner)).result() if name != options.tenant
    ]


def _told(options: argparse.Namespace, count: int, elsewhere: list[str], renamed: int = 0) -> int:
    """The wrong tenant must not look like success: 1 when there was nothing, and where there is something is said."""
    nothing = "" if count else f"nothing is kept of {_whose(options)}"
    if nothing and renamed:
        nothing += f" but its name in {printing.many(renamed, 'place')}, mostly of the audit log: that has been changed"
    also = [f"--tenant {name}" if name else "no --tenant" for name in elsewhere]
    there = f"of an owner of that name there is work in {printing.many(len(also), 'other tenant')}: {', '.join(also)}"
    said = "; ".join(one for one in (nothing, there if also else "") if one)
    if said:
        printing.say(said)
    return 0 if count else 1
