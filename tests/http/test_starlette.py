"""The same routes on Starlette alone."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from offpath import Context, Offpath
from offpath.errors import ConfigurationError
from offpath.integrations.starlette import Caller, Operations, install_problem_handlers
from tests.http.decoder import decode
from tests.http.site import checked_client, served

pytestmark = pytest.mark.anyio


class House:
    def __init__(self, folder: Path) -> None:
        self.jobs = jobs = Offpath(f"sqlite:///{folder}/jobs.db", poll=0.05)

        @jobs.task
        async def count(ctx: Context, to: int) -> int:
            for n in range(to):
                await ctx.progress(n + 1, of=to)
            return to

        async def caller(request: Request) -> Caller:
            name = request.headers.get("authorization")
            if name is None:
                raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
            if name == "broken":
                raise LookupError("a secret of the house")
            return Caller(name)

        self.operations = operations = Operations(jobs, caller=caller)

        async def start(request: Request) -> Response:
            accept = await operations.acceptor(request)
            return await accept.using(label="n")(count, to=int(request.query_params["to"]))

        def start_plain(request: Request) -> Response:
            return self.accept.sync(count, 2)

        async def start_with_plain(request: Request) -> Response:
            self.accept = await operations.acceptor(request)
            from starlette.concurrency import run_in_threadpool

            return await run_in_threadpool(start_plain, request)

        async def boom(request: Request) -> Response:
            raise LookupError("a secret of the house")

        self.app = Starlette(
            routes=[
                Mount("/v1", routes=operations.routes),
                Route("/count", start, methods=["POST", "GET"]),
                Route("/plain", start_with_plain, methods=["POST"]),
                Route("/boom", boom),
            ]
        )
        install_problem_handlers(self.app)

    def client(self, caller: str | None = "alice", **options: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return checked_client(caller, transport=transport, base_url="http://site.test", **options)


async def test_the_whole_way(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.client() as alice, house.client("bob") as bob, house.jobs.worker():
        for path, wanted in (("/count?to=3", 3), ("/plain", 2)):
            answer = await alice.post(path)
            assert answer.status_code == 202
            url = answer.headers["location"]
            assert url.startswith("http://site.test/v1/operations/")
            done = await alice.get(url, headers={"Prefer": "wait=25"})
            assert done.json()["result"] == wanted
            assert (await alice.get(url + "/result")).json() == wanted
            events = decode((await alice.get(url + "/events", headers={"Last-Event-ID": "0"})).content)
            assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
            assert (await bob.get(url)).status_code == 404
            assert (await alice.post(url + ":cancel")).json()["status"] == "succeeded"
        assert len((await alice.get("/v1/operations")).json()["items"]) == 2
        assert (await alice.delete(url)).status_code == 204
    house.jobs.close()


async def test_res_06_08_every_error_is_a_problem(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.client() as alice, house.client(None) as nobody, house.client("broken") as broken:
        for client, method, path, status in (
            (alice, "GET", "/nowhere", 404),
            (alice, "PUT", "/count", 405),
            (alice, "PUT", "/v1/operations", 405),
            (alice, "GET", "/v1/operations/x", 404),
            (alice, "GET", "/boom", 500),
            (alice, "POST", "/count?to=x", 500),
            (alice, "GET", "/count?to=1", 500),
            (nobody, "GET", "/v1/operations", 401),
            (broken, "GET", "/v1/operations", 500),
        ):
            answer = await client.request(method, path)
            assert answer.status_code == status, path
            assert "secret" not in answer.text
            if path == "/v1/operations" and status == 405:
                assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
            if status == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
        one = (await alice.put("/v1/operations/x")).headers["allow"]
        assert set(one.split(", ")) == {"GET", "HEAD", "DELETE"}
        assert (await alice.post("/count?to=1", content=b"x" * (1 << 21))).status_code == 413
    house.jobs.close()


async def test_pol_10_head_over_the_wire(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with served(house.app) as base, checked_client("alice", base_url=base) as alice:
        url = (await alice.post("/count?to=1")).headers["location"]
        get, head = await alice.get(url), await alice.head(url)
        assert head.headers["etag"] == get.headers["etag"]
        assert head.headers["content-length"] == get.headers["content-length"]
        assert (await alice.head(url + "/events")).status_code == 200
    house.jobs.close()


async def test_routes_that_are_in_no_application_are_named(tmp_path: Path) -> None:
    house = House(tmp_path)
    other = Starlette(routes=[Route("/count", house.app.routes[1].endpoint, methods=["POST"])])  # type: ignore[attr-defined]
    other.state.stranger = True  # it never asked for problems
    async with checked_client("alice", transport=httpx.ASGITransport(other), base_url="http://site.test") as alice:
        with pytest.raises(ConfigurationError, match=r"operations\.routes"):
            await alice.post("/count?to=1")
    house.jobs.close()


def test_sec_03(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/jobs.db")
    with pytest.raises(ConfigurationError, match="public=True"):
        Operations(jobs)


async def test_public(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/jobs.db")
    app = Starlette(routes=Operations(jobs, public=True).routes)
    async with checked_client(None, transport=httpx.ASGITransport(app), base_url="http://site.test") as anyone:
        assert (await anyone.get("/operations")).json() == {"items": []}
        refused = await anyone.put("/operations")  # a problem, although nobody installed handlers
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    jobs.close()


async def test_res_06_acc_11_no_redirect_to_an_unchecked_host(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.client("alice") as alice:
        url = (await alice.post("/count?to=1")).headers["location"]
        for path in ("/operations/", url + "/", url + "/no", url + "/no/such/"):
            answer = await alice.get(path, headers={"Host": "evil.example"})
            assert answer.status_code == 404, path
    house.jobs.close()


async def test_res_06_405_names_every_method_of_the_path(tmp_path: Path) -> None:
    house = House(tmp_path)
    for method in ("GET", "PUT"):
        house.app.router.routes.append(Route("/thing", house.app.routes[1].endpoint, methods=[method]))  # type: ignore[attr-defined]
    async with house.client("alice") as alice:
        assert (await alice.delete("/thing")).headers["allow"] in ("GET, HEAD, PUT", "HEAD, GET, PUT")
    house.jobs.close()
