"""Who is kept out, and what is refused: every route, every permission, and what a hostile client sends."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette

from offpath import Offpath
from offpath.admin import Admin
from offpath.admin.routes import PARTS
from offpath.errors import ConfigurationError
from offpath.http.messages import Caller
from offpath.integrations.fastapi import Operations
from offpath.integrations.starlette import Operations as StarletteOperations
from tests.admin.place import MAY
from tests.http.site import Site, checked_client

pytestmark = pytest.mark.anyio

ROWS = [row for part in PARTS for row in part]
NAMES = [row.name for row in ROWS]
ID = "01a21f92-a71e-703b-bfb1-7c4fd924b052"


def path_of(row: Any) -> str:
    return "/admin" + str(row.path).replace("{job_id}", ID).replace("{endpoint_id}", ID).replace("{name}", "x")


def method_of(row: Any) -> str:
    return str(row.methods.split()[0])


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
async def test_every_route_asks_who_and_whether_they_may(site: Site, row: Any) -> None:
    """401 for nobody, 403 for whoever lacks the permission, and then as far as the route itself."""
    needed = {"admin.write": "offpath.write"}.get(row.action or "", "offpath.read")
    if row.action is None and method_of(row) != "GET":
        needed = "offpath.write"
    for who, granted in ((None, None), ("alice", None), *MAY.items()):
        async with site.client(who) as client:
            answer = await client.request(method_of(row), path_of(row))
        if who is None:
            assert answer.status_code == 401
        elif granted is None or needed not in granted:
            assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "forbidden")
        else:
            assert answer.status_code not in (401, 403), answer.text


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
async def test_a_browser_s_cookies_from_a_foreign_page(site: Site, row: Any) -> None:
    """CSRF: nothing is changed, and no stream opened, for a page of somebody else's."""
    foreign = {"cookie": "who=root", "sec-fetch-site": "cross-site"}
    async with site.client(None) as client:
        answer = await client.request(method_of(row), path_of(row), headers=foreign)
        guarded = method_of(row) != "GET" or row.path.endswith("/events")
        assert (answer.status_code == 403) == guarded, answer.text
        own = {**foreign, "sec-fetch-site": "same-origin"}
        assert (await client.request(method_of(row), path_of(row), headers=own)).status_code != 403


@pytest.mark.parametrize("row", [row for row in ROWS if method_of(row) == "GET"], ids=lambda row: row.name)
async def test_no_get_changes_anything(site: Site, row: Any) -> None:
    """But for the line in the audit log of who has looked at arguments."""
    job = await site.echo.enqueue(1)
    async with site.client("root") as client:
        path = path_of(row).replace(ID, job.id)
        await client.get(path)
        await client.head(path)
        assert (await client.get("/admin/audit")).json()["items"] == []
        assert (await job.info()).state == "ready"


@pytest.mark.parametrize("row", [row for row in ROWS if "{job_id}" in row.path], ids=lambda row: row.name)
async def test_what_is_not_there_is_404(site: Site, row: Any) -> None:
    async with site.client("root") as client:
        for id in (ID, "x", "%00", "..%2f..", ID.upper(), "9" * 400):
            answer = await client.request(method_of(row), path_of(row).replace(ID, id))
            assert answer.status_code == 404, answer.text


BAD = [
    "state=nope", "state=", "state=ready,nope", "limit=-1", "limit=ten", "limit=1.5", "cursor=x", "other=1",
    "queue=a&queue=b", "queue=", f"queue={'q' * 300}", f"queue={quote(chr(0))}", f"task={quote(chr(10))}",
    f"owner={quote(chr(0x7f))}", "older_than=-1", "older_than=soon", "older_than=1e9", "older_than=inf",
    "outstanding=1", "outstanding=", "key_prefix=", f"error={quote(chr(0))}", "state=ready&state=%00", "State=ready",
]  # fmt: skip


@pytest.mark.parametrize("query", BAD)
async def test_bad_filters_are_400(reader: httpx.AsyncClient, query: str) -> None:
    answer = await reader.get(f"/admin/jobs?{query}")
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("query", ["queue=.*", "task=%25", "key_prefix=^a|b$", "owner=' or 1=1 --", "error=[a-z"])
async def test_a_filter_is_a_text_and_no_pattern(site: Site, reader: httpx.AsyncClient, query: str) -> None:
    await site.echo.using(key="ab", owner="carol").enqueue(1)
    assert (await reader.get(f"/admin/jobs?{query}")).json() == {"items": []}


async def test_a_page_has_a_hundred_at_most(site: Site, reader: httpx.AsyncClient) -> None:
    """As everywhere: more is asked for in vain, and not an error."""
    await site.jobs.enqueue_many([site.echo.call(n) for n in range(120)])
    assert len((await reader.get("/admin/jobs?limit=1000000000")).json()["items"]) == 100
    assert len((await reader.get("/admin/jobs?limit=0")).json()["items"]) == 20


async def test_a_cursor_is_for_the_list_it_came_from(site: Site, reader: httpx.AsyncClient) -> None:
    await site.jobs.enqueue_many([site.echo.call(n) for n in range(3)])
    cursor = (await reader.get("/admin/jobs?limit=1")).json()["next_cursor"]
    assert (await reader.get(f"/admin/jobs?limit=2&cursor={cursor}")).status_code == 200
    for other in (f"/admin/jobs?queue=default&cursor={cursor}", f"/admin/audit?cursor={cursor}"):
        assert (await reader.get(other)).status_code == 400


@pytest.mark.parametrize("query", ["action=nope", "action=", "actor=%00", "target=", "other=1", "limit=x"])
async def test_bad_filters_of_the_log_are_400(reader: httpx.AsyncClient, query: str) -> None:
    assert (await reader.get(f"/admin/audit?{query}")).status_code == 400


async def test_a_token_in_the_url_is_refused(site: Site) -> None:
    async with site.client("root") as client:
        assert (await client.get("/admin/jobs?access_token=x")).status_code == 400


async def test_public_gives_nobody_anything(site: Site, tmp_path: Any) -> None:
    """The permissions are there though nobody has said so, and everyone is nobody."""
    for make in (Operations, StarletteOperations):
        jobs = Offpath(f"sqlite:///{tmp_path}/{make.__module__}.db")
        jobs.migrate()
        operations = make(jobs, public=True, admin=Admin())
        if isinstance(operations, StarletteOperations):
            app: Any = Starlette(routes=operations.routes)
        else:
            from fastapi import FastAPI

            app = FastAPI()
            app.include_router(operations.router)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with checked_client(None, transport=transport, base_url="http://site.test") as client:
            assert (await client.get("/admin/jobs")).status_code == 403
            assert (await client.post("/admin/jobs:bulk", json={})).status_code == 403
        jobs.close()


async def test_other_words_for_the_permissions(tmp_path: Any) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/jobs.db")
    jobs.migrate()
    said = {"ops": Caller("ops", "", frozenset({"look"})), "old": Caller("old", "", frozenset({"offpath.read"}))}
    operations = StarletteOperations(
        jobs,
        caller=lambda request: said.get(request.headers.get("authorization", "")),
        permissions={"admin.read": "look"},
        admin=Admin(path="/ops/jobs-api"),
    )
    transport = httpx.ASGITransport(Starlette(routes=operations.routes), raise_app_exceptions=False)
    async with checked_client(None, transport=transport, base_url="http://site.test") as client:
        answer = await client.get("/ops/jobs-api/jobs", headers={"authorization": "ops"})
        assert answer.json() == {"items": []}
        assert (await client.get("/ops/jobs-api/jobs", headers={"authorization": "old"})).status_code == 403
        slashed = await client.get("/ops/jobs-api/jobs/", headers={"authorization": "ops"}, follow_redirects=False)
        assert slashed.status_code == 404
    jobs.close()


@pytest.mark.parametrize("path", ["admin", "/admin/", "", "/a b", "/{x}", "//x"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ConfigurationError, match="path is like /admin"):
        Admin(path=path)


@pytest.mark.parametrize("url", ["https://traces.test/", "/{trace_id}", "javascript:{trace_id}"])
def test_a_trace_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="trace_url"):
        Admin(trace_url=url)
