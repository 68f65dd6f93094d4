"""kill -9, stalled workers, poison: what reliability.md promises, by real processes and the default settings."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stall import stall

from .fleet import Fleet, until

JOBS, KILLS = 2_000, 20
LEASE = 15.0  # the default
BOUND = 3 * LEASE  # a dead worker's jobs are taken up again within lease + look + poll; the rest is a busy machine's


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    sqlite = request.param == "sqlite"
    with Fleet(tmp_path, f"sqlite:///{tmp_path}/jobs.db" if sqlite else request.getfixturevalue("tables_url")) as one:
        yield one


@pytest.mark.timeout(600)
def test_f01_kill_9_twenty_times_over_2000_jobs_loses_none(fleet: Fleet) -> None:
    ids = fleet.enqueue(str(JOBS), "0.05")
    for _ in range(2):
        fleet.start()
    taken: dict[str, float] = {}  # job that was running when its worker was killed → when
    kills = 0
    while kills < KILLS:
        # A job that dies three times is quarantined, as it should be; here no job is killed twice.
        pid = until(lambda: fresh_victim(fleet, set(taken)), 150, "a worker runs jobs that were never killed")
        at = time.monotonic()
        fleet.kill(pid)
        fleet.start()
        # What it was running at the moment of death: started, not ended, and now it never will be.
        held = fleet.ledger.running().get(pid, [])
        kills += bool(held)  # its jobs may have ended between the look and the kill: that one does not count
        taken.update({line["job"]: at for line in held})
    until(lambda: fleet.ended() == JOBS, 300, "all jobs ended")

    history, starts, ends = fleet.history(), fleet.ledger.starts(), fleet.ledger.ends()
    lost = [job for job in ids if job not in history or not ends[job]]
    assert lost == []
    assert fleet.live() == 0
    assert {row["outcome"] for row in history.values()} == {4}, "every job succeeded"
    # Only what was running (or claimed, but not started) on a killed worker ran again: nothing that had been settled.
    again = {job for job, count in ends.items() if count > 1}
    assert len(again) <= KILLS * fleet.concurrency
    assert all(starts[job] >= 2 for job in taken)
    # The fence of the last start is the one that history has: no earlier delivery wrote the end.
    last = {line["job"]: line["fence"] for line in fleet.ledger.read() if line["what"] == "end"}
    assert {job: row["fence"] for job, row in history.items()} == last
    # Taken up again within the bound, by the default settings.
    begun = [(line["job"], line["at"]) for line in fleet.ledger.read() if line["what"] == "start"]
    waits = [min(at for one, at in begun if one == job and at > killed) - killed for job, killed in taken.items()]
    assert max(waits) < BOUND, fleet.log()
    store = fleet.url.partition(":")[0]
    print(f"{store}: jobs {JOBS}, kills {KILLS}, running when killed {len(taken)}, lost 0, ended twice {len(again)}, "
          f"longest until taken up again {max(waits):.1f} s")  # fmt: skip


def fresh_victim(fleet: Fleet, killed: set[str]) -> int | None:
    """A live worker whose running jobs have all been started only this once. None, too, while there is a job that two
    deaths have met already, be it that it only stood in line there: a third would quarantine it."""
    if fleet.crashed() > 1:
        return None
    starts = fleet.ledger.starts()
    for pid, held in fleet.ledger.running().items():
        running = [line["job"] for line in held]
        if pid in fleet.workers and running and not killed & set(running) and all(starts[job] == 1 for job in running):
            return pid
    return None


@pytest.mark.timeout(300)
def test_f05_a_stalled_workers_late_writes_are_refused(fleet: Fleet) -> None:
    ids = fleet.enqueue("4", "4")
    stalled = fleet.start()
    until(lambda: len(fleet.ledger.running().get(stalled.pid, [])) == 4, 100, "the first worker runs all four")
    stall(stalled.pid, fleet.file)
    other = fleet.start()
    until(lambda: fleet.ended() == 4, LEASE + 2 * BOUND, "the second worker has done them")
    before = fleet.history()
    os.kill(stalled.pid, signal.SIGCONT)
    # It wakes up with four jobs that are not its own any more. Which of them it still ends, and which are cut off
    # because the thread that renews heard of the verdict first, is chance; that all are over is not.
    until(lambda: over(fleet, stalled.pid) == 4, 100, "the stalled attempts are over")
    until(lambda: fleet.log().count("worker.lapsed") == 1, 100, "the stalled worker heard its verdict")
    # And it goes on, under a new name; nobody else is there to do it.
    assert other.poll() is None
    fleet.kill(other.pid)
    more = fleet.enqueue("4", "0.2")
    until(lambda: fleet.ended() == 8, 100, "the worker that was stalled works on")
    assert {line["pid"] for line in ends(fleet) if line["job"] in more} == {stalled.pid}
    assert {job: fleet.history()[job] for job in ids} == before, "what had ended stayed as it ended, to the byte"
    assert all(row["fence"] >= 2 and row["result"] == str(row["fence"]) for row in before.values())
    assert stalled.poll() is None


def over(fleet: Fleet, pid: int) -> int:
    return sum(line["pid"] == pid and line["what"] in ("end", "cut") for line in fleet.ledger.read())


def ends(fleet: Fleet) -> list[dict[str, int]]:
    return [line for line in fleet.ledger.read() if line["what"] == "end"]


@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)  # core decides, and waiting three leases out takes long
@pytest.mark.timeout(600)
def test_f12_three_dead_workers_quarantine_the_job_and_spare_its_neighbours(fleet: Fleet) -> None:
    ids = fleet.enqueue("20", "0.5")
    (poison,) = fleet.enqueue("killer", str(fleet.folder / "marker"))
    for _ in range(2):
        fleet.start()
    deadline = time.monotonic() + 400
    while poison not in fleet.history() and time.monotonic() < deadline:
        for pid, process in list(fleet.workers.items()):
            if process.poll() is not None:  # what a supervisor does
                del fleet.workers[pid]
                fleet.start()
        time.sleep(0.05)
    row = fleet.history()[poison]
    assert (row["outcome"], row["crashes"], row["attempt"]) == (5, 3, 1)
    assert '"quarantined"' in row["error"]
    until(lambda: fleet.ended() == 21, 150, "the neighbours ended")
    history = fleet.history()
    assert {history[job]["outcome"] for job in ids} == {4}
