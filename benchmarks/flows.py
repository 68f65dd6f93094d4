"""A flow of 1,000: as a chain, as a fan with its join, and as a fan over what its parent found; beside plain jobs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from servers import postgres

from .measure import Row, child, per_job

SIDE = "benchmarks.flow_side"
KINDS = {"plain": "1,000 jobs, no flow", "chain": "chain of 1,000", "fan": "fan of 1,000 and its join",
         "each": "then_each over 1,000 and its join"}  # fmt: skip


@contextlib.contextmanager
def databases() -> Iterator[dict[str, str]]:
    """The URL of each store; SQLite's file is made anew for each run."""
    with tempfile.TemporaryDirectory(prefix="offpath-bench-") as folder, contextlib.ExitStack() as stack:
        found = {"sqlite": f"sqlite:///{folder}/jobs.db"}
        try:
            found["postgres"] = stack.enter_context(postgres.scratch(postgres.wheel())).url
        except postgres.Unavailable as missing:
            print(f"PostgreSQL skipped: {missing}")
        yield found


def rows(rounds: int, n: int, only: str = "") -> Iterator[Row]:
    with databases() as found:
        for kind, name in KINDS.items():
            if only not in ("", kind):
                continue
            row = Row(name, "/s", n, base="sqlite", key=kind)
            for _ in range(rounds):
                for store, url in found.items():
                    if store == "sqlite":
                        Path(url.removeprefix("sqlite:///")).unlink(missing_ok=True)
                    os.environ["BENCH_DATABASE"] = url
                    row.add(store, per_job(child(SIDE, kind, str(n)), n))
            yield row
