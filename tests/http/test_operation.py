"""wire.md 1.2: the Operation resource and its states."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from offpath.core.outcome import Interrupted, Snoozed
from offpath.http.operations import STATUSES
from tests.http.site import BOTH, Hand, Site, beside, dump, hand, promote

pytestmark = pytest.mark.anyio
TERMINAL = {"succeeded", "failed", "canceled"}


async def look(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body["status"] in STATUSES
    assert body["done"] is (body["status"] in TERMINAL)  # OPR-03
    end = {"result"} if body["status"] == "succeeded" else {"error"} if body["done"] else set[str]()
    assert {"result", "error"} & set(body) == end  # OPR-04
    for name in ("id", "kind", "created_at", "updated_at"):  # OPR-07
        assert body[name]
    for name in ("created_at", "updated_at", "started_at", "finished_at", "expires_at"):
        if body[name] is not None:
            assert body[name].endswith("Z")
            datetime.fromisoformat(body[name])
    return body


@BOTH
async def test_opr_01_03_04_07_each_status_and_its_members(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "flaky")
    body = await look(alice, url)
    assert (body["status"], body["started_at"], body["finished_at"]) == ("queued", None, None)
    job = await worker.claim()
    body = await look(alice, url)
    assert (body["status"], body["attempt"], body["max_attempts"]) == ("running", 1, 2)
    assert body["started_at"]
    await alice.post(url + "/cancel")
    assert (await look(alice, url))["status"] == "canceling"
    await worker.done(job)
    body = await look(alice, url)
    assert body["status"] == "canceled"
    assert body["finished_at"]

    for outcome, status in ((worker.done, "succeeded"), (worker.fail, "failed")):
        url = await site.start(alice, "flaky")
        await outcome(await worker.claim())
        assert (await look(alice, url))["status"] == status


async def test_opr_02_one_l(alice: httpx.AsyncClient, site: Site) -> None:
    url = await site.start(alice, "flaky")
    assert (await alice.post(url + "/cancel")).json()["status"] == "canceled"
    assert "cancelled" not in (await alice.get(url)).text


@BOTH
async def test_opr_05_terminal_states_never_change(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    """Two workers believe they run the same job: one terminal write, the other is refused."""
    url = await site.start(alice, "echo", value=1)
    with hand(site, lease=0.001) as slow:
        theirs = await slow.claim()
        while slow.id not in worker.lease.judge():  # until its lease has run out
            pass
        await worker.store.perform(worker.store.verbs.expire(slow.id, 100))
        ours = await worker.claim()
        verdicts = await asyncio.gather(worker.done(ours, "ours"), slow.done(theirs, "theirs"))
        assert list(verdicts) == ["applied", "stale"]
        before = await look(alice, url)
        assert before["result"] == "ours"
        assert await slow.fail(theirs) == "stale"
        assert await worker.fail(ours) == "stale"
        assert (await alice.post(url + "/cancel")).json() == before
        assert await look(alice, url) == before


@BOTH
async def test_opr_06_only_the_moves_there_are(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "flaky")
    job = await worker.claim()
    await worker.settle(job, Interrupted())  # back, attempt unchanged
    job = await worker.claim()
    await worker.settle(job, Snoozed(0))
    promote(site)
    job = await worker.claim()
    assert job.attempt == 1
    await worker.fail(job, again=True, traceback="Traceback: secret")
    assert (await look(alice, url))["attempt"] == 2
    promote(site)
    await worker.done(await worker.claim(), "x")
    log = (await alice.get(url + "/events", headers={"Accept": "application/json"})).json()["items"]
    names = [item["event"].removeprefix("operation.") for item in log]
    moves = "queued started requeued started requeued started retrying started succeeded"
    assert names == moves.split()
    assert [item["id"] for item in log] == list(range(1, 10))
    retrying = log[6]["data"]
    assert retrying["attempt"] == 2
    assert retrying["error"]["type"].endswith("/job-failed")

    old = await look(alice, url)
    again = await site.jobs.retry(old["id"])
    new = await look(alice, f"/operations/{again.id}")
    assert new["retry_of"] == old["id"]
    assert new["status"] == "queued"
    assert await look(alice, url) == old


@BOTH
async def test_opr_08_percent_reaches_100_at_the_end_only(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    job = await worker.claim()
    assert "progress" not in await look(alice, url)
    await worker.progress(job, 3, 3, "all of it")
    progress = (await look(alice, url))["progress"]
    assert progress == {"percent": 99, "current": 3, "total": 3, "message": "all of it"}
    await worker.done(job)
    assert (await look(alice, url))["progress"]["percent"] == 100


@BOTH
async def test_opr_09_a_dead_worker_leaves_nothing_running(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    with hand(site, lease=0.001) as dead:
        await dead.claim()
        assert (await look(alice, url))["status"] == "running"
        while dead.id not in worker.lease.judge():  # until its lease has run out
            pass
        await worker.store.perform(worker.store.verbs.expire(dead.id, 100))
        body = await look(alice, url)
        assert (body["status"], body["attempt"]) == ("queued", 1)


async def test_opr_10_a_failed_operation_is_200_too(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    await worker.fail(await worker.claim(), public=True, status=503)
    answer = await alice.get(url)
    assert answer.status_code == 200
    assert answer.json()["error"]["status"] == 503


@BOTH
async def test_opr_11_kept_for_30_days(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    await worker.done(await worker.claim())
    body = await look(alice, url)
    kept = datetime.fromisoformat(body["expires_at"]) - datetime.fromisoformat(body["finished_at"])
    assert abs(kept - timedelta(days=30)) < timedelta(minutes=1)
    await worker.store.perform(worker.store.verbs.prune(1000))
    assert await look(alice, url) == body


@BOTH
async def test_opr_12_expired_is_410_to_its_owner_and_404_to_others(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, site: Site, worker: Hand
) -> None:
    url = await site.start(alice, "echo", value=1)
    await worker.done(await worker.claim())
    with beside(site) as db:  # thirty days later
        db.execute("update offpath_operation set expires_at = 1")
        db.execute("update offpath_history set expires_at = 1")
    await worker.store.perform(worker.store.verbs.prune(1000))
    for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
        gone = await alice.request(method, url + path)
        assert gone.status_code == 410, (method, path)
        assert gone.json()["type"].endswith("/gone")
        assert (await bob.request(method, url + path)).status_code == 404
    assert (await alice.get("/operations")).json() == {"items": []}


@BOTH
async def test_opr_13_delete_erases_and_never_cancels(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value="private")
    assert (await alice.delete(url)).status_code == 409
    job = await worker.claim()
    assert (await alice.delete(url)).status_code == 409
    assert (await look(alice, url))["status"] == "running"
    await worker.done(job, "private")
    assert "private" in json.dumps(dump(site), default=str)
    assert (await alice.delete(url)).status_code == 204
    assert (await alice.get(url)).status_code == 404
    assert (await alice.delete(url)).status_code == 404
    for table, found in dump(site).items():
        assert "private" not in json.dumps(found, default=str), table
