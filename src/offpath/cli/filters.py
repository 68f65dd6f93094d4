"""Which jobs: the flags that `jobs list`, `cancel`, `retry` and `delete` have in common."""

from __future__ import annotations

import argparse
import re

from ..app import Offpath
from ..core.ids import is_id, last_of
from ..core.selection import JobFilter, Which
from ..errors import ConfigurationError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def which(options: argparse.Namespace) -> Which:
    """What the flags mean; they are checked where all filters are."""
    found: Which = {}
    if options.state:
        found["state"] = options.state
    if options.queue is not None:
        found["queue"] = options.queue
    if options.task is not None:
        found["task"] = options.task
    if options.owner is not None:
        found["owner"] = options.owner
    if options.key_prefix is not None:
        found["key_prefix"] = options.key_prefix
    if options.error is not None:
        found["error"] = options.error
    if options.older_than is not None:
        found["older_than"] = duration(options.older_than, "--older-than")
    if options.outstanding:
        found["outstanding"] = True
    return found


def duration(text: str, flag: str) -> float:
    """Seconds, of 90, 30s, 15m, 12h or 7d."""
    said = _DURATION.fullmatch(text.strip())
    if said is None:
        raise ConfigurationError(f"{flag} wants a duration such as 30s, 15m, 12h or 7d, not {text!r}")
    return float(said[1]) * UNITS[said[2] or "s"]


def one(jobs: Offpath, said: str) -> str:
    """The id of the job that is meant: capitals will do, and so will its beginning, if no other job's id begins so.

    What can be no id is given back as it is: there is no such job. ConfigurationError when it may be several.
    """
    text = said.strip().lower()
    last = last_of(text)
    if is_id(text) or last is None:
        return text if is_id(text) else said
    store, limit = jobs.store, 6
    found = store.read(store.verbs.list_jobs(JobFilter(), last, limit)).result()
    ids = [row.id for row in (there.job or there.finished for there in found) if row and row.id.startswith(text)]
    if len(ids) > 1:
        raise ConfigurationError(f"{said!r} may be {', '.join(ids[: limit - 1])}: say more of its id")
    return ids[0] if ids else said


def alone(options: argparse.Namespace) -> None:
    """ConfigurationError when there is an id and a filter, too: one of them is a mistake."""
    if which(options) or options.dry_run:
        raise ConfigurationError("give the id of one job, or filters that mean many; not both")
