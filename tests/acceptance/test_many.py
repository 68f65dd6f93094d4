"""kill -9 of whoever does something to many jobs: what was done stays done, and the same call again does the rest."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from offpath import Offpath, Queue
from offpath.app.bulk import Tally
from offpath.core.job import State
from offpath.core.outcome import Errored, error
from offpath.core.policy import Policy
from offpath.core.selection import JobFilter
from offpath.testing.stores.kit import Hand, change, new_job, put
from tests.stores.kit import Child

from .many import PAGE

JOBS, KILLS = 240, 3
FOR_GOOD = Policy(max_attempts=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Offpath]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/jobs.db" if sqlite else request.getfixturevalue("tables_url")
    made = Offpath(url, queues=[Queue("many")])
    made.migrate()
    yield made
    made.close()


def killed(jobs: Offpath, doing: str) -> int:
    """Begun by another process and cut off after its third page, wherever that leaves it; what it said it had done."""
    child = Child("tests.acceptance.many", jobs.settings.url, doing)
    for _ in range(2):
        child.hear()
    done = int(child.hear())
    child.kill()
    return done


def fail_all(jobs: Offpath, count: int) -> list[str]:
    news = [new_job(queue="many") for _ in range(count)]
    put(jobs.store, *news)
    hand = Hand(jobs.store)
    said = Errored(error("raised", "no"), False)
    hand.settle(*(change(job, said, FOR_GOOD) for job in hand.claim(count, queues=(("many", 1),))))
    hand.close()
    return [new.job.id for new in news]


def test_cancel_many_goes_on_after_a_kill(jobs: Offpath) -> None:
    put(jobs.store, *(new_job(queue="many") for _ in range(JOBS)), new_job(queue="other"))
    done = 0
    for _ in range(KILLS):
        said = killed(jobs, "cancel")
        assert said == 3 * PAGE
        done += said
        left = jobs.count_sync(queue="many", state="ready")
        assert JOBS - left >= done, "what it said was done is done"
        done = JOBS - left
    assert jobs.cancel_many_sync(queue="many") == Tally(JOBS - done, 0, JOBS - done)
    states = Counter(info.state for info in jobs.list_sync(queue="many"))
    assert states == {"canceled": JOBS}
    assert jobs.count_sync(queue="other", state="ready") == 1


def test_retry_many_runs_none_twice_after_kills(jobs: Offpath) -> None:
    letters = fail_all(jobs, JOBS)
    for _ in range(KILLS):
        killed(jobs, "retry")
    jobs.retry_many_sync(queue="many")
    assert jobs.dead_letters.count_sync() == 0
    store = jobs.store
    page = store.read(store.verbs.list_jobs(JobFilter((State.READY,), queue="many"), None, 2 * JOBS)).result()
    assert Counter(one.job.retry_of for one in page if one.job) == Counter(letters)


def test_delete_many_leaves_nothing_half_erased(jobs: Offpath) -> None:
    fail_all(jobs, JOBS)
    killed(jobs, "delete")
    assert jobs.count_sync(queue="many") <= JOBS - 3 * PAGE
    jobs.delete_many_sync(queue="many")
    assert jobs.count_sync() == 0


def test_a_pause_outlives_whoever_made_it(jobs: Offpath) -> None:
    child = Child("offpath", "--database", jobs.settings.url, "queues", "pause", "many", "--json")
    child.hear()
    child.kill()
    put(jobs.store, new_job(queue="many"))
    hand = Hand(jobs.store)
    assert hand.claim(queues=(("many", 1),)) == []
    assert jobs.queues.get_sync("many").paused
    jobs.queues.resume_sync("many")
    assert len(hand.claim(queues=(("many", 1),))) == 1
    hand.close()
