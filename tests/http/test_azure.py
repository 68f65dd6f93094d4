"""wire.md sections 2 and 4: a stranger's client, azure-core's LROPoller, ends on every outcome."""

import asyncio
import json
from typing import Any

import pytest
from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy
from azure.core.polling import LROPoller
from azure.core.polling.base_polling import LROBasePolling
from azure.core.rest import HttpRequest

from tests.http.site import Hand, Site, served

pytestmark = pytest.mark.anyio


def _begin(base: str, *, monitor: bool = True) -> LROPoller[Any]:
    """Start an operation as a generated Azure client does; `monitor=False`: one that knows `Location` only."""
    policies = [RequestIdPolicy(), HeadersPolicy(base_headers={"Authorization": "alice"})]
    client: Any = PipelineClient(base, policies=policies)
    request = HttpRequest("POST", f"{base}/start/echo", json={"value": 1})
    initial = client._pipeline.run(request)
    assert initial.http_response.status_code == 202
    if not monitor:
        headers = initial.http_response.headers
        headers["location"] = headers["location"] + "/result"
        del headers["operation-location"]
    polling: LROBasePolling[Any, Any, Any] = LROBasePolling(timeout=0.01)

    def read(response: Any) -> Any:
        return json.loads(response.http_response.body())

    return LROPoller(client, initial, read, polling)


async def test_acc_04_opr_03_it_succeeds(site: Site, worker: Hand) -> None:
    async with served(site.api) as base:
        poller = await asyncio.to_thread(_begin, base)
        await worker.done(await worker.claim(), "the end")
        body = await asyncio.wait_for(asyncio.to_thread(poller.result, 100), 110)
        assert poller.status() == "succeeded"
        assert body["result"] == "the end"


async def test_opr_10_mistake_01_it_fails_with_a_5xx_status_of_its_own(site: Site, worker: Hand) -> None:
    async with served(site.api) as base:
        poller = await asyncio.to_thread(_begin, base)
        await worker.fail(await worker.claim(), "no", public=True, status=503)
        with pytest.raises(HttpResponseError):
            await asyncio.wait_for(asyncio.to_thread(poller.result, 100), 110)
        assert poller.status() == "failed"


async def test_opr_02_mistake_02_it_is_canceled(site: Site, worker: Hand) -> None:
    async with served(site.api) as base:
        poller = await asyncio.to_thread(_begin, base)
        job = await worker.claim()
        async with site.client() as alice:
            answer = await alice.post(f"/operations/{job.id}/cancel")
            assert answer.json()["status"] == "canceling"
        await worker.done(job)
        with pytest.raises(HttpResponseError):
            await asyncio.wait_for(asyncio.to_thread(poller.result, 100), 110)
        assert poller.status() == "canceled"


async def test_res_02_by_location_only(site: Site, worker: Hand) -> None:
    """For a client that polls `Location` until it is no 202, the result link is that location."""
    async with served(site.api) as base:
        poller = await asyncio.to_thread(_begin, base, monitor=False)
        await worker.done(await worker.claim(), {"n": 7})
        assert await asyncio.wait_for(asyncio.to_thread(poller.result, 100), 110) == {"n": 7}


@pytest.mark.parametrize("end", ["failed", "canceled", "deleted"])
async def test_res_03_mistake_01_by_location_only_it_ends_too(site: Site, worker: Hand, end: str) -> None:
    """A 5xx, 408 or 429 at the result's URL would be polled for ever; 409 and 404 end it."""
    ended = asyncio.Event()

    async def held(request: Any, call_next: Any) -> Any:
        """No poll falls between the job's end and its deletion: it would be told 409, rightly."""
        if request.url.path.endswith("/result"):
            await ended.wait()
        return await call_next(request)

    site.api.middleware("http")(held)
    async with served(site.api) as base, site.client() as alice:
        poller = await asyncio.to_thread(_begin, base, monitor=False)
        job = await worker.claim()
        if end == "canceled":
            await alice.post(f"/operations/{job.id}/cancel")
            await worker.done(job)
        else:
            await worker.fail(job, "no", public=True, status=503)
        if end == "deleted":
            assert (await alice.delete(f"/operations/{job.id}")).status_code == 204
        ended.set()
        with pytest.raises(HttpResponseError) as caught:
            await asyncio.wait_for(asyncio.to_thread(poller.result, 100), 110)
        assert caught.value.status_code == (404 if end == "deleted" else 409)


async def test_opr_01_pol_01_it_waits_while_there_is_no_end(site: Site, worker: Hand) -> None:
    """Every status that is none of its own terminal ones means "not yet", and `Retry-After` how long."""
    seen: list[str] = []

    async def watched(request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        if request.method == "GET" and "retry-after" in answer.headers:
            seen.append(answer.headers["retry-after"])
            waiting.set()
        return answer

    site.api.middleware("http")(watched)
    waiting = asyncio.Event()
    async with served(site.api) as base, site.client() as alice:
        poller = await asyncio.to_thread(_begin, base)
        for step in ("queued", "running", "canceling"):
            if step == "running":
                job = await worker.claim()
            if step == "canceling":
                await alice.post(f"/operations/{job.id}/cancel")
            waiting.clear()
            await asyncio.wait_for(waiting.wait(), 60)
            assert not poller.done(), step
        await worker.done(job)
        with pytest.raises(HttpResponseError):
            await asyncio.wait_for(asyncio.to_thread(poller.result, 100), 110)
        assert poller.status() == "canceled"
    assert len(seen) >= 3
    assert all(int(wait) >= 1 for wait in seen)
