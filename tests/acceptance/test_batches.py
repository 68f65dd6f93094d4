"""kill -9 in the middle of a batch, and of a keyed job with another behind it: all of it again, none lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .fleet import Fleet, until

JOBS, KILLS = 24, 2


class Workers(Fleet):
    """Of `tests.acceptance.batches`."""

    app = "tests.acceptance.batches"

    @property
    def gate(self) -> Path:
        """What runs ends once it is there."""
        return self.folder / "gate"


@pytest.fixture(params=["sqlite", "postgresql"])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workers]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/jobs.db" if sqlite else request.getfixturevalue("tables_url")
    with Workers(tmp_path, url) as one:
        one.env["ACCEPTANCE_GATE"] = str(one.gate)
        yield one


def in_batches(workers: Workers, pid: int) -> set[str]:
    """The jobs of the batches that this process has begun and not ended."""
    held = workers.ledger.running().get(pid, [])
    return {line["job"] for line in held if line["what"] == "start"}


def starts_of(workers: Workers, job: str) -> list[dict[str, int]]:
    return [line for line in workers.ledger.read() if line["what"] == "start" and line["job"] == job]


@pytest.mark.timeout(240)
def test_kill_9_in_the_middle_of_a_batch(workers: Workers) -> None:
    ids = workers.enqueue("index", str(JOBS))
    [first] = workers.enqueue("refresh", "0")
    taken: list[set[str]] = []
    behind: list[str] = []
    for kill in range(KILLS):
        one = workers.start()
        until(lambda pid=one.pid: len(in_batches(workers, pid)) == JOBS, 60, "it is in the middle of batches of all")
        if not kill:
            until(lambda: [line for line in workers.ledger.read() if line["what"] == "refresh"], 60, "the first runs")
            behind = workers.enqueue("refresh", "1", "2", "3")
            assert len({first, *behind}) == 2, "those that come while one runs are one job behind it"
        workers.kill(one.pid)
        taken.append(in_batches(workers, one.pid))
    assert workers.ended() == 0
    workers.gate.touch()
    workers.start()
    until(lambda: workers.ended() == JOBS + 2, 120, "all jobs ended")

    history, lines = workers.history(), workers.ledger.read()
    assert set(history) == {*ids, first, behind[0]}
    assert {row["outcome"] for row in history.values()} == {4}, "every job succeeded"
    assert workers.ledger.ends() == dict.fromkeys(ids, 1), "and ended once: none had been settled before it ran again"
    last = {line["job"]: line["fence"] for line in lines if line["what"] == "end"}
    assert {job: history[job]["fence"] for job in ids} == last
    for killed in taken:
        assert all(len(starts_of(workers, job)) >= 2 for job in killed), "all of a killed batch ran again"
    assert max(line["of"] for line in lines if line["what"] == "start") > 1
    suspects = [job for job in ids if history[job]["crashes"] == 2]
    assert len(suspects) == JOBS
    assert all(starts_of(workers, job)[-1]["of"] == 1 for job in suspects), "one that may be deadly runs alone"
    assert [line["n"] for line in lines if line["what"] == "refreshed"] == [0, 3], "one at a time, the newest last"
    store = workers.url.partition(":")[0]
    print(f"{store}: jobs {JOBS}, kills {KILLS}, in a batch when killed {[len(killed) for killed in taken]}, "
          f"suspects {len(suspects)}, lost 0")  # fmt: skip
