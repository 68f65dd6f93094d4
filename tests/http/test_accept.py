"""wire.md 1.1: accepting. (What happens when processes die is in test_processes.py.)"""

import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from offpath import Offpath
from offpath.errors import ConfigurationError
from offpath.integrations.fastapi import Accepted, Acceptor, Operations, install_problem_handlers
from offpath.testing import run_inline
from tests.http.site import BOTH, Hand, Site, beside, checked_client

pytestmark = pytest.mark.anyio


async def test_acc_01_02_03_04_05_the_202(alice: httpx.AsyncClient, site: Site) -> None:
    answer = await alice.post("/reports", json={"period": "q3", "label": "mine"})
    assert answer.status_code == 202
    body = answer.json()
    url = f"http://site.test/operations/{body['id']}"
    assert answer.headers["location"] == answer.headers["content-location"] == url
    assert answer.headers["operation-location"] == url
    assert answer.headers["retry-after"].isdigit()
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["etag"] == '"1"'
    assert (body["status"], body["kind"], body["metadata"]) == ("queued", "reports.render", {"label": "mine"})
    assert body["links"] == {"self": url} | {name: f"{url}/{name}" for name in ("result", "events", "cancel")}
    poll = await alice.get(url)
    assert poll.content == answer.content, "the 202 is the representation that the first poll shows"
    assert poll.headers["etag"] == answer.headers["etag"]


async def test_acc_04_without_azure(tmp_path: Path) -> None:
    site = Site(tmp_path, compat=None)
    async with site.client() as alice:
        answer = await alice.post("/reports", json={"period": "q3"})
        assert "operation-location" not in answer.headers
        assert "location" in answer.headers
    site.jobs.close()


@BOTH
async def test_acc_07_mistake_03_operation_and_job_appear_together(
    alice: httpx.AsyncClient, site: Site, worker: Hand
) -> None:
    """Seen from another connection, before and after each commit: all of it or nothing."""
    await alice.post("/reports", json={"period": "q3"})
    tables = ("offpath_job", "offpath_operation", "offpath_event")

    def counts() -> list[int]:
        with beside(site) as other:
            return [other.execute(f"select count(*) from {table}").fetchone()[0] for table in tables]

    assert counts() == [1, 1, 1]
    engine = create_engine(site.url.replace("://", "+psycopg://") if site.url else f"sqlite:///{site.path}")
    with Session(engine) as session:
        _accept_on(site, session)
        assert counts() == [1, 1, 1]
        session.rollback()
        assert counts() == [1, 1, 1]
        _accept_on(site, session)
        session.commit()
        assert counts() == [2, 2, 2]
    engine.dispose()


def _accept_on(site: Site, session: Any) -> None:
    from offpath.core.options import CallOptions
    from offpath.http.accept import Start, accept_sync
    from offpath.integrations.fastapi import Caller

    start = Start(Caller("alice"), "http://site.test/operations", CallOptions(owner="alice"), "", session)
    accept_sync(site.service, site.echo, site.echo.bind(value=1), start)


@pytest.mark.parametrize(
    ("args", "pointer"),
    [({"n": "many"}, "#/n"), ({}, "#/n"), ({"n": 1, "extra": 2}, "#/extra"), ({"n": float(10**30)}, "#/n")],
)
async def test_acc_08_bad_input_is_422_at_once(alice: httpx.AsyncClient, args: dict[str, Any], pointer: str) -> None:
    answer = await alice.post("/start/plain", json=args)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await alice.get("/operations")).json()["items"] == []


async def test_acc_09_no_database_is_503_and_leaves_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path / "later")
    async with site.client() as alice:
        answer = await alice.post("/reports", json={"period": "q3"})
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert (await alice.get("/operations")).status_code == 503
        (tmp_path / "later").mkdir()
        assert (await alice.get("/operations")).json()["items"] == []
        assert (await alice.post("/reports", json={"period": "q3"})).status_code == 202
    site.jobs.close()


async def test_acc_10_always_202(alice: httpx.AsyncClient, site: Site) -> None:
    async with site.jobs.worker():
        for _ in range(5):
            answer = await alice.post("/start/echo", json={"value": 1})
            assert answer.status_code == 202
            assert answer.json()["done"] is False


async def test_acc_11_links_never_come_from_an_unchecked_host(tmp_path: Path) -> None:
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    for options, sent, wanted in (
        ({}, evil, "http://site.test/operations/"),
        ({"base_url": "https://api.example.com/v1/"}, evil, "https://api.example.com/v1/operations/"),
        ({"trusted_hosts": ["api.example.com"]}, evil, "http://site.test/operations/"),
        ({"trusted_hosts": ["api.example.com"]}, {"Host": "API.example.com"}, "http://api.example.com/operations/"),
        (
            {"trusted_hosts": ["api.example.com"]},
            {"Host": "api.example.com:8080"},
            "http://api.example.com:8080/operations/",
        ),
        (
            {"trusted_hosts": ["api.example.com"]},
            {"Host": "api.example.com:80@evil.example"},
            "http://site.test/operations/",
        ),
    ):
        site = Site(tmp_path, **options)
        async with site.client() as alice:
            answer = await alice.post("/reports", json={"period": "q3"}, headers=sent)
            assert answer.headers["location"].startswith(wanted)
            assert answer.json()["links"]["self"].startswith(wanted)
            page = await alice.get("/operations?limit=1", headers=sent)
            assert page.json()["items"][0]["links"]["self"].startswith(wanted)
        site.jobs.close()


async def test_acc_11_prefix_and_mount(site: Site) -> None:
    """The router may sit under a prefix, the application under another one, the server behind a third."""
    inner = FastAPI()
    operations = Operations(site.jobs, public=True)
    inner.include_router(operations.router, prefix="/v2")

    @inner.post("/start", status_code=202)
    async def start(accept: Annotated[Acceptor, Depends(operations.acceptor)]) -> Accepted[Any]:
        return await accept(site.echo, 1)

    outer = FastAPI()
    outer.mount("/inner", inner)
    transport = httpx.ASGITransport(outer, root_path="/api")
    async with checked_client(None, transport=transport, base_url="http://site.test") as client:
        answer = await client.post("/api/inner/start")
        location = answer.headers["location"]
        assert location.startswith("http://site.test/api/inner/v2/operations/")
        same = await client.get(location)
        assert same.json()["links"]["self"] == location


async def test_acc_12_get_starts_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    @site.api.get("/oops")
    async def oops(accept: Annotated[Acceptor, Depends(site.operations.acceptor)]) -> Accepted[Any]:
        return await accept(site.echo, 1)

    async with site.client() as alice:
        assert (await alice.get("/oops")).status_code == 500
        assert (await alice.get("/operations")).json()["items"] == []
    assert "a GET request must not start an operation" in caplog.text


async def test_one_at_a_time_by_key(site: Site) -> None:
    """Whoever holds the key gets their own operation again; to others it is a conflict that names nothing of theirs."""

    @site.api.post("/only-one", status_code=202)
    async def only_one(accept: Annotated[Acceptor, Depends(site.operations.acceptor)]) -> Accepted[Any]:
        return await accept.using(key="the one")(site.echo, 1)

    async with site.client("alice") as alice, site.client("bob") as bob:
        first = await alice.post("/only-one")
        again = await alice.post("/only-one")
        assert again.status_code == 202
        assert again.headers["location"] == first.headers["location"]
        assert again.json() == first.json()
        refused = await bob.post("/only-one")
        assert refused.status_code == 409
        assert int(refused.headers["retry-after"]) >= 1
        assert first.json()["id"] not in refused.text


async def test_accept_under_run_inline(tmp_path: Path) -> None:
    """A user's test of an endpoint: the work is done when the 202 is there."""
    site = Site(tmp_path)
    async with site.client() as alice:
        with run_inline(site.jobs) as inline:
            answer = await alice.post("/reports", json={"period": "q3"})
            plain = await alice.post("/plain?n=1")
        assert (answer.status_code, plain.status_code) == (202, 202)
        assert [found.finished.id for found in inline.all_found() if found.finished] == [
            answer.json()["id"],
            plain.json()["id"],
        ]
        assert not site.path.exists()
    site.jobs.close()


async def test_accept_in_a_plain_function(alice: httpx.AsyncClient, site: Site) -> None:
    answer = await alice.post("/plain?n=41")
    assert answer.status_code == 202
    async with site.jobs.worker():
        done = await alice.get(answer.headers["location"], headers={"Prefer": "wait=25"})
    assert done.json()["result"] == 42


async def test_what_awaits_in_a_plain_function_says_what_does_not(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    @site.api.post("/no-await", status_code=202)
    def no_await(accept: Annotated[Acceptor, Depends(site.operations.acceptor)]) -> Accepted[int]:
        return accept(site.plain, n=1)  # type: ignore[return-value]

    async with site.client() as alice:
        assert (await alice.post("/no-await")).status_code == 500
        assert (await alice.get("/operations")).json()["items"] == []
    assert "in a `def` endpoint write accept.sync(…)" in caplog.text


# ── a 202 never precedes its commit ──────────────────────────────────────────────────────────────────────────────────


def _app(site: Site, **handlers: Any) -> FastAPI:
    api = FastAPI()
    api.include_router(site.operations.router)
    install_problem_handlers(api)
    for name, handler in handlers.items():
        api.add_api_route(f"/{name}", handler, methods=["POST"], status_code=202)
    return api


async def test_a_202_waits_for_the_commit_of_an_async_session(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{site.path}")
    await site.jobs.migrate()
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]

    async def late_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session, session.begin():
            yield session  # committed by FastAPI after the response

    async def own_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session:
            yield session

    async def late(accept: accepts, session: Annotated[AsyncSession, Depends(late_session)]) -> Accepted[Any]:
        return await accept.using(tx=session)(site.echo, "late")

    async def good(accept: accepts, session: Annotated[AsyncSession, Depends(own_session)]) -> Accepted[Any]:
        async with session.begin():
            return await accept.using(tx=session)(site.echo, "good")

    async def busy(accept: accepts, session: Annotated[AsyncSession, Depends(own_session)]) -> Accepted[Any]:
        async with session.begin():
            accepted = await accept.using(tx=session)(site.echo, "busy")
        await session.execute(text("select 1"))  # another transaction: no business of the 202
        return accepted

    api = _app(site, late=late, good=good, busy=busy)
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with checked_client("alice", transport=transport, base_url="http://site.test") as alice:
        with caplog.at_level(logging.ERROR, "offpath"):
            answer = await alice.post("/late")
        assert answer.status_code == 500
        assert answer.json()["type"].endswith("/uncommitted")
        assert "location" not in answer.headers
        assert "commit before the handler returns" in caplog.text
        assert (await alice.get("/operations")).json()["items"] == [], "the failure rolled it back"
        for path in ("/good", "/busy"):
            answer = await alice.post(path)
            assert answer.status_code == 202, answer.text
            assert (await alice.get(answer.headers["location"])).status_code == 200
    await engine.dispose()


async def test_a_202_waits_for_the_commit_in_plain_functions(site: Site) -> None:
    await site.jobs.migrate()
    engine = create_engine(f"sqlite:///{site.path}")
    forgotten: list[Any] = []
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]

    def late(accept: accepts) -> Accepted[Any]:
        session = Session(engine)
        forgotten.append(session)
        return accept.using(tx=session).sync(site.echo, "late")

    def good(accept: accepts) -> Accepted[Any]:
        with Session(engine) as session, session.begin():
            return accept.using(tx=session).sync(site.echo, "good")

    def raw_late(accept: accepts) -> Accepted[Any]:
        db = sqlite3.connect(site.path, check_same_thread=False)
        forgotten.append(db)
        return accept.using(tx=db).sync(site.echo, "late")

    def raw_good(accept: accepts) -> Accepted[Any]:
        with sqlite3.connect(site.path) as db:
            return accept.using(tx=db).sync(site.echo, "good")

    api = _app(site, late=late, good=good, raw_late=raw_late, raw_good=raw_good)
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with checked_client("alice", transport=transport, base_url="http://site.test") as alice:
        for path, status in (("/good", 202), ("/raw_good", 202), ("/late", 500), ("/raw_late", 500)):
            assert (await alice.post(path)).status_code == status, path
            for one in forgotten:
                one.rollback()
        assert len((await alice.get("/operations")).json()["items"]) == 2
    engine.dispose()


async def test_our_errors_are_problems_even_without_the_installer(site: Site) -> None:
    api = FastAPI()
    api.include_router(site.operations.router)

    @api.post("/start", status_code=202)
    async def start(accept: Annotated[Acceptor, Depends(site.operations.acceptor)]) -> Accepted[int]:
        return await accept(site.plain, n="many")  # type: ignore[arg-type]

    async with checked_client("alice", transport=httpx.ASGITransport(api), base_url="http://site.test") as alice:
        assert (await alice.post("/start")).status_code == 422


async def test_the_first_start_of_all_is_refused_as_a_problem_even_without_the_installer(site: Site) -> None:
    api = FastAPI()
    api.include_router(site.operations.router)

    @api.post("/start", status_code=202)
    async def start(accept: Annotated[Acceptor, Depends(site.operations.acceptor)]) -> Accepted[int]:
        return await accept(site.plain, n=1)

    async with checked_client(None, transport=httpx.ASGITransport(api), base_url="http://site.test") as nobody:
        assert (await nobody.post("/start")).status_code == 401


@pytest.mark.parametrize("installed", [True, False])
async def test_a_method_that_no_path_of_ours_has_is_a_problem_even_without_the_installer(
    site: Site, installed: bool
) -> None:
    api = FastAPI()
    api.include_router(site.operations.router)
    api.post("/operations", status_code=204)(lambda: None)  # the application's own, on a path of ours
    if installed:
        install_problem_handlers(api)
    async with checked_client("alice", transport=httpx.ASGITransport(api), base_url="http://site.test") as alice:
        refused = await alice.put("/operations")
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD, POST"
        assert (await alice.post("/operations/1/cancel/")).status_code == 404
        refused = await alice.put("/operations/1/events?ticket=x")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_sec_03_nobody_to_ask_is_an_error_at_start(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="public=True"):
        Operations(site.jobs)
    with pytest.raises(ConfigurationError, match="not both"):
        Operations(site.jobs, caller=lambda: None, public=True)


@pytest.mark.parametrize(
    "url", ["/api", "api.example.com", "https://", "https://x/?a=1", "https://ü.example", "http://x y"]
)
def test_acc_11_a_base_url_must_be_one(site: Site, url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        Operations(site.jobs, public=True, base_url=url)


def test_nothing_is_opened_before_the_first_use(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/jobs.db")
    Operations(jobs, public=True)
    jobs.use_database(f"sqlite:///{tmp_path}/other.db")
    assert list(tmp_path.iterdir()) == []


async def test_acc_03_added_members_make_it_another_body(site: Site) -> None:
    @site.api.post("/added", status_code=202)
    async def added(accept: Annotated[Acceptor, Depends(site.operations.acceptor)], n: int) -> Accepted[Any]:
        accepted = await accept(site.echo, 1)
        return accepted.adding(jobId=accepted.id) if n else accepted.adding()

    async with site.client() as alice:
        answer = await alice.post("/added?n=1")
        assert answer.json()["jobId"] == answer.json()["id"]
        assert not {"etag", "content-location"} & set(answer.headers)
        assert answer.headers["location"]
        answer = await alice.post("/added?n=0")
        assert {"etag", "content-location"} <= set(answer.headers)


@pytest.mark.parametrize("word", ["x" * 256, "a\nb", "\x00"])
async def test_acc_08_a_key_or_label_that_cannot_be_one(site: Site, word: str) -> None:
    """Such texts come from the client."""

    @site.api.post("/named", status_code=202)
    async def named(
        accept: Annotated[Acceptor, Depends(site.operations.acceptor)], key: str | None = None, label: str = ""
    ) -> Accepted[Any]:
        return await accept.using(key=key, label=label)(site.echo, 1)

    async with site.client() as alice:
        for name in ("key", "label"):
            answer = await alice.post("/named", params={name: word})
            assert answer.status_code == 422
            (error,) = answer.json()["errors"]
            assert error["pointer"] == f"#/{name}"
        assert (await alice.post("/named", params={"key": ""})).status_code == 422
        assert (await alice.post("/named", params={"label": ""})).status_code == 202
