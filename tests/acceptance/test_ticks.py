"""kill -9 around ticks: whatever dies, each tick is one job, and a continuous worker is never beside itself."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .fleet import Fleet, said, until

STEP = 250_000  # µs, as in ticks.py
TICKS = """
select options from offpath_job where task = 'each'
union all select options from offpath_history where task = 'each'
"""


class Clocks(Fleet):
    """Two workers of `tests.acceptance.ticks`, and what the database says of its schedule."""

    app = "tests.acceptance.ticks"

    def begin(self) -> None:
        said([self.app], self.env)

    def row(self) -> dict[str, Any]:
        rows = self._sql("select next_at, anchor, last_tick from offpath_schedule where name = 'each'")
        return rows[0] if rows else {}

    def ticks(self) -> list[int]:
        return sorted(json.loads(row["options"])["tick"] for row in self._sql(TICKS))


@pytest.fixture(params=["sqlite", "postgresql"])
def clocks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clocks]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/jobs.db" if sqlite else request.getfixturevalue("tables_url")
    fleet = Clocks(tmp_path, url)
    with fleet:
        yield fleet


@pytest.mark.timeout(600)
def test_f45_workers_killed_around_ticks_double_none_and_miss_none(clocks: Clocks) -> None:
    around(clocks, 5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_f45_five_hundred_of_them(clocks: Clocks) -> None:
    around(clocks, 500)


def around(clocks: Clocks, kills: int) -> None:
    """Kill one of two workers within 50 ms of a tick, start another, again and again. (With two databases that makes
    twice as many kills.)"""
    chance = random.Random(45)
    clocks.begin()
    for _ in range(2):
        clocks.start()
    until(lambda: clocks.row().get("last_tick"), 150, "the first tick has been fired")
    killed: dict[int, float] = {}
    for n in range(kills):
        before = clocks.row()["last_tick"]
        until(lambda before=before: clocks.row()["last_tick"] > before, 150, "somebody fires")  # type: ignore[misc]
        # All workers read one clock here, and so do we.
        now = time.time_ns() // 1000
        tick = now + STEP - (now - clocks.row()["anchor"]) % STEP
        time.sleep(max(0.0, (tick - now) / 1e6 + chance.uniform(-0.05, 0.05)))  # the moment is the point of it
        pid = chance.choice(sorted(clocks.workers))
        clocks.kill(pid)
        killed[pid] = time.monotonic()
        if n % 5 == 4:  # all of them at once: nobody is left to fire
            for other in list(clocks.workers):
                clocks.kill(other)
                killed[other] = time.monotonic()
        while len(clocks.workers) < 2:
            clocks.start()
    last = clocks.row()["last_tick"]
    until(lambda: clocks.row()["last_tick"] >= last + 2 * STEP, 150, "the workers that are left fire on")
    for process in clocks.workers.values():
        process.send_signal(signal.SIGTERM)
    for pid, process in clocks.workers.items():
        process.wait(150)
        killed.setdefault(pid, time.monotonic())

    ticks, row = clocks.ticks(), clocks.row()
    wanted = list(range(row["anchor"] + STEP, row["next_at"], STEP))
    assert ticks == wanted, f"doubled {len(ticks) - len(set(ticks))}, missed {len(set(wanted) - set(ticks))}"
    beside(clocks, killed)
    store = clocks.url.partition(":")[0]
    print(f"{store}: ticks {len(ticks)}, kills {len(killed) - 2}, doubled 0, missed 0")


def beside(clocks: Clocks, killed: dict[int, float]) -> None:
    """A run of `alone` ends by its line, or with its process; none begins before the one before it has ended."""
    ends = {(line["job"], line["fence"]): line["at"] for line in clocks.ledger.read() if line["what"] == "end"}
    until_then, by = 0.0, ""
    begun = sorted((line for line in clocks.ledger.read() if line["what"] == "start"), key=lambda line: line["at"])
    assert begun
    for line in begun:
        assert line["at"] >= until_then, f"{line['job']} began beside {by}"
        end = ends.get((line["job"], line["fence"]))
        until_then, by = (killed[line["pid"]] if end is None else end), line["job"]
