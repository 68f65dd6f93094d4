"""A flow over HTTP: one operation, with the progress of its parts, its graph, and one cancel."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends

from offpath import Context, Problem, Retry
from offpath.errors import ConfigurationError
from offpath.integrations.fastapi import Acceptor
from offpath.tasks import Failure, all_of
from tests.http.site import BOTH, Site

pytestmark = pytest.mark.anyio
WAIT = {"Prefer": "wait=30"}


class Flows:
    """Tasks and a route of their own on the site; `ways` are the flows that may be asked for."""

    def __init__(self, site: Site) -> None:
        jobs = site.jobs
        self.told: list[tuple[str, str | None, Any]] = []

        @jobs.task
        async def one(n: int) -> int:
            return n

        @jobs.task
        async def add(ctx: Context, numbers: list[int]) -> int:
            assert ctx.principal is not None
            self.told.append((ctx.principal.id, ctx.flow, numbers))
            return sum(numbers)

        @jobs.task(retry=Retry(max_attempts=1))
        async def refuse(n: int) -> int:
            raise Problem(status=422, title="Never that", detail=str(n))

        @jobs.task
        async def handle(failure: Failure) -> None:
            self.told.append((failure.task, failure.job, failure.error["title"]))

        self.ways = {
            "sum": lambda: all_of(one.call(1), one.call(2)).then(add),
            "fails": lambda: one.call(1).then(refuse).then(one).catch(handle),
            "held": lambda: one.using(queue="nobody").call(1).then(one),
        }

        @site.api.post("/flows/{which}", status_code=202)
        async def start(
            which: str, accept: Annotated[Acceptor, Depends(site.operations.acceptor)], key: str | None = None
        ) -> Any:
            return await accept.using(key=key, label=which)(self.ways[which]())

        @site.api.post("/late", status_code=202)
        async def late(accept: Annotated[Acceptor, Depends(site.operations.acceptor)]) -> Any:
            with pytest.raises(ConfigurationError, match="delay is for one job"):
                await accept.using(delay=3)(self.ways["sum"]())
            with pytest.raises(ConfigurationError, match="complete"):
                await accept(self.ways["sum"](), 3)  # type: ignore[call-overload]
            return await accept(self.ways["sum"]())


@pytest.fixture
def flows(site: Site) -> Flows:
    return Flows(site)


@BOTH
async def test_a_flow_is_one_operation(
    site: Site, flows: Flows, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    accepted = await alice.post("/flows/sum")
    assert accepted.status_code == 202
    url = accepted.headers["location"]
    assert (await alice.get(url)).json() == accepted.json()
    assert accepted.json()["kind"].endswith("one")
    async with site.jobs.worker():
        done = (await alice.get(url, headers=WAIT)).json()
    assert (done["status"], done["result"]) == ("succeeded", 3)
    assert {name: done["progress"][name] for name in ("current", "total", "unit", "percent")} == {
        "current": 3, "total": 3, "unit": "jobs", "percent": 100,
    }  # fmt: skip
    assert flows.told == [("alice", done["id"], [1, 2])]
    assert (await alice.get(url + "/result")).json() == 3
    graph = (await alice.get(url + "/graph")).json()
    assert sorted((part["kind"].rpartition(".")[2], part["status"]) for part in graph["parts"]) == [
        ("add", "succeeded"), ("one", "succeeded"), ("one", "succeeded"),
    ]  # fmt: skip
    ends = [edge for edge in graph["edges"] if edge["child"] == done["id"]]
    assert [(edge["policy"], edge["race"]) for edge in ends] == [("cancel", False)]
    assert len(graph["edges"]) == 3
    for path in ("", "/graph"):
        assert (await bob.get(url + path)).status_code == 404
    assert len((await alice.get("/operations")).json()["items"]) == 1, "its parts are no operations"


@BOTH
async def test_it_fails_as_its_link_did_and_the_handler_is_told(
    site: Site, flows: Flows, alice: httpx.AsyncClient
) -> None:
    url = (await alice.post("/flows/fails")).headers["location"]
    async with site.jobs.worker():
        done = (await alice.get(url, headers=WAIT)).json()
    assert done["status"] == "failed"
    assert {name: done["error"][name] for name in ("status", "title", "detail")} == {
        "status": 422, "title": "Never that", "detail": "1",
    }  # fmt: skip
    [(task, job, title)] = flows.told
    graph = (await alice.get(url + "/graph")).json()
    assert {part["id"]: part["status"] for part in graph["parts"]}[job or ""] == "failed"
    assert (task.rpartition(".")[2], title) == ("refuse", "Never that")
    assert sorted(part["status"] for part in graph["parts"]) == ["canceled", "failed", "succeeded", "succeeded"]


@BOTH
async def test_cancel_and_key_are_the_flows(site: Site, flows: Flows, alice: httpx.AsyncClient) -> None:
    first = await alice.post("/flows/held", params={"key": "k"})
    again = await alice.post("/flows/held", params={"key": "k"})
    url = first.headers["location"]
    assert (again.status_code, again.headers["location"]) == (202, url)
    waiting = (await alice.get(url + "/graph")).json()
    assert sorted(part["status"] for part in waiting["parts"]) == ["queued", "waiting"]
    answer = await alice.post(url + "/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    over = (await alice.get(url + "/graph")).json()
    assert [part["status"] for part in over["parts"]] == ["canceled", "canceled"]
    assert (await alice.post("/flows/held", params={"key": "k"})).headers["location"] != url
    assert (await alice.delete(url)).status_code == 204
    assert (await alice.get(url + "/graph")).status_code in (404, 410)


async def test_what_is_for_one_job_is_refused(site: Site, flows: Flows, alice: httpx.AsyncClient) -> None:
    answer = await alice.post("/late")
    assert answer.status_code == 202
    key = {"Idempotency-Key": '"k1"'}
    one, two = [await alice.post("/flows/sum", headers=key) for _ in range(2)]
    assert (one.status_code, one.content) == (two.status_code, two.content)


async def test_the_graph_of_one_job_is_itself(site: Site, alice: httpx.AsyncClient) -> None:
    url = await site.start(alice, "echo", value=1)
    graph = (await alice.get(url + "/graph")).json()
    assert (graph["parts"], graph["edges"]) == ([{"id": graph["id"], "kind": "echo", "status": "queued"}], [])
