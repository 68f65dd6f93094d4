"""Jobs as the admin API shows them: lists, one job, its flow, its events; values only to those who may see them."""

import asyncio
import json
from datetime import timedelta

import httpx
import pytest

from offpath import Schedule
from offpath.core.outcome import Done
from tests.http.site import BOTH, Hand, Site

pytestmark = pytest.mark.anyio
CANARY = "s3cret-value"


@BOTH
async def test_all_jobs_whoever_they_belong_to_newest_first(site: Site, reader: httpx.AsyncClient) -> None:
    async with site.client("alice") as alice, site.client("bob@globex") as bob:
        hers = (await site.start(alice, "echo", value=1)).rpartition("/")[2]
        his = (await site.start(bob, "echo", value=2)).rpartition("/")[2]
    mine = await site.echo.using(key="k", queue="low", priority=7, owner="carol").enqueue(3)
    items = (await reader.get("/admin/jobs")).json()["items"]
    assert [one["id"] for one in items] == [mine.id, his, hers]
    assert [(one["owner"], one["tenant"], one["watched"]) for one in items] == [
        ("carol", "", False),
        ("bob", "globex", True),
        ("alice", "", True),
    ]
    first = items[0]
    assert (first["state"], first["queue"], first["priority"], first["key"], first["attempt"]) == (
        "ready",
        "low",
        7,
        "k",
        1,
    )
    assert first["created_at"] <= first["run_at"].replace("Z", "~")
    assert "arguments" not in first


@BOTH
async def test_every_filter_means_what_it_says(site: Site, reader: httpx.AsyncClient, worker: Hand) -> None:
    failed = await site.echo.enqueue(CANARY)
    await worker.fail(await worker.claim(), exception="shop.CardDeclined")
    stopped = await site.plain.enqueue(1)
    await stopped.cancel()
    later = await site.echo.using(delay=timedelta(hours=1), queue="low", key="order:1", owner="carol").enqueue(1)
    ready = await site.echo.using(key="order:2").enqueue(2)

    async def found(query: str) -> list[str]:
        answer = await reader.get(f"/admin/jobs?{query}")
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    assert await found("") == [ready.id, later.id, stopped.id, failed.id]
    assert await found("state=ready") == [ready.id]
    assert await found("state=scheduled,failed") == [later.id, failed.id]
    assert await found("state=scheduled&state=failed") == [later.id, failed.id]
    assert await found("queue=low") == [later.id]
    assert await found("task=plain") == [stopped.id]
    assert await found("owner=carol") == [later.id]
    assert await found("key_prefix=order:") == [ready.id, later.id]
    assert await found("error=raised") == [failed.id]
    assert await found("error=shop.CardDeclined") == [failed.id]
    assert await found("error=canceled") == [stopped.id]
    assert await found("error=timeout") == []
    assert await found("outstanding=true") == [stopped.id, failed.id]
    assert await found("older_than=3600") == []
    assert await found("older_than=0") == [ready.id, later.id, stopped.id, failed.id]
    assert await found("queue=low&state=ready") == []
    await (await site.jobs.get(failed.id)).info()
    again = await site.jobs.retry(failed.id)
    assert await found("outstanding=true") == [stopped.id]
    assert (await reader.get(f"/admin/jobs/{failed.id}")).json()["retried_as"] == again.id


async def test_what_is_rare_is_looked_for_in_parts(
    site: Site, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends when its time is up; the next goes on from there, and nothing is left out."""
    monkeypatch.setattr("offpath.admin.jobs.STRIDE", 7)
    monkeypatch.setattr("offpath.admin.jobs.BUDGET", 0.0)
    rare = await site.plain.enqueue(1)
    await site.jobs.enqueue_many([site.echo.call(n) for n in range(40)])
    other = await site.plain.enqueue(2)
    pages, cursor, seen = 0, "", []
    while True:
        body = (await reader.get(f"/admin/jobs?task=plain{cursor}")).json()
        seen += [one["id"] for one in body["items"]]
        pages += 1
        if "next_cursor" not in body:
            break
        cursor = f"&cursor={body['next_cursor']}"
    assert seen == [other.id, rare.id]
    assert 6 <= pages <= 8


@BOTH
async def test_pages_over_ten_thousand_rows_that_come_and_go(site: Site, root: httpx.AsyncClient) -> None:
    """What was there all the time is seen once; what came later, not on a later page."""
    made = [job.id for job in await site.jobs.enqueue_many([site.echo.call(n) for n in range(10_000)])]
    seen: list[str] = []
    cursor = ""
    gone: set[str] = set()
    for page in range(1_000):
        body = (await root.get(f"/admin/jobs?limit=100{cursor}")).json()
        seen += [one["id"] for one in body["items"]]
        if "next_cursor" not in body:
            break
        cursor = f"&cursor={body['next_cursor']}"
        if page % 10 == 0:
            await site.echo.enqueue("new")
            leaving = made[page * 50]  # some seen already, some not
            await site.jobs.cancel(leaving)
            await site.jobs.delete(leaving)
            gone.add(leaving)
    assert len(seen) == len(set(seen))
    assert set(made) - gone <= set(seen)
    assert set(seen) <= set(made)


@BOTH
async def test_one_job_its_values_only_for_those_who_may(site: Site, worker: Hand) -> None:
    async with site.client("alice") as alice:
        id = (await site.start(alice, "echo", value=CANARY)).rpartition("/")[2]
    await worker.done(await worker.claim(), {"answer": CANARY})
    one = f"/admin/jobs/{id}"
    async with site.client("reader") as reader, site.client("nosy") as nosy:
        plain = await reader.get(one)
        body = plain.json()
        assert CANARY not in plain.text
        assert body["redacted"] is True
        assert body["arguments"] == {"value": f"text, {len(CANARY)} characters"}
        assert body["result"] == "object, 1 member"
        assert body["can"] == {"retry": False, "cancel": False, "delete": False}
        assert body["trace"]["link"] == f"https://traces.test/{body['trace']['trace_id']}"
        assert body["operation"]["status"] == "succeeded"
        assert body["operation"]["url"].endswith(f"/operations/{id}")
        assert [event["type"] for event in body["events"]] == ["queued", "started", "succeeded"]
        assert (await reader.get(f"{one}?arguments=true")).status_code == 403
        assert (await reader.get("/admin/audit")).json()["items"] == []
        full = (await nosy.get(f"{one}?arguments=true")).json()
        assert (full["redacted"], full["arguments"], full["result"]) == (False, {"value": CANARY}, {"answer": CANARY})
        [look] = (await reader.get("/admin/audit")).json()["items"]
        assert (look["actor"], look["action"], look["target"]) == ("nosy", "job.arguments", id)
    async with site.client("writer") as writer:
        assert (await writer.get(one)).json()["can"] == {"retry": True, "cancel": False, "delete": True}


async def test_a_flow_is_drawn_and_its_parts_counted(site: Site, reader: httpx.AsyncClient) -> None:
    flow = await site.echo.call(1).then(site.echo).enqueue()
    body = (await reader.get(f"/admin/jobs/{flow.id}")).json()
    assert (body["task"], body["state"], body["parts"], body["flow"]) == ("offpath.flow", "waiting", 2, None)
    graph = (await reader.get(f"/admin/jobs/{flow.id}/graph")).json()
    assert len(graph["parts"]) == 2
    assert {edge["child"] for edge in graph["edges"]} >= {flow.id}
    part = graph["parts"][0]["id"]
    assert (await reader.get(f"/admin/jobs/{part}")).json()["flow"] == flow.id
    alone = await site.echo.enqueue(1)
    assert (await reader.get(f"/admin/jobs/{alone.id}/graph")).json() == {
        "id": alone.id,
        "parts": [{"id": alone.id, "kind": "echo", "status": "queued"}],
        "edges": [],
    }


@BOTH
async def test_events_of_a_watched_job_come_without_its_result(site: Site, worker: Hand) -> None:
    async with site.client("alice") as alice:
        id = (await site.start(alice, "echo", value=1)).rpartition("/")[2]
    job = await worker.claim()
    await worker.progress(job, 1, 2)

    async def end() -> None:
        await worker.settle(job, Done(json.dumps(CANARY)))

    async with site.client("reader") as reader:
        ending = asyncio.create_task(end())
        said = (await reader.get(f"/admin/jobs/{id}/events", headers={"Last-Event-ID": "1"})).text
        await ending
        assert "event: operation.progress" in said
        assert "event: operation.succeeded" in said
        assert CANARY not in said
        listed = await reader.get(f"/admin/jobs/{id}/events", headers={"Accept": "application/json"})
        assert [one["event"] for one in listed.json()["items"]][-1] == "operation.succeeded"
        quiet = await site.echo.enqueue(1)
        refused = await reader.get(f"/admin/jobs/{quiet.id}/events")
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (404, "not-watched")


@BOTH
async def test_retry_cancel_and_delete(site: Site, worker: Hand) -> None:
    job = await site.echo.enqueue(1)
    one = f"/admin/jobs/{job.id}"
    async with site.client("writer") as writer:
        assert (await writer.post(f"{one}/retry")).json()["type"].rpartition("/")[2] == "job-live"
        assert (await writer.delete(one)).status_code == 409
        await worker.claim()
        asked = await writer.post(f"{one}/cancel", json={"reason": "wrong customer"})
        assert (asked.status_code, asked.json()["canceling"], asked.json()["can"]["cancel"]) == (202, True, False)
        waiting = await site.echo.enqueue(2)
        ended = await writer.post(f"/admin/jobs/{waiting.id}/cancel")
        assert (ended.status_code, ended.json()["state"]) == (200, "canceled")
        assert ended.json()["error"]["detail"] == "requested by an administrator"
        assert (await writer.post(f"/admin/jobs/{waiting.id}/cancel")).status_code == 200
        again = await writer.post(f"/admin/jobs/{waiting.id}/retry", json={"max_attempts": 9})
        assert again.status_code == 202
        assert again.headers["location"].endswith(f"/admin/jobs/{again.json()['id']}")
        assert (again.json()["retry_of"], again.json()["options"]) == (waiting.id, {"max_attempts": 9})
        assert (await writer.delete(f"/admin/jobs/{waiting.id}")).status_code == 204
        assert (await writer.delete(f"/admin/jobs/{waiting.id}")).status_code == 404
        for wrong in ({"max_attempts": 0}, {"max_attempts": "3"}, {"other": 1}, [1]):
            assert (await writer.post(f"{one}/retry", json=wrong)).status_code == 422
        assert (await writer.post(f"{one}/cancel", json={"reason": "\u0000"})).status_code == 422
        assert (await writer.post(f"{one}/cancel", content=b"{", headers=JSON)).status_code == 400
        assert (await writer.post(f"{one}/cancel", content=b"{}", headers={"content-type": "a/b"})).status_code == 415


async def test_a_retry_that_says_what_it_has_seen_is_done_once(site: Site, worker: Hand) -> None:
    job = await site.echo.enqueue(1)
    await worker.fail(await worker.claim())
    one = f"/admin/jobs/{job.id}/retry"
    async with site.client("writer") as writer:
        first = (await writer.post(one, json={"retried_as": None})).json()["id"]
        for seen in (None, job.id):
            again = await writer.post(one, json={"retried_as": seen})
            assert (again.status_code, again.json()["type"].rpartition("/")[2]) == (409, "job-conflict")
            assert f"run again already, as {first}" in again.json()["detail"]
        assert (await writer.post(one, json={"retried_as": first})).status_code == 202
        assert (await writer.post(one)).status_code == 202, "who says nothing means it"
        for wrong in ("", "x", 1):
            assert (await writer.post(one, json={"retried_as": wrong})).status_code == 422


async def test_whoever_may_change_and_not_look_is_told_what_was_changed_and_no_more(site: Site, worker: Hand) -> None:
    job = await site.echo.using(key=CANARY, owner=CANARY).enqueue(1)
    await worker.fail(await worker.claim(), detail=CANARY, traceback=CANARY)
    await site.jobs.schedules.put("nightly", Schedule.every(timedelta(hours=1)), site.echo.call(1))
    one, bulk = f"/admin/jobs/{job.id}", {"action": "cancel", "filter": {"state": "ready"}}
    told = {"id", "state", "canceling", "url"}
    async with site.client("scribe") as scribe, site.client("root") as root:
        for path, body, status, names in (
            (f"{one}/cancel", None, 200, told),
            (f"{one}/retry", None, 202, told),
            ("/admin/jobs:bulk", bulk, 202, told),
            ("/admin/queues/default/pause", {"reason": "x"}, 200, {"name", "paused"}),
            ("/admin/queues/default/resume", None, 200, {"name", "paused"}),
            ("/admin/schedules/nightly/pause", None, 200, {"name", "paused"}),
            ("/admin/schedules/nightly/resume", None, 200, {"name", "paused"}),
            ("/admin/schedules/nightly/run", None, 202, told),
        ):
            answer = await scribe.post(path, json=body)
            assert (answer.status_code, set(answer.json())) == (status, names), path
            assert CANARY not in answer.text
        assert (await scribe.post("/admin/jobs:preview", json=bulk)).status_code == 403
        assert CANARY in (await root.post(f"{one}/cancel")).text, "who may look is shown it"


async def test_a_job_whose_key_a_live_one_has_is_not_run_again(site: Site) -> None:
    old = await site.echo.using(key="k").enqueue(1)
    await old.cancel()
    live = await site.echo.using(key="k").enqueue(2)
    async with site.client("writer") as writer:
        refused = await writer.post(f"/admin/jobs/{old.id}/retry")
        assert (refused.status_code, live.id in refused.json()["detail"]) == (409, True)
        assert (await writer.get("/admin/audit")).json()["items"] == []


JSON = {"content-type": "application/json"}
