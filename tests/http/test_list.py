"""wire.md 1.6: listing; and SEC-01: every route asks whose operation it is."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.http.site import BOTH, Hand, Site

pytestmark = pytest.mark.anyio


async def fill(site: Site, client: httpx.AsyncClient, count: int, **body: str) -> list[str]:
    made = []
    for _ in range(count):
        answer = await client.post("/reports", json={"period": "q", **body})
        made.append(answer.json()["id"])
    return sorted(made)  # two of one millisecond are in no other order


async def walk(client: httpx.AsyncClient, url: str) -> list[str]:
    ids: list[str] = []
    while url:
        answer = await client.get(url)
        assert answer.status_code == 200
        page = answer.json()
        ids += [item["id"] for item in page["items"]]
        link = answer.headers.get("link")
        assert (link is None) is ("next_cursor" not in page)
        url = ""
        if link:
            (url,) = re.fullmatch(r'<(\S+)>; rel="next"', link).groups()  # type: ignore[union-attr]
            assert parse_qs(urlsplit(url).query)["cursor"] == [page["next_cursor"]]
    return ids


@BOTH
async def test_lst_01_pages(alice: httpx.AsyncClient, site: Site) -> None:
    assert (await alice.get("/operations")).json() == {"items": []}
    made = await fill(site, alice, 5)
    for limit in (1, 2, 4, 5, 6):
        assert await walk(alice, f"/operations?limit={limit}") == made[::-1]
    body = (await alice.get("/operations?limit=1")).json()
    assert body["items"][0] == (await alice.get(f"/operations/{made[-1]}")).json()


@BOTH
async def test_lst_02_cursors_are_opaque_and_checked(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, site: Site
) -> None:
    await fill(site, alice, 3)
    await fill(site, bob, 3)
    cursor = (await alice.get("/operations?limit=1")).json()["next_cursor"]
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert (await alice.get(f"/operations?limit=2&cursor={cursor}")).status_code == 200, "the limit may change"
    for index in range(len(cursor)):
        other = "A" if cursor[index] != "A" else "B"
        bad = cursor[:index] + other + cursor[index + 1 :]
        assert (await alice.get("/operations", params={"cursor": bad})).status_code == 400
    for bad in ("", "x", cursor[:-1], cursor + "A", cursor + "=", "é" * 44, cursor[:-1] + "\x00"):
        assert (await alice.get("/operations", params={"cursor": bad})).status_code == 400
    assert (await bob.get(f"/operations?cursor={cursor}")).status_code == 400
    for filters in ("status=queued", "kind=x", "label=", "created_after=2026-01-01T00:00:00Z"):
        answer = await alice.get(f"/operations?cursor={cursor}&{filters}")
        assert answer.status_code == 400
        assert answer.json()["type"].endswith("/invalid-cursor")


async def test_lst_02_cursors_hold_on_every_replica(tmp_path: Path) -> None:
    one, two = Site(tmp_path), Site(tmp_path)
    async with one.client() as first, two.client() as second:
        made = await fill(one, first, 3)
        cursor = (await first.get("/operations?limit=2")).json()["next_cursor"]
        answer = await second.get(f"/operations?cursor={cursor}")
        assert [item["id"] for item in answer.json()["items"]] == made[:1]
    one.jobs.close()
    two.jobs.close()


async def test_lst_03_limits(alice: httpx.AsyncClient, site: Site) -> None:
    await fill(site, alice, 25)
    for limit, count in (("0", 20), ("", 20), ("7", 7), ("1000", 25), ("9" * 10, 25), ("9" * 5000, 25), ("0" * 20, 20)):
        answer = await alice.get("/operations", params={"limit": limit})
        assert len(answer.json()["items"]) == count
    assert len((await alice.get("/operations")).json()["items"]) == 20
    for limit in ("-1", "1.5", "x", "1e3", "0x10", "١", "-" + "9" * 20):
        assert (await alice.get("/operations", params={"limit": limit})).status_code == 400


@BOTH
async def test_lst_04_a_cursor_carries_no_authority(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, site: Site
) -> None:
    """Even with the right key in hand, the rows of a page are the caller's own."""
    theirs = await fill(site, alice, 3)
    mine = await fill(site, bob, 1)
    await fill(site, alice, 1)
    bound = ("operations", *(repr(part) for part in ("", "bob", (), None, None, None, None)))
    forged = site.service.cursors.seal(2**128 - 1, bound)
    answer = await bob.get(f"/operations?cursor={forged}")
    assert [item["id"] for item in answer.json()["items"]] == mine
    assert not set(theirs) & {item["id"] for item in answer.json()["items"]}


@BOTH
async def test_lst_05_walking_while_others_insert(alice: httpx.AsyncClient, bob: httpx.AsyncClient, site: Site) -> None:
    made = await fill(site, alice, 9)
    url, ids = "/operations?limit=2", []
    while url:
        answer = await alice.get(url)
        ids += [item["id"] for item in answer.json()["items"]]
        await fill(site, alice, 3)
        await fill(site, bob, 1)
        link = answer.headers.get("link", "")
        url = link[1 : link.index(">")] if link else ""
    assert ids == made[::-1]


@BOTH
async def test_lst_06_filters(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    done = await site.start(alice, "echo", value=1)
    await worker.done(await worker.claim())
    running = await site.start(alice, "echo", value=1)
    await worker.claim()
    stopping = await site.start(alice, "echo", value=1)
    await worker.claim()
    await alice.post(stopping + "/cancel")
    (labelled,) = await fill(site, alice, 1, label="q3 & more")
    at = (await alice.get(running)).json()["created_at"]

    async def found(**params: Any) -> list[str]:
        answer = await alice.get("/operations", params={**params, "limit": 1})
        assert answer.status_code == 200, answer.text
        ids = await walk(alice, str(answer.request.url))
        return [f"http://site.test/operations/{id}" for id in ids]

    assert await found(status="succeeded") == [done]
    assert await found(status=["running", "canceling"]) == [stopping, running]
    assert await found(status="running,canceling") == [stopping, running]
    assert [url.rpartition("/")[2] for url in await found(label="q3 & more")] == [labelled]
    assert await found(kind="echo") == [stopping, running, done]
    assert await found(kind="echo", created_before=at) == [done]
    assert await found(created_after="2999-01-01T00:00:00+01:00") == []
    for bad in (
        "nope=1",
        "status=done",
        "status=",
        "kind=a&kind=b",
        "created_after=yesterday",
        "created_after=2026-11-21T09:00:00",
        "created_before=99999999999",
        "label=%00",
    ):
        answer = await alice.get(f"/operations?{bad}")
        assert answer.status_code == 400, bad
        assert bad.partition("=")[0] in answer.json()["detail"]


@BOTH
async def test_sec_01_a_stranger_and_a_missing_id_get_the_same(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, site: Site, worker: Hand
) -> None:
    live = await site.start(alice, "echo", value=1)
    missing = live[:-12] + "0" * 12
    ended = await site.start(alice, "echo", value=1)
    job = await worker.claim()
    if not ended.endswith(job.id):
        live, ended = ended, live
    await worker.done(job)
    async with site.client("alice@globex") as namesake:
        for url in (live, ended):
            for method, path in (
                *(("GET", ""), ("HEAD", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", ":cancel")),
                *(("GET", "/result"), ("GET", "/events")),
            ):
                for stranger in (bob, namesake):
                    theirs = await stranger.request(method, url + path, headers={"Last-Event-ID": "1"})
                    none = await stranger.request(method, missing + path, headers={"Last-Event-ID": "1"})
                    assert theirs.status_code == none.status_code == 404
                    assert theirs.content == none.content
                    assert theirs.headers == none.headers
        assert (await namesake.get("/operations")).json() == {"items": []}
    assert (await alice.get(live)).json()["status"] == "queued"
    assert (await alice.get(ended)).json()["status"] == "succeeded"


async def test_sec_01_callers_of_other_kinds(tmp_path: Path) -> None:
    class User:
        id, tenant = 7, "acme"

    for said, wanted in (("ann", ("", "ann")), (7, ("", "7")), (User(), ("acme", "7"))):
        site = Site(tmp_path, caller=lambda said=said: said)
        async with site.client() as client:
            url = await site.start(client, "echo", value=1)
            row = await site.jobs.store.read(site.jobs.store.verbs.operation(url.rpartition("/")[2]))
            assert row is not None
            assert (row.tenant, row.owner) == wanted
        site.jobs.close()
    for nonsense in (True, object(), ""):
        site = Site(tmp_path, caller=lambda said=nonsense: said)
        async with site.client() as client:
            assert (await client.get("/operations")).status_code == 500
        site.jobs.close()
