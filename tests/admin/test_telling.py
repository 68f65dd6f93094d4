"""What a job's document tells is so: whether it can be run again, how its log ends, since when it runs; and of
schedules, which runs are ahead and why one is late."""

import contextlib
from datetime import timedelta
from typing import Any

import httpx
import pytest

from offpath import Schedule, all_of
from offpath.core.options import SECOND
from offpath.errors import JobFailed
from tests.http.site import BOTH, ONCE, Hand, Site

pytestmark = pytest.mark.anyio


async def got(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(f"/admin{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@BOTH
async def test_a_failed_flow_is_settled_when_what_failed_in_it_is_run_again(
    site: Site, root: httpx.AsyncClient
) -> None:
    broken = [True]

    @site.jobs.task(retry=ONCE)
    def sometimes(number: int) -> int:
        if broken:
            raise RuntimeError("not now")
        return number

    flow: Any = all_of(sometimes.call(1), sometimes.call(2)).then(site.echo.call(3))
    async with site.jobs.worker():
        job = await flow.enqueue()
        with contextlib.suppress(JobFailed):
            await job.result(timeout=60)
        seen = await got(root, f"/jobs/{job.id}")
        assert seen["can"]["retry"] is False, "no button that can only fail"
        assert "is a flow" in seen["no_retry"]
        assert (await root.post(f"/admin/jobs/{job.id}/retry")).status_code == 409
        dead = (await got(root, "/jobs?state=failed&outstanding=true&task=sometimes"))["items"]
        assert dead
        assert (await got(root, f"/jobs/{dead[0]['id']}"))["can"]["retry"] is True
        broken.clear()
        for one in dead:
            again = await root.post(f"/admin/jobs/{one['id']}/retry")
            assert again.status_code == 202
            assert (again.json()["flow"], again.json()["no_retry"]) == (None, None)
    seen = await got(root, f"/jobs/{job.id}")
    assert (seen["state"], seen["retried_as"]) == ("failed", again.json()["id"]), "it stays as it ended"
    assert (await got(root, "/jobs?state=failed&outstanding=true"))["items"] == []
    assert (await got(root, ""))["totals"]["failed_outstanding"]["count"] == 0


@BOTH
async def test_of_a_long_log_its_end_is_shown(site: Site, root: httpx.AsyncClient, worker: Hand) -> None:
    async with site.client("root") as client:
        id = (await site.start(client, "echo", value=1)).rpartition("/")[2]
    job = await worker.claim()
    for number in range(130):
        await worker.progress(job, number, 1_000)
    seen = await got(root, f"/jobs/{id}")
    assert seen["started_at"] is not None
    assert len(seen["events"]) == 100
    assert seen["events"][-1]["data"]["current"] == 129
    assert seen["events_before"] == seen["events"][0]["sequence"] - 1 == 32, "queued, started, and 30 of progress"
    await site.jobs.cancel(id)
    assert (await got(root, f"/jobs/{id}"))["events"][-1]["type"] == "canceling"


async def test_what_nobody_watches_says_that_its_start_is_not_kept(
    site: Site, root: httpx.AsyncClient, worker: Hand
) -> None:
    job = await site.echo.enqueue(1)
    await worker.claim()
    seen = await got(root, f"/jobs/{job.id}")
    assert (seen["state"], seen["started_at"], seen["events_before"], seen["no_retry"]) == ("running", None, 0, None)


@BOTH
async def test_next_runs_are_ahead_and_a_late_schedule_says_why(
    site: Site, root: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = site.jobs.store
    every = Schedule.every(timedelta(seconds=30), overlap="queue")
    await site.jobs.schedules.put("beat", every, site.echo.using(queue="low").call(1))
    last = await site.jobs.schedules.run_now("beat")
    await site.jobs.queues.pause("low", reason="load test")
    then = store.now() + 240 * SECOND
    monkeypatch.setattr(store, "now", lambda: then)
    seen = await got(root, "/schedules/beat")
    assert seen["late"] is True
    assert len(seen["next_runs"]) == 10
    assert all(at > seen["next_at"] for at in seen["next_runs"])
    assert [at for at in await site.jobs.schedules.explain("beat") if at.timestamp() * SECOND <= then] == []
    assert (seen["queue"], seen["queue_paused"], seen["waits_for"]) == ("low", True, last.id)
    await site.jobs.cancel(last.id)
    assert (await got(root, "/schedules/beat"))["waits_for"] is None
