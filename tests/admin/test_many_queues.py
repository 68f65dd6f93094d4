"""A queue for each tenant: all of them are seen, page by page, and all of them count."""

import asyncio
from itertools import chain

import httpx
import pytest

from tests.http.site import BOTH, Site

pytestmark = pytest.mark.anyio
MANY = 620


async def crowd(site: Site) -> None:
    await asyncio.gather(*(site.echo.using(queue=f"tenant-{n:03}").enqueue(n) for n in range(MANY)))


async def pages(client: httpx.AsyncClient, **query: str) -> list[list[str]]:
    found: list[list[str]] = []
    cursor = {}
    while True:
        answer = await client.get("/admin/queues", params={**query, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found.append([one["name"] for one in page["items"]])
        if "next_cursor" not in page:
            return found
        cursor = {"cursor": page["next_cursor"]}


@BOTH
async def test_no_queue_is_beyond_sight(site: Site, root: httpx.AsyncClient) -> None:
    await crowd(site)
    last = f"tenant-{MANY - 1}"
    assert (await root.post(f"/admin/queues/{last}/pause", json={"reason": "they asked"})).status_code == 200
    seen = (await root.get("/admin")).json()
    assert seen["queues"] == {"count": MANY + 1, "paused": 1}, "and the one that is declared"
    found = await pages(root)
    assert [len(page) for page in found] == [100] * 6 + [21]
    assert list(chain(*found)) == sorted(["default", *(f"tenant-{n:03}" for n in range(MANY))])
    assert await pages(root, paused="true") == [[last]]
    assert sum(len(page) for page in await pages(root, paused="false", limit="500")) == MANY
    [one] = (await root.get("/admin/queues?paused=true")).json()["items"]
    assert (one["ready"], one["reason"]) == (1, "they asked")
    assert one["age"] >= 0


async def test_the_oldest_is_found_wherever_it_waits(site: Site, root: httpx.AsyncClient) -> None:
    await site.echo.using(queue="zz").enqueue(0)
    oldest = site.jobs.store.now()
    await crowd(site)
    seen = (await root.get("/admin")).json()
    younger = (site.jobs.store.now() - oldest) / 1_000_000
    ages = {one.name: one.age for one in await site.jobs.queues.loads()}
    assert seen["oldest_ready_seconds"] <= ages["zz"]
    assert ages["zz"] == max(age for age in ages.values() if age is not None) >= younger


async def test_cursors_that_are_not_ours(site: Site, root: httpx.AsyncClient) -> None:
    await crowd(site)
    cursor = (await root.get("/admin/queues")).json()["next_cursor"]
    for wrong in (cursor[:-1], cursor[4:], cursor + "AAAA", "AAAA", "é", "A" * 3_000, "====", "AA=A"):
        answer = await root.get("/admin/queues", params={"cursor": wrong})
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (400, "invalid-cursor"), wrong
    other = await root.get("/admin/queues", params={"cursor": cursor, "paused": "true"})
    assert other.status_code == 400, "it belongs to another question"
    assert (await root.get("/admin/queues?paused=perhaps")).status_code == 400


async def test_names_of_any_letters_are_marks(site: Site, root: httpx.AsyncClient) -> None:
    names = ["ä" * 120, "☃" * 80, "a/b", "x" * 255]
    for name in names:
        await site.echo.using(queue=name).enqueue(1)
    assert list(chain(*await pages(root, limit="1"))) == sorted(["default", *names])
