"""wire.md 1.9: what a precondition guards, whenever and however it is written."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response

from offpath import Retry
from offpath.http.conditional import Conditions, PreconditionFailed, stored_as_sent
from offpath.integrations.fastapi import (
    Patching,
    Preconditions,
    TagPerCoding,
    install_problem_handlers,
    recheck,
    strong,
)
from offpath.integrations.sqlalchemy import immediate
from tests.http.patchable import Patchable, Thing, send
from tests.http.site import Hand, Site, checked_client

pytestmark = pytest.mark.anyio


# ── the check and the write are one step ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["sqlite", "postgres"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        made = immediate(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/app.db"))
    else:
        url: str = request.getfixturevalue("tables_url")
        made = create_async_engine("postgresql+asyncpg" + url.removeprefix("postgresql"), pool_size=12)
    async with made.begin() as connection:
        await connection.execute(text("create table thing (id integer primary key, n integer, version integer)"))
        await connection.execute(text("insert into thing values (1, 0, 1)"))
    yield made
    await made.dispose()


async def test_cnd_02_of_ten_at_once_one_wins(engine: AsyncEngine) -> None:
    api = FastAPI()
    install_problem_handlers(api)
    postgres = engine.dialect.name == "postgresql"
    lock = " for update" if postgres else ""

    @api.put("/thing")
    async def put(n: int, when: Preconditions) -> Response:
        async with engine.begin() as tx:
            version = (await tx.execute(text(f"select version from thing where id = 1{lock}"))).scalar_one()
            when.check(strong(version))
            await tx.execute(text("update thing set n = :n, version = version + 1"), {"n": n})
        return Response(None, 204)

    transport = httpx.ASGITransport(api)
    tag = {"If-Match": '"1"'}
    async with (
        checked_client(None, transport=transport, base_url="http://x") as client,
        asyncio.TaskGroup() as group,
        engine.connect() as first,
    ):
        # PostgreSQL: all ten have come as far as they can before the first may go on. SQLite has one writer anyway.
        await first.execute(text(f"select version from thing{' for update' if postgres else ''}"))
        puts = [group.create_task(client.put("/thing", params={"n": n}, headers=tag)) for n in range(1, 11)]
        if postgres:
            waiting = text("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = :name")
            while (await first.execute(waiting, {"name": engine.url.database})).scalar_one() < 10:
                await first.execute(text("select pg_stat_clear_snapshot()"))
        await first.rollback()
    answers = [put.result() for put in puts]
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [204] + [412] * 9
    async with engine.connect() as connection:
        row = (await connection.execute(text("select n, version from thing"))).one()
    assert tuple(row) == (statuses.index(204) + 1, 2)


# ── operations have tags too ─────────────────────────────────────────────────────────────────────────────────────────


async def test_cnd_02_an_operation_is_not_deleted_under_another_tag(
    alice: httpx.AsyncClient, site: Site, worker: Hand
) -> None:
    url = await site.start(alice, "echo", value=1)
    tag = (await alice.get(url)).headers["etag"]
    assert (await alice.delete(url, headers={"If-Match": '"9"'})).status_code == 409  # which it would be anyway
    await worker.done(await worker.claim(), 1)
    assert (await alice.get(url, headers={"If-Match": tag})).status_code == 412
    for stale in (tag, 'W/"3"'):
        assert (await alice.delete(url, headers={"If-Match": stale})).status_code == 412
    now = (await alice.get(url, headers={"If-Match": "*"})).headers["etag"]
    for junk in ("9", '*, "9"'):
        assert (await alice.get(url, headers={"If-None-Match": junk})).status_code == 400
    assert (await alice.delete(url, headers={"If-Match": now})).status_code == 204


# ── PUT, codings, work that is done later ────────────────────────────────────────────────────────────────────────────


def test_cnd_07_stored_as_sent() -> None:
    stored = {"id": 1, "name": "a", "n": 1, "on": True, "parts": [{"x": None}]}
    for sent in (b'{"name": "a"}', b'{"n": 1.0, "parts": [{"x": null}], "on": true}', b"{}"):
        assert stored_as_sent(sent, stored)
    for sent in (
        b'{"name": "A"}',
        b'{"on": 1}',
        b'{"n": "1"}',
        b'{"more": 1}',
        b'{"parts": [{}]}',
        b"[]",
        b"{",
        b"\xff",
    ):
        assert not stored_as_sent(sent, stored)


async def test_cnd_08_a_tag_for_each_coding() -> None:
    house = Patchable()
    house.api.add_middleware(GZipMiddleware, minimum_size=100)
    house.api.add_middleware(TagPerCoding)
    house.things["x"] = Thing({"text": "x" * 1_000})
    house.things["small"] = Thing({})
    plain, packed = {"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip"}
    async with house.client() as client:
        one = await client.get("/things/x", headers=plain)
        other = await client.get("/things/x", headers=packed)
        assert "content-encoding" not in one.headers
        assert other.headers["content-encoding"] == "gzip"
        assert (one.headers["etag"], other.headers["etag"]) == ('"1"', '"1+gzip"')
        assert one.json() == other.json()
        assert (await client.get("/things/small", headers=packed)).headers["etag"] == '"1"'
        for coding in (plain, packed):
            for known in ('"1"', '"1+gzip"', 'W/"1+gzip"', '"0", "1+gzip"', "*"):
                same = await client.get("/things/x", headers={**coding, "If-None-Match": known})
                assert same.status_code == 304
                assert same.headers["etag"] == ('"1+gzip"' if "+gzip" in known else '"1"')
            both = await client.get("/things/x", headers={**coding, "If-None-Match": '"1+gzip", "1"'})
            assert (both.status_code, both.headers["etag"]) == (304, '"1"')
            other_tag = await client.get("/things/x", headers={**coding, "If-None-Match": '"2+gzip", "1+x"'})
            assert other_tag.status_code == 200
        patch = [{"op": "add", "path": "/a", "value": 1}]
        changed = await send(client, patch, if_match='"1+gzip"', **{"accept-encoding": "gzip"})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2+gzip"')
        assert (await send(client, patch, if_match='"1+gzip"')).status_code == 412
        assert (await send(client, patch, if_match='W/"2+gzip"')).status_code == 412
        assert (await send(client, patch, if_match='"2"')).status_code == 200


def test_cnd_09_recheck() -> None:
    recheck(None, '"1"')
    recheck("*", '"1"')
    recheck('"0", "1"', '"1"')
    for if_match, tag in (('"1"', '"2"'), ('W/"1"', '"1"'), ("*", None), ('"1"', None)):
        with pytest.raises(PreconditionFailed) as failed:
            recheck(if_match, tag)
        assert failed.value.status == 412
    assert Conditions({"if-match": ['"1"', 'W/"2"']}).if_match == '"1", W/"2"'
    assert Conditions({}).if_match is None


@pytest.mark.parametrize("base", [None, "https://problems.example/"])
async def test_cnd_09_what_is_stale_when_the_work_is_done_ends_412(tmp_path: Path, base: str | None) -> None:
    """The problem's type is the one that a request would have had."""
    site = Site(tmp_path, **({"problem_base": base} if base else {}))
    version = 1

    @site.jobs.task(name="rename", retry=Retry(max_attempts=3, give_up_on=(PreconditionFailed,)))
    async def rename(if_match: str | None) -> int:
        recheck(if_match, strong(version))
        return version

    async with site.client() as alice, site.jobs.worker():
        urls = [await site.start(alice, "rename", if_match=said) for said in ('"1"', '"2"', None)]
        ends = [(await alice.get(url, headers={"Prefer": "wait=20"})).json() for url in urls]
        assert [end["status"] for end in ends] == ["succeeded", "failed", "succeeded"]
        assert ends[1]["attempt"] == 1
        error: dict[str, Any] = ends[1]["error"]
        assert error["status"] == 412
        assert error["type"] == (base or "https://offpath.dev/problems/") + "precondition-failed"
        assert (await alice.get(urls[1] + "/result")).status_code == 409
    site.jobs.close()


async def test_cnd_on_starlette_alone() -> None:
    from pydantic import BaseModel
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    from offpath.integrations import starlette as ours

    class Note(BaseModel):
        text: str

    patching = Patching(Note)
    note = Note(text="a")

    async def change(request: Request) -> Response:
        nonlocal note
        when, patch = ours.preconditions(request), await ours.patch_body(request, patching)
        when.check('"1"')
        note = patch.apply(note)
        return JSONResponse(note.model_dump(), headers={"ETag": '"2"'})

    app = Starlette(routes=[Route("/note", change, methods=["PATCH"])])
    ours.install_problem_handlers(app)
    transport = httpx.ASGITransport(app)
    async with checked_client(None, transport=transport, base_url="http://x") as client:
        content, kind = b'{"text": "b"}', {"content-type": "application/merge-patch+json"}
        assert (await client.patch("/note", content=content)).headers["accept-patch"] == patching.accept_patch
        assert (await client.patch("/note", content=content, headers=kind)).status_code == 428
        assert (await client.patch("/note", content=content, headers={**kind, "if-match": '"2"'})).status_code == 412
        assert (await client.patch("/note", content=b"{", headers={**kind, "if-match": '"1"'})).status_code == 400
        assert (await client.patch("/note", content=content, headers={**kind, "if-match": '"1"'})).json() == {
            "text": "b"
        }
