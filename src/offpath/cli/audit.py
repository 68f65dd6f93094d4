"""`offpath audit list`: who has changed what."""

from __future__ import annotations

import argparse

from ..core.checks import whole
from ..core.ids import is_id
from ..errors import ConfigurationError
from . import printing
from .target import opened, plain

COLUMNS = ("at", "tenant", "actor", "action", "target", "data")


def list_acts(options: argparse.Namespace) -> int:
    """The newest first. Tenants are told where an actor has one, as callers of the admin API do: the shell has none."""
    limit = whole(options.limit, 1, 1_000_000, "--limit")
    if options.after is not None and not is_id(options.after):
        raise ConfigurationError(f"--after wants the id of an entry, not {options.after!r}")
    with opened(options) as jobs:
        found = jobs.audit_sync(
            actor=options.actor, action=options.action, target=options.target, limit=limit, after=options.after
        )
        rows = [plain(entry) for entry in found]
    people = rows if options.json else [row | {"data": row["data"] or ""} for row in rows]
    which = (options.actor, options.action, options.target, options.after)
    none = "nobody has changed anything" if all(one is None for one in which) else "nothing like that is recorded"
    columns = COLUMNS if any(row["tenant"] for row in rows) else [name for name in COLUMNS if name != "tenant"]
    printing.table(people, columns, none, to_json=options.json)
    return 0
