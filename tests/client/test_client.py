"""Both clients against the real routes on a real server, with a real worker."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from offpath.client import (
    OperationCanceled,
    OperationFailed,
    Progress,
    RequestRefused,
    UnexpectedAnswer,
)
from offpath.errors import ResultTimeout
from tests.client.both import Either, either
from tests.http.site import Site, eventually, served

pytestmark = pytest.mark.anyio


class Report(BaseModel):
    url: str


@pytest.fixture
def site(tmp_path: Path) -> Any:
    made = Site(tmp_path)
    yield made
    made.jobs.close()


@pytest.fixture(params=["sync", "async"])
async def client(site: Site, request: pytest.FixtureRequest) -> AsyncIterator[Either]:
    async with served(site.api) as url, site.jobs.worker(), either(request.param, url) as made:
        yield made


async def test_opr_14_start_follow_and_a_typed_result(client: Either) -> None:
    report = await client.start("POST", "/reports", json={"period": "may", "label": "q2"}, result=Report)
    assert report.it.status == "queued"
    assert report.it.document["metadata"] == {"label": "q2"}
    events = await report.events()
    assert events[0].type in ("operation.snapshot", "operation.succeeded")
    assert events[-1].type == "operation.succeeded"
    assert [int(event.id) for event in events] == sorted({int(event.id) for event in events})
    assert report.it.done
    assert report.it.progress == Progress(100, 3, 3, "pages", "page 3")
    assert await report.do("result", timeout=60) == Report(url="/files/may")
    again = client.operation(report.it.id, result=Report)
    assert await again.do("result") == Report(url="/files/may")
    assert (await client.operation(report.it.url).do("refresh")).status == "succeeded"


async def test_pol_04_a_result_is_waited_for(client: Either, site: Site) -> None:
    started = await client.start("POST", "/start/gated", json={})
    with pytest.raises(ResultTimeout):
        await started.do("result", timeout=0.05)
    site.gate.set()
    assert await started.do("result", timeout=60) == "through"


async def test_can_01_cancel_says_why(client: Either, site: Site) -> None:
    started = await client.start("POST", "/start/gated", json={})
    await asyncio.wait_for(site.began.wait(), 60)
    await started.do("cancel", reason="changed my mind")
    with pytest.raises(OperationCanceled, match="changed my mind") as caught:
        await started.do("result", timeout=60)
    assert caught.value.problem["type"].endswith("/canceled")
    await started.do("cancel")
    assert started.it.status == "canceled"


async def test_res_05_a_failure_carries_its_problem(client: Either) -> None:
    started = await client.start("POST", "/start/refuses", json={})
    with pytest.raises(OperationFailed, match="No such period: 2026-13") as caught:
        await started.do("result", timeout=60)
    assert caught.value.problem["status"] == 422


async def test_res_02_results_of_other_kinds(client: Either) -> None:
    csv = await client.start("POST", "/start/export", json={}, result=bytes)
    assert await csv.do("result", timeout=60) == b"\x00\xffa;b\r\n"
    wrong = client.operation(csv.it.id, result=dict[str, Any])
    with pytest.raises(UnexpectedAnswer, match="bytes"):
        await wrong.do("result")
    nothing = await client.start("POST", "/start/export", json={"status": 204}, result=type(None))
    assert await nothing.do("result", timeout=60) is None
    silent = await client.start("POST", "/start/silent", json={})
    assert await silent.do("result", timeout=60) is None


async def test_opr_13_delete_erases(client: Either) -> None:
    started = await client.start("POST", "/start/echo", json={"value": [1]}, result=list[str])
    with pytest.raises(UnexpectedAnswer, match="does not fit"):
        await started.do("result", timeout=60)
    assert await client.operation(started.it.id, result=list).do("result") == [1]
    await started.do("delete")
    await started.do("delete")  # it is as it was wanted
    with pytest.raises(RequestRefused, match="404"):
        await client.operation(started.it.id).do("refresh")
    for question in ("result", "cancel", "delete"):
        with pytest.raises(RequestRefused, match="404"):
            await client.operation(started.it.id).do(question)
    with pytest.raises(RequestRefused, match="404"):
        await client.operation(started.it.id).events()


async def test_lst_01_every_page_is_walked(client: Either) -> None:
    ids = {(await client.start("POST", "/start/echo", json={"value": n})).it.id for n in range(5)}
    assert {one.id for one in await client.operations(limit=2, kind="echo")} == ids
    assert await client.operations(kind="no such") == []
    with pytest.raises(RequestRefused, match="400"):
        await client.operations(status="odd")


async def test_acc_08_a_bad_start_is_refused_at_once(client: Either) -> None:
    with pytest.raises(RequestRefused, match="422") as caught:
        await client.start("POST", "/reports", json={})
    assert caught.value.problem["errors"][0]["pointer"] == "#/period"


async def test_sse_14_who_stops_listening_frees_the_stream(client: Either, site: Site) -> None:
    started = await client.start("POST", "/start/gated", json={})
    await started.events(until="operation.snapshot")
    await eventually(lambda: site.service.watcher.open == 0)
    site.gate.set()


async def test_sse_11_overload_means_polling(client: Either, site: Site) -> None:
    site.service.streams = 0
    started = await client.start("POST", "/start/echo", json={"value": 1})
    events = await started.events()
    assert events[-1].data["result"] == 1
    assert {event.id for event in events} == {""}
