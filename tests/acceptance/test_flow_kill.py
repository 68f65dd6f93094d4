"""kill -9 in the midst of flows: every join is there once, whatever dies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .fleet import Fleet, until

FLOWS, KILLS = 30, 4
WIDTH = 5  # of a fan of `flowapp.py`
PARTS = 2 * WIDTH + 5  # two fans, their joins and the link behind; what was spread; the flow's own row


class Flows(Fleet):
    app = "tests.acceptance.flowapp"


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flows]:
    sqlite = request.param == "sqlite"
    with Flows(tmp_path, f"sqlite:///{tmp_path}/jobs.db" if sqlite else request.getfixturevalue("tables_url")) as one:
        yield one


@pytest.mark.timeout(600)
def test_i20_kill_9_loses_no_join_and_fires_none_twice(fleet: Flows) -> None:
    ids = fleet.enqueue(str(FLOWS), "0.05")
    for _ in range(2):
        fleet.start()
    kills = 0
    killed: set[str] = set()  # a job that dies three times is quarantined: none is killed twice here
    while kills < KILLS:
        pid = until(partial(victim, fleet, killed), 240, "a worker runs something new, or all have ended")
        if pid < 0:
            break  # too little was left for another kill to count
        fleet.kill(pid)
        fleet.start()
        held = {line["job"] for line in fleet.ledger.running().get(pid, [])}
        killed |= held
        kills += bool(held)
    until(lambda: fleet.live() == 0, 240, "all flows ended")

    history = fleet.history()
    assert kills
    assert len(history) == FLOWS * PARTS, "no part was made twice and none was lost"
    assert Counter(row["outcome"] for row in history.values()) == {4: FLOWS * PARTS}
    assert {history[id]["result"] for id in ids} == {str(sum(range(WIDTH)))}
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in fleet.ledger.read():
        seen[line["flow"], line["n"]].add(line["job"])
    once = {"spoke": 2 * WIDTH, "join": 1, "again": 1, "last": 1}
    assert {key: len(found) for key, found in seen.items()} == {
        (id, n): count for id in ids for n, count in once.items()
    }
    ends = fleet.ledger.ends()
    twice = {job for job, count in ends.items() if count > 1}
    assert len(twice) <= KILLS * fleet.concurrency, "only what was running on a killed worker ran again"
    store = fleet.url.partition(":")[0]
    print(f"{store}: flows {FLOWS}, parts {len(history)}, kills {kills}, running when killed {len(killed)}, "
          f"joins lost 0, fired twice 0, ended twice {len(twice)}")  # fmt: skip


def victim(fleet: Flows, killed: set[str]) -> int | None:
    """A worker that runs something, none of which was running on one that was killed; -1: all have ended."""
    for pid, held in fleet.ledger.running().items():
        running = {line["job"] for line in held}
        if pid in fleet.workers and running and not killed & running:
            return pid
    return None if fleet.live() else -1
