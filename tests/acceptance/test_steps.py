"""I21: a remembered step is never done again and gives the same bytes, whenever its worker is killed (kill -9)."""

from __future__ import annotations

import json
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fleet import Fleet

WORKERS = 2


class Place(Fleet):
    """Workers that kill themselves, and are replaced."""

    app = "tests.acceptance.steps"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url, concurrency=1)  # nobody's neighbour: three deaths would be a quarantine
        self.env |= {"STEPS_DATABASE": url, "STEPS_FOLDER": str(folder)}
        self.deaths = 0

    def until_ended(self, count: int) -> None:
        """What a supervisor does; pytest's own time is the bound."""
        while self.ended() < count:
            for process in [one for one in self.workers.values() if one.poll() is not None]:
                assert process.returncode == -signal.SIGKILL, self.log()
                self.deaths += 1
                del self.workers[process.pid]
            while len(self.workers) < WORKERS:
                self.start()
            time.sleep(0.05)  # other processes tell nobody here


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/jobs.db" if sqlite else request.getfixturevalue("tables_url")
    with Place(tmp_path, url) as one:
        yield one


@pytest.mark.timeout(400)
@pytest.mark.parametrize("count", [8, pytest.param(240, marks=pytest.mark.soak)])
def test_i21_a_remembered_step_is_never_done_again(place: Place, count: int) -> None:
    ids = place.enqueue(str(count))
    place.until_ended(count)

    history = place.history()
    assert set(history) == set(ids)
    # A job that waits in a worker when a neighbour kills it has a crash too: of more than two kills three may add up.
    set_aside = {job for job, row in history.items() if row["crashes"] >= 3}
    assert len(set_aside) <= (0 if count == 8 else count // 10)
    assert {row["outcome"] for job, row in history.items() if job not in set_aside} == {4}, "every job succeeded"
    died = len(list(place.folder.glob("death-*")))
    assert died == count // 4, "every deadly job has killed its worker"

    effects: dict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
    given: dict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
    for line in place.ledger.read():
        (effects if line["what"] == "effect" else given)[line["job"], line["part"]].append(
            (line["fence"], line["token"])
        )
    assert {job for job, part in given if part == 3} >= set(ids) - set_aside
    again = 0
    for step, results in given.items():
        assert len({token for _, token in results}) == 1, f"{step} gave the same each time"
        first = min(fence for fence, _ in results)
        assert max(fence for fence, _ in effects[step]) <= first, f"{step} was remembered, and was done again"
        assert results[0][1] in [token for _, token in effects[step]]
        again += len(effects[step]) - 1
    for job, row in history.items():
        if job in set_aside:
            continue
        assert json.loads(row["result"]) == [given[job, part][0][1] for part in range(4)]
    assert again >= (died + 2) // 3 - len(set_aside), "what was done and not remembered is done again"
    replayed = sum(len(results) - 1 for results in given.values())
    assert replayed >= (died - len(set_aside)) * 2, "each of the killed jobs was given what it had before"
    print(f"{place.url.partition(':')[0]}: jobs {count}, kills {died}, steps {len(given)}, done again {again}, "
          f"replayed {replayed}")  # fmt: skip
