"""wire.md 1.5: cancellation."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from offpath.http.problems import BASE
from tests.http.site import BOTH, Hand, Site, eventually, served

pytestmark = pytest.mark.anyio
WAIT = {"Prefer": "wait=25"}


@BOTH
@pytest.mark.parametrize("form", ["/cancel", ":cancel"])
async def test_can_01_idempotent_202_while_it_runs_else_200(
    alice: httpx.AsyncClient, site: Site, worker: Hand, form: str
) -> None:
    url = await site.start(alice, "echo", value=1)
    job = await worker.claim()
    first = await alice.post(url + form)
    assert (first.status_code, first.json()["status"]) == (202, "canceling")
    assert int(first.headers["retry-after"]) >= 1
    again = await alice.post(url + form)
    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["etag"] == first.headers["etag"]
    await worker.done(job)
    last = await alice.post(url + form)
    assert (last.status_code, last.json()["status"]) == (200, "canceled")
    assert "retry-after" not in last.headers


@BOTH
async def test_can_02_what_has_ended_stays(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    for end, status in ((worker.done, "succeeded"), (worker.fail, "failed")):
        url = await site.start(alice, "echo", value=1)
        await end(await worker.claim())
        before = await alice.get(url)
        answer = await alice.post(url + "/cancel")
        assert answer.status_code == 200
        assert answer.json() == before.json()
        assert answer.json()["status"] == status
        assert (await alice.get(url)).headers["etag"] == before.headers["etag"]


@BOTH
async def test_can_03_queued_work_never_starts(alice: httpx.AsyncClient, site: Site) -> None:
    ids = []
    for _ in range(3):
        url = await site.start(alice, "reports.render", period="q")
        ids.append(url.rpartition("/")[2])
        assert (await alice.post(url + "/cancel")).json()["status"] == "canceled"
    last = await site.start(alice, "reports.render", period="q")
    async with site.jobs.worker():
        await alice.get(last, headers=WAIT)
    assert site.runs == [last.rpartition("/")[2]]


async def test_can_03_not_even_when_a_worker_has_fetched_it(tmp_path: Path) -> None:
    """One slot, busy; the next job may be in the worker's hands already when it is canceled."""
    site = Site(tmp_path, settings={"concurrency": 1})
    async with site.client() as client:
        first = await site.start(client, "gated")
        second = await site.start(client, "reports.render", period="q")
        async with site.jobs.worker():
            await asyncio.wait_for(site.began.wait(), 60)
            assert (await client.post(second + "/cancel")).status_code in (200, 202)
            site.gate.set()
            assert (await client.get(first, headers=WAIT)).json()["status"] == "succeeded"
            assert (await client.get(second, headers=WAIT)).json()["status"] == "canceled"
    assert site.runs == []
    site.jobs.close()


async def test_can_04_running_work_is_stopped_soon(alice: httpx.AsyncClient, site: Site) -> None:
    url = await site.start(alice, "gated")
    async with site.jobs.worker():
        await asyncio.wait_for(site.began.wait(), 60)
        assert (await alice.post(url + "/cancel")).status_code == 202
        body = (await alice.get(url, headers=WAIT)).json()
    assert body["status"] == "canceled"


async def test_can_04_past_the_grace_it_is_abandoned(tmp_path: Path) -> None:
    site = Site(tmp_path, settings={"cancel_grace": 0.1})
    async with site.client() as alice, site.jobs.worker():
        url = await site.start(alice, "stubborn")
        await asyncio.wait_for(site.began.wait(), 60)
        await alice.post(url + "/cancel")
        body = (await alice.get(url, headers=WAIT)).json()
        assert body["status"] == "canceled"
        assert not site.gate.is_set()
        site.gate.set()
    site.jobs.close()


async def test_can_05_a_client_that_leaves_cancels_nothing(site: Site) -> None:
    async with served(site.api) as base, site.jobs.worker():
        async with httpx.AsyncClient(base_url=base, headers={"Authorization": "alice"}) as client:
            url = await site.start(client, "gated")
            await asyncio.wait_for(site.began.wait(), 60)
            held = asyncio.create_task(client.get(url, headers={"Prefer": "wait=20"}))
            async with client.stream("GET", url + "/events"):
                await eventually(lambda: site.service.watcher.open == 2)
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)
        await eventually(lambda: site.service.watcher.open == 0)
        async with site.client() as alice:
            path = url.removeprefix(base)
            assert (await alice.get(path)).json()["status"] == "running"
            site.gate.set()
            assert (await alice.get(path, headers=WAIT)).json()["result"] == "through"


@BOTH
async def test_can_06_why_and_when(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    async def canceled(url: str) -> dict[str, Any]:
        body: dict[str, Any] = (await alice.get(url)).json()
        assert body["status"] == "canceled"
        error: dict[str, Any] = body["error"]
        assert error["type"] == BASE + "canceled"
        assert body["created_at"] <= error["requested_at"] <= body["finished_at"]
        assert error["requested_at"].endswith("Z")
        return error

    url = await site.start(alice, "echo", value=1)
    await alice.post(url + "/cancel", json={"reason": "changed my mind"})
    assert (await canceled(url))["reason"] == "changed my mind"
    url = await site.start(alice, "echo", value=1)
    job = await worker.claim()
    await alice.post(url + "/cancel")
    await worker.done(job)
    assert (await canceled(url))["reason"] == "requested by its owner"
    log = (await alice.get(url + "/events", headers={"Accept": "application/json"})).json()["items"]
    assert log[-2]["event"] == "operation.canceling"
    assert log[-2]["data"]["reason"] == "requested by its owner"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [([1], "#"), (None, "#"), ("why", "#"), ({"reason": 7}, "#/reason"), ({"reason": ""}, "#/reason")],
)
async def test_a_reason_that_is_none_is_told_where(alice: httpx.AsyncClient, site: Site, body: Any, wrong: str) -> None:
    url = await site.start(alice, "echo", value=1)
    content = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
    answer = await alice.post(url + "/cancel", **content)  # type: ignore[arg-type]
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == wrong
    assert wrong != "#" or error["detail"] == "must be an object"
