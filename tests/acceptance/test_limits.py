"""kill -9 while limits hold: by the database's clock no limit is exceeded at any moment, and no place is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .fleet import Fleet, said, until

# What the application declares; it cannot be imported here, since it opens a database.
PER_KEY, ALL = 2, 5
SPACING, BURST = 50_000, 2  # µs
WORKERS, KILLS, JOBS = 3, 3, 120
LEASE = 5.0  # the shortest that a busy machine keeps


class Limited(Fleet):
    """Workers of `tests.acceptance.limits`."""

    app = "tests.acceptance.limits"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.env["OFFPATH_LEASE"] = str(LEASE)

    def options(self) -> Sequence[str]:
        return ()

    def prepare(self, count: int) -> None:
        said([self.app, str(count)], self.env)

    def lanes(self) -> dict[str, str]:
        return {row["id"]: row["lane"] for row in self._sql("select cast(id as text) as id, lane from offpath_history")}

    def events(self) -> list[tuple[int, int, str, str]]:
        """(at, seq, job, type), as they happened: what is over at a moment is over before what begins at it."""
        rows = self._sql("select cast(job as text) as job, seq, type, at from offpath_event")
        return sorted(
            ((row["at"], row["seq"], row["job"], row["type"]) for row in rows),
            key=lambda one: (one[0], one[3] == "started", one[1]),
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Limited]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/jobs.db" if sqlite else request.getfixturevalue("tables_url")
    with Limited(tmp_path, url) as one:
        yield one


def judge(fleet: Limited) -> tuple[int, Counter[str]]:
    """Sweep over all attempts: how many there were, and how many at most ran at once in each bucket."""
    lanes = fleet.lanes()
    running, held, most = set[str](), Counter[str](), Counter[str]()
    starts: list[int] = []
    attempts = 0
    for at, _, job, kind in fleet.events():
        buckets = lanes[job].split("\n")
        if kind == "started":
            assert job not in running
            running.add(job)
            attempts += 1
            held.update(buckets)
            most |= Counter({name: held[name] for name in buckets})
            if any(name.startswith("task:sync") for name in buckets):
                starts.append(at)
        elif job in running:  # whatever comes next ends the attempt: succeeded, or taken from a dead worker
            running.discard(job)
            held.subtract(buckets)
    assert not running
    assert not any(held.values()), "every place was given back"
    for first in range(len(starts)):
        for last in range(first + 1, len(starts)):
            window = starts[last] - starts[first]
            assert last - first + 1 <= window // SPACING + BURST, (first, last, window)
    return attempts, most


def busy(fleet: Limited, done: int) -> int | None:
    """A live worker in the middle of a job, once so many jobs have ended."""
    if fleet.ended() < done:
        return None
    return next((pid for pid in fleet.ledger.running() if pid in fleet.workers), None)


@pytest.mark.timeout(300)
def test_i14_i15_i16_limits_hold_through_kill_9(fleet: Limited) -> None:
    fleet.prepare(JOBS)
    for _ in range(WORKERS):
        fleet.start()
    kills = 0
    while kills < KILLS:
        # Not before what the last one held has been done: a job whose workers die three times is quarantined.
        done = fleet.ended() + 3 * ALL
        pid = until(lambda: busy(fleet, done), 100, "a worker is at work again")  # noqa: B023 (called at once)
        fleet.kill(pid)
        fleet.start()
        kills += bool(fleet.ledger.running().get(pid))  # nothing may have run any more: that one does not count
    until(lambda: fleet.ended() == JOBS, 200, "all jobs ended")
    attempts, most = judge(fleet)
    assert most["all"] <= ALL
    keys = [name for name in most if name.startswith("task:render/tenant\t")]
    assert len(keys) == 4
    assert max(most[name] for name in keys) <= PER_KEY
    assert attempts >= JOBS + KILLS  # what a dead worker held has begun again, in a place of its own
    assert [row["error"] for row in fleet.history().values() if row["outcome"] != 4] == []
    print(f"{fleet.url.partition(':')[0]}: {KILLS} kills, {attempts} attempts of {JOBS} jobs, at once {most['all']}")
