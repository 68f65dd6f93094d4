"""How things stand, over the admin API: overview, charts, queues, limits, schedules, workers, endpoints, alerts, the
doctor, attempts; what is changed there is in the audit log (I30)."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Header

from offpath import Limit, Queue, Schedule
from offpath.admin import Admin
from offpath.core.ids import uuid7
from offpath.core.limits import Rule
from offpath.core.options import SECOND
from offpath.core.stats import MINUTE, Line
from offpath.core.workers import About
from offpath.integrations.fastapi import Caller
from offpath.ports.webhooks import EndpointRow
from offpath.webhooks import Webhooks, rotation
from tests import files
from tests.http.site import BOTH, Hand, Site, beside

pytestmark = pytest.mark.anyio
SECRET = "whsec_" + "A" * 32


def caller_of(authorization: Annotated[str | None, Header()] = None) -> Caller | None:
    if not authorization:
        return None
    name, _, tenant = authorization.partition("@")
    may = {"root": {"offpath.read", "offpath.write"}, "reader": {"offpath.read"}, "scribe": {"offpath.write"}}
    return Caller(name, tenant, frozenset(may.get(name, set())))


async def got(client: httpx.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(f"/admin{path}")
    assert answer.status_code == status, answer.text
    return answer.json()


async def did(client: httpx.AsyncClient, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await client.post(f"/admin{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def acts(site: Site) -> list[tuple[str, str, str]]:
    return [(one.actor, one.action, one.target) async for one in site.jobs.audit()]


def line(site: Site, n: int, queue: str = "default", task: str = "echo") -> Line:
    at = site.jobs.store.now() // MINUTE * MINUTE
    return Line(at, queue, task, n, 1, 2, 3, SECOND, SECOND, {20: n}, {30: n})


@BOTH
async def test_the_overview(site: Site, root: httpx.AsyncClient, worker: Hand) -> None:
    empty = await got(root, "")
    assert empty["totals"]["ready"] == {"count": 0, "more": False}
    assert (empty["oldest_ready_seconds"], empty["backlog_seconds"]) == (None, 0.0)
    await site.echo.enqueue(1)
    await worker.fail(await worker.claim())
    for _ in range(3):
        await site.echo.enqueue(1)
    await site.echo.using(delay=timedelta(hours=1)).enqueue(1)
    store = site.jobs.store
    await store.perform(store.verbs.describe_worker(worker.id, "{}", '{"default": 2}'))
    seen = await got(root, "")
    assert seen["store"] == ("postgresql" if site.url else "sqlite")
    assert seen["writable"] is True
    assert {name: one["count"] for name, one in seen["totals"].items()} == {
        "scheduled": 1, "waiting": 0, "ready": 3, "running": 2, "failed_outstanding": 1,
    }  # fmt: skip
    assert seen["workers"] == {"alive": 1, "late": 0, "lost": 0}
    assert seen["oldest_ready_seconds"] >= 0
    assert seen["backlog_seconds"] == pytest.approx(seen["oldest_ready_seconds"], abs=0.001), "nothing has ended lately"
    async with site.client("reader") as reader:
        assert (await got(reader, ""))["writable"] is False


@BOTH
async def test_queues_how_full_and_how_fast(site: Site, root: httpx.AsyncClient) -> None:
    for _ in range(3):
        await site.echo.using(queue="low").enqueue(1)
    store = site.jobs.store
    await store.perform(store.verbs.count_ended("one", [line(site, 24, "low")]))
    items = {one["name"]: one for one in (await got(root, "/queues"))["items"]}
    low = items["low"]
    assert (low["ready"], low["scheduled"], low["waiting"], low["running"], low["more"]) == (3, 0, 0, 0, False)
    assert low["rate"] > 0
    assert low["backlog_seconds"] == pytest.approx(3 / low["rate"])
    assert "default" in items, "a task's queue is there before its first job"
    backlog = await got(root, "/queues/low/backlog")
    assert set(backlog) == {"queue", "backlog_seconds", "ready", "rate"}
    assert (backlog["queue"], backlog["ready"]) == ("low", 3)
    paused = await did(root, "/queues/low/pause", {"reason": "rain"})
    assert (paused["paused"], paused["reason"], paused["backlog_seconds"]) == (True, "rain", 0.0)
    assert (await got(root, "/queues/low"))["paused_at"] is not None
    assert (await got(root, ""))["queues"]["paused"] == 1
    assert (await did(root, "/queues/low/resume"))["paused"] is False
    assert await acts(site) == [("root", "queue.resume", "low"), ("root", "queue.pause", "low")]
    assert (await got(root, "/queues/nobody"))["ready"] == 0
    every = {"low": True, "default": True, "offpath.bulk": True, "lwo": False}
    assert {name: (await did(root, f"/queues/{name}/pause"))["known"] for name in every} == every
    assert (await did(root, "/queues/lwo/resume"))["known"] is False, "a pause alone makes no name a known one"
    await got(root, "/queues/" + "x" * 256, 404)
    await did(root, "/queues/low/pause", {"reason": "a\nb"}, 422)
    await did(root, "/queues/low/pause", {"why": "x"}, 422)


@BOTH
async def test_charts(site: Site, root: httpx.AsyncClient) -> None:
    store = site.jobs.store
    now = store.now()
    await store.perform(store.verbs.count_ended("one", [line(site, 5), line(site, 2, "low", "plain")]))
    await store.perform(store.verbs.count_ended("two", [line(site, 4)]))
    await store.perform(store.verbs.take_sample(now // MINUTE * MINUTE, [("default", 7, 2, 3 * SECOND)]))
    for window, points in {"15m": 15, "1h": 60, "6h": 72, "24h": 96, "7d": 168}.items():
        chart = await got(root, f"/stats?window={window}")
        assert len(chart["points"]) == points
        assert sum(one["succeeded"] for one in chart["points"]) == 11, "two workers add up"
        last = next(one for one in reversed(chart["points"]) if one["succeeded"])
        assert (last["failed"], last["canceled"], last["retried"]) == (3, 6, 9)
        assert 0 < last["wait_p50"] < last["run_p50"]
        assert (last["ready"], last["running"], last["oldest_ready"]) == (7, 2, 3.0)
    only = await got(root, "/stats?window=15m&queue=low&task=plain")
    assert sum(one["succeeded"] for one in only["points"]) == 2
    assert all(one["ready"] is None for one in only["points"])
    await got(root, "/stats?window=1y", 400)


@BOTH
async def test_workers(site: Site, root: httpx.AsyncClient, worker: Hand) -> None:
    store = site.jobs.store
    about = About("host", 42, store.now(), 8, ("default",), "9.9", 60.0)
    await store.perform(store.verbs.describe_worker(worker.id, about.text(), '{"default": 3}'))
    [one] = (await got(root, "/workers"))["items"]
    assert (one["id"], one["label"], one["state"], one["host"], one["pid"]) == (worker.id, "hand", "alive", "host", 42)
    assert (one["queues"], one["concurrency"], one["running"], one["version"]) == (["default"], 8, 3, "9.9")
    assert one["held"] == {"default": 3}
    assert one["renewed_at"] is not None
    assert "echo@1" in one["tasks"]
    [same] = await site.jobs.workers()
    assert (same.id, dict(same.running)) == (worker.id, {"default": 3})
    assert site.jobs.workers_sync()[0].id == worker.id


@BOTH
async def test_a_job_shows_the_attempts_that_did_not_succeed(site: Site, root: httpx.AsyncClient, worker: Hand) -> None:
    job = await site.flaky.enqueue()
    await worker.fail(await worker.claim(), "first", again=True, exception="ValueError")
    document = await got(root, f"/jobs/{job.id}")
    [one] = document["attempts"]
    assert (one["attempt"], one["worker"], one["label"], one["outcome"]) == (1, worker.id, "hand", "errored")
    assert one["error"]["class"] == "ValueError"
    [same] = await site.jobs.attempts(job.id)
    assert (same.attempt, same.outcome, same.error) == (1, "errored", one["error"])
    assert site.jobs.attempts_sync(job.id) == [same]


@BOTH
async def test_schedules(site: Site, root: httpx.AsyncClient) -> None:
    await site.jobs.schedules.put("a daily report", Schedule.cron("0 8 * * *", zone="Europe/Berlin"), site.echo.call(1))
    [one] = (await got(root, "/schedules"))["items"]
    assert (one["name"], one["task"], one["paused"], one["late"]) == ("a daily report", "echo", False, False)
    assert one["schedule"] == "0 8 * * * Europe/Berlin"
    path = "/schedules/a%20daily%20report"
    seen = await got(root, path)
    assert len(seen["next_runs"]) == 10
    made = await did(root, f"{path}/run", status=202)
    assert (made["task"], made["state"], made["schedule"]["name"]) == ("echo", "ready", "a daily report")
    assert (await did(root, f"{path}/run"))["id"] == made["id"], "one job at a time"
    assert (await did(root, f"{path}/pause"))["paused"] is True
    assert (await did(root, f"{path}/resume"))["paused"] is False
    done = [(action, target) for _, action, target in await acts(site)]
    assert done[:2] == [("schedule.resume", "a daily report"), ("schedule.pause", "a daily report")]
    assert ("schedule.run", "a daily report") in done
    assert (await got(root, ""))["schedules"] == {"count": 1, "paused": 0, "late": 0, "next_at": one["next_at"]}
    await did(root, f"{path}/pause")
    assert (await got(root, ""))["schedules"] == {"count": 1, "paused": 1, "late": 0, "next_at": None}
    for path in ("/schedules/nobody/run", "/schedules/nobody/pause", "/schedules/nobody/resume"):
        await did(root, path, status=404)
    await got(root, "/schedules/nobody", 404)


@BOTH
async def test_a_schedule_is_late_as_soon_as_an_alert_says_so(site: Site, root: httpx.AsyncClient) -> None:
    """The alert named the schedule, and all pages said that it was well, for the first minute."""
    await site.jobs.schedules.put("often", Schedule.every(1), site.echo.call(1))
    now = site.jobs.store.now()
    with beside(site) as db:
        db.execute(f"update offpath_schedule set next_at = {now - 8 * SECOND}")
    [one] = (await got(root, "/schedules"))["items"]
    assert (one["late"], 8 <= one["behind_seconds"] < 60) == (False, True)
    assert (await got(root, ""))["schedules"]["late"] == 0
    site.jobs.alert("a schedule is late", schedule_late=5)
    one = await got(root, "/schedules/often")
    assert (one["late"], 8 <= one["behind_seconds"] < 60) == (True, True)
    assert (await got(root, ""))["schedules"]["late"] == 1
    await site.jobs.schedules.pause("often")
    one = await got(root, "/schedules/often")
    assert (one["late"], one["behind_seconds"]) == (False, None)


@BOTH
async def test_limits(site: Site, root: httpx.AsyncClient, worker: Hand) -> None:
    store = site.jobs.store

    @site.jobs.task(name="limited", limits=[Limit(concurrency=4), Limit(rate=10, period=2, per="who")])
    async def limited(who: str) -> None: ...

    await store.perform(store.verbs.declare(site.jobs.registry.limits.rules()))
    for who in ("a", "a", "b"):
        await limited.enqueue(who)
    with beside(site) as db:
        db.execute(f"update offpath_job set state = 3, worker = '{worker.id}' where lane is not null")
    items = {one["name"]: one for one in (await got(root, "/limits"))["items"]}
    task, per = items["task:limited"], items["task:limited/who"]
    assert (task["task"], task["concurrency"], task["running"], task["used"], task["capacity"]) == (
        "limited",
        4,
        3,
        3,
        4,
    )
    assert task["describe"] == "4 at once"
    assert (per["spacing"], per["running"], per["used"]) == (0.2, 3, 2)
    assert [one["running"] for one in per["buckets"]] == [2, 1]


async def test_whose_a_limit_is_however_a_queue_or_a_task_is_called(tmp_path: Path) -> None:
    long = "a queue with a name that is shortened " * 5
    shared, own = Limit(name="api", concurrency=4), Limit(concurrency=2)
    queues = [
        Queue("a/b", limit=own),
        Queue("c", limits=[Limit(concurrency=1, per="d.e"), shared]),
        Queue("f#2", limit=own),
        Queue(long, limit=own),
    ]
    files.with_tables(tmp_path / "jobs.db")
    site = Site(tmp_path, settings={"queues": queues}, caller=caller_of, admin=Admin())

    @site.jobs.task(name="x/y", limits=[own, own, shared])
    async def task() -> None: ...

    store = site.jobs.store
    gone = [Rule("queue:old/er", 1, None, 1), Rule("task:older", 1, None, 1)]  # of another version of the application
    await store.perform(store.verbs.declare([*site.jobs.registry.limits.rules(), *gone]))
    async with site.client("root") as root:
        told = {one["name"]: (one["queue"], one["task"]) for one in (await got(root, "/limits"))["items"]}
    shortened = told.pop(next(name for name in told if "…" in name))
    assert shortened == (long, None)
    assert told == {
        "limit:api": (None, None),
        "queue:a/b": ("a/b", None),
        "queue:c/d.e": ("c", None),
        "queue:f#2": ("f#2", None),
        "queue:old/er": (None, None),
        "task:older": (None, "older"),
        "task:x/y": (None, "x/y"),
        "task:x/y#2": (None, "x/y"),
    }
    site.jobs.close()


def endpoint(site: Site, webhooks: Webhooks, owner: str, tenant: str, **more: Any) -> EndpointRow:
    now = site.jobs.store.now()
    row = EndpointRow(
        id=uuid7(now, owner.encode().ljust(10, b"0")), tenant=tenant, owner=owner, url="https://hooks.example/x",
        description="", events='["operation.succeeded"]', secrets=rotation.sealed(SECRET, webhooks.vault),
        headers=webhooks.vault.seal('{"X-Key": "hidden"}'), enabled=True, reason=None, failing_since=None,
        not_before=None, width=4, created_at=now, updated_at=now,
    )  # fmt: skip
    return row._replace(**more)


@BOTH
async def test_endpoints_whoever_they_belong_to(site: Site, root: httpx.AsyncClient) -> None:
    webhooks = Webhooks(site.jobs, key="k" * 32, operations_url="https://api.example/operations")
    store = site.jobs.store
    hers, his = endpoint(site, webhooks, "alice", "acme"), endpoint(site, webhooks, "bob", "globex")
    for row in (hers, his):
        assert await store.perform(store.verbs.add_endpoint(row, 20))
    page = await got(root, "/endpoints?limit=1")
    assert len(page["items"]) == 1
    more = await got(root, f"/endpoints?limit=1&cursor={page['next_cursor']}")
    assert {one["id"] for one in page["items"] + more["items"]} == {hers.id, his.id}
    assert "next_cursor" not in more
    text = (await root.get("/admin/endpoints")).text
    assert SECRET not in text
    assert "hidden" not in text
    [one] = (await got(root, "/endpoints?tenant=acme"))["items"]
    assert (one["id"], one["owner"], one["headers"]) == (hers.id, "alice", ["X-Key"])
    assert (await got(root, ""))["endpoints"] == {"enabled": 2, "disabled": 0}
    path = f"/endpoints/{hers.id}"
    sent = await did(root, f"{path}/test", status=202)
    assert sent["delivery"] == sent["webhook_id"]
    off = await did(root, f"{path}/disable")
    assert (off["enabled"], off["reason"]) == (False, "disabled by an operator"), "not by its owner"
    assert [one["id"] for one in (await got(root, "/endpoints?enabled=false"))["items"]] == [hers.id]
    await did(root, f"{path}/test", status=409)
    assert (await did(root, f"{path}/enable"))["enabled"] is True
    again = await did(root, f"{path}/resend", {"delivery": sent["delivery"]}, 202)
    assert again == {"deliveries": [sent["delivery"]], "more": False}
    await did(root, f"{path}/resend", {"nobody": 1}, 422)
    assert await got(root, f"{path}/attempts") == {"items": []}
    assert [action for _, action, _ in await acts(site)] == [
        "endpoint.resend", "endpoint.enable", "endpoint.disable", "endpoint.test",
    ]  # fmt: skip
    assert {actor for actor, _, _ in await acts(site)} == {"root"}
    async with site.client("scribe") as scribe:
        assert await did(scribe, f"{path}/disable") == {"id": hers.id, "enabled": False}
        assert await did(scribe, f"{path}/enable") == {"id": hers.id, "enabled": True}
    for missing in (hers.id[:-1] + "0", "no-id"):
        await got(root, f"/endpoints/{missing}", 404)
    await got(root, "/endpoints?enabled=perhaps", 400)


async def test_without_webhooks_endpoints_are_only_looked_at(
    site: Site, root: httpx.AsyncClient, tmp_path: Path
) -> None:
    other = Site(tmp_path / "elsewhere")
    webhooks = Webhooks(other.jobs, key="k" * 32, operations_url="https://api.example/operations")
    store = site.jobs.store
    row = endpoint(site, webhooks, "alice", "acme")
    await store.perform(store.verbs.add_endpoint(row, 20))
    assert (await got(root, f"/endpoints/{row.id}"))["headers"] == []
    answer = await did(root, f"/endpoints/{row.id}/disable", status=409)
    assert answer["type"].endswith("no-webhooks")


@BOTH
async def test_alerts_and_the_doctor(site: Site, root: httpx.AsyncClient) -> None:
    site.jobs.alert("mail is late", age=300, queue="mail")
    site.jobs.alert("one in ten fails", error_rate=0.1, within=60)
    site.jobs.alert("never ran", schedule_late=30)
    with beside(site) as db:
        for row in (
            f"('mail is late', 1, 5, {400 * SECOND})",
            "('one in ten fails', 1, 4, 250)",
            f"('never ran', 1, 3, {45 * SECOND})",
            "('of another version', 1, 6, 12)",
        ):
            db.execute(f"insert into offpath_alert (name, seq, raised_at, value) values {row}")
    seen = await got(root, "/alerts")
    assert [(one["name"], one["kind"], one["value"], one["above"]) for one in seen["items"]] == [
        ("of another version", None, 12, None),
        ("mail is late", "age", 400.0, 300.0),
        ("one in ten fails", "error_rate", 0.25, 0.1),
        ("never ran", "schedule_late", 45.0, 30.0),
    ]
    assert [rule["above"] for rule in seen["rules"]] == [300.0, 0.1, 30.0]
    assert {one["name"] for one in (await got(root, ""))["alerts"]} == {one["name"] for one in seen["items"]}
    checks = (await got(root, "/doctor"))["checks"]
    assert {"schema", "workers"} <= {one["check"] for one in checks}
    assert all(one["state"] in ("ok", "warning", "problem") for one in checks)
    assert "jobs" not in {one["check"] for one in checks}, "all of them were looked at"


@BOTH
async def test_the_doctor_says_when_it_has_not_looked_at_all_jobs(
    site: Site, root: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offpath.app.doctor.STRIDE", 2)
    monkeypatch.setattr("offpath.admin.health.BUDGET", 0.0)
    await site.jobs.enqueue_many([site.echo.call(n) for n in range(5)])
    said = {one["check"]: one for one in (await got(root, "/doctor"))["checks"]}
    assert "more than the 2 that were looked at" in said["jobs"]["detail"]
    assert "more than 2 jobs not ended" in said["workers"]["detail"]
    monkeypatch.setattr("offpath.admin.health.BUDGET", 60.0)
    said = {one["check"]: one for one in (await got(root, "/doctor"))["checks"]}
    assert "jobs" not in said
    assert "5 jobs not ended" in said["workers"]["detail"]
