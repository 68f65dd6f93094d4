"""RES-12: what failed in part has succeeded, and says so in its result. OPR-08: how far it is never goes back."""

import json

import httpx
import pytest
from pydantic import BaseModel

from offpath import Backoff, Context, Retry
from tests.http.decoder import decode
from tests.http.site import Site

pytestmark = pytest.mark.anyio


class Failure(BaseModel):
    row: int
    title: str


class Imported(BaseModel):
    imported: int
    failed: list[Failure]


async def ended(client: httpx.AsyncClient, url: str) -> httpx.Response:
    return await client.get(url, headers={"Prefer": "wait=20"})


async def test_res_12_partial_failures_are_part_of_the_result(site: Site, alice: httpx.AsyncClient) -> None:
    @site.jobs.task(name="import")
    async def import_rows(rows: list[int]) -> Imported:
        failed = [Failure(row=row, title="Negative") for row in rows if row < 0]
        return Imported(imported=len(rows) - len(failed), failed=failed)

    async with site.jobs.worker():
        url = await site.start(alice, "import", rows=[1, -2, 3, -4])
        document = (await ended(alice, url)).json()
        assert document["status"] == "succeeded"
        assert "error" not in document
        assert document["result"] == {
            "imported": 2,
            "failed": [{"row": -2, "title": "Negative"}, {"row": -4, "title": "Negative"}],
        }
        result = await alice.get(url + "/result")
        assert (result.status_code, result.json()) == (200, document["result"])


async def test_opr_08_percent_never_falls_within_one_attempt(site: Site, alice: httpx.AsyncClient) -> None:
    @site.jobs.task(name="counts", retry=Retry(max_attempts=2, backoff=Backoff.fixed(0.01)))
    async def counts(ctx: Context) -> None:
        for done, of in ((10, 100), (60, 100), (30, 100), (60, 400), (100, 100)):
            assert await ctx.progress(done, of=of, message=f"{done} of {of}")
        if ctx.attempt == 1:
            raise LookupError("once more")

    async with site.jobs.worker():
        url = await site.start(alice, "counts")
        document = (await ended(alice, url)).json()
    assert (document["status"], document["attempt"], document["progress"]["percent"]) == ("succeeded", 2, 100)
    attempts: list[list[int]] = []
    for event in decode((await alice.get(url + "/events", headers={"Last-Event-ID": "0"})).content):
        if event.type == "operation.started":
            attempts.append([])
        elif event.type == "operation.progress":
            attempts[-1].append(json.loads(event.data)["percent"])
    assert len(attempts) == 2
    for percents in attempts:
        assert percents == sorted(percents)
        assert percents[0] == 10, "a new attempt begins anew"
        assert 99 in percents
        assert max(percents) == 99, "100 is for what has ended"
