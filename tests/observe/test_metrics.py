"""OBS-06: the page for Prometheus, what it counts, and who may read it."""

import asyncio
import contextlib
import re
import sqlite3
import sys
import threading
from datetime import timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from starlette.applications import Starlette
from starlette.routing import Mount

from offpath import Cancel, Context, Offpath, Retry, Schedule, Snooze
from offpath.core import flow as graphs
from offpath.core.retry import Backoff
from offpath.errors import ConfigurationError, JobFailed, MissingExtraError
from offpath.integrations import starlette
from offpath.integrations.fastapi import Accepted, Acceptor, Operations, install_problem_handlers
from offpath.metrics import Metrics
from offpath.metrics.look import Look
from offpath.observe import METRICS
from offpath.observe.meters import SAID, UP, Tally
from offpath.observe.metrics import MOST, OTHER
from offpath.observe.signals import SIGNALS
from offpath.ports import JobFilter

OPEN = "application/openmetrics-text; version=1.0.0"


def values(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample of the page by name, then by the values of its labels in the order of the contract."""
    kind, body = metrics.page()
    assert kind.startswith("text/plain; version=")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in plain(body.decode()):
        for sample in family.samples:
            labels = tuple(value for name, value in sorted(sample.labels.items()) if name != "le")
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_the_contract_is_well_formed() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"offpath_[a-z_]+", name)
        assert name.endswith("_total") is (metric.kind == "counter"), name
        if metric.unit:
            assert name.endswith("_" + metric.unit), name
        assert bool(metric.buckets) is (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.meaning
        assert not set(metric.labels) & {"job", "instance", "id", "key", "tenant", "owner", "le"}, name


def test_what_signals_count_is_in_both_tables() -> None:
    for name, counted in SAID.items():
        for told in counted:
            fields = {field for field in (*told.labels, told.amount) if field and field[0] != "="}
            assert fields <= set(SIGNALS[name].fields), name
            assert len(told.labels) == len(METRICS[told.metric].labels), name
    for name, (metric, label, _) in UP.items():
        assert label in SIGNALS[name].fields
        assert METRICS[metric].labels == (label,)


def test_labels_are_bounded(tally: Tally) -> None:
    for n in range(MOST + 50):
        tally.add("offpath_jobs_enqueued_total", (f"q{n}", "t"))
        tally.took("offpath_run_seconds", (f"q{n}", "t"), 1.0)
    series, spread = tally.read()
    assert len(series["offpath_jobs_enqueued_total"]) == MOST + 1
    assert tally.value("offpath_jobs_enqueued_total", OTHER, OTHER) == 50
    assert sum(spread["offpath_run_seconds"][OTHER, OTHER][:-1]) == 50


def ends(page: dict[str, Any]) -> float:
    """How many jobs the counters say have ended."""
    told = page.get("offpath_attempts_total", {}).items()
    return sum(count for labels, count in told if labels[0] in ("succeeded", "failed", "canceled"))


async def test_obs_06_i31_after_a_drain_the_counters_are_what_the_tables_have(jobs: Offpath, tally: Tally) -> None:
    @jobs.task(queue="good")
    async def good(n: int) -> int:
        return n

    @jobs.task(queue="bad", retry=Retry(max_attempts=3, backoff=Backoff.fixed(0.001)))
    def bad(ctx: Context) -> None:
        raise ValueError(f"attempt {ctx.attempt}")

    @jobs.task(queue="odd")
    async def odd(ctx: Context, what: str) -> None:
        if what == "cancel":
            raise Cancel("enough")
        if what == "snooze" and ctx.fence == 1:
            raise Snooze(0.001)

    metrics = Metrics(jobs)
    await jobs.enqueue_many([*(good.call(n) for n in range(150)), *(bad.call() for _ in range(7))])
    await jobs.enqueue_many([odd.call("cancel"), odd.call("snooze"), odd.call("plain")])
    keyed = [await good.using(key="one").enqueue(1) for _ in range(3)]
    assert len({job.id for job in keyed}) == 1
    await good.call(1).then(good).enqueue()
    async with jobs, jobs.worker(), asyncio.timeout(60):
        while await jobs.count(state=["ready", "scheduled", "running", "waiting"]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        # They are counted once their end is committed.
        while ends(page := values(metrics)) < 150 + 7 + 3 + 1 + 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    ended: dict[tuple[str, str], int] = {}
    flows = 0
    for found in await jobs.store.read(jobs.store.verbs.list_jobs(JobFilter(), None, 1_000)):
        assert found.finished is not None
        if found.finished.task == graphs.TASK:  # it ends with its parts, by no attempt
            flows += 1
            continue
        state = found.finished.state.name.lower()
        ended[found.finished.queue, state] = ended.get((found.finished.queue, state), 0) + 1
    attempts: dict[tuple[str, str], float] = {}
    for (outcome, queue, _), count in page["offpath_attempts_total"].items():
        attempts[queue, outcome] = attempts.get((queue, outcome), 0) + count
    for (queue, state), count in ended.items():
        assert attempts[queue, state] == count, (queue, state)
    assert attempts["bad", "errored"] == 14
    assert attempts["odd", "snoozed"] == 1
    assert sum(page["offpath_jobs_enqueued_total"].values()) == sum(ended.values()) + flows
    runs = sum(count for (_, outcome), count in attempts.items() if outcome != "returned")
    assert sum(page["offpath_run_seconds_count"].values()) == runs
    assert sum(page["offpath_wait_seconds_count"].values()) >= runs
    assert page["offpath_dead_letters"] == {(): 7}
    assert page["offpath_store_up"] == {(): 1}
    assert page["offpath_workers"]["alive",] == 1
    assert flows == 1


async def test_obs_06_a_request_that_starts_work_is_counted_and_so_is_its_repetition(
    jobs: Offpath, tally: Tally
) -> None:
    @jobs.task
    async def nothing() -> None: ...

    operations = Operations(jobs, public=True)

    async def start(accept: Annotated[Acceptor, Depends(operations.acceptor)]) -> Accepted[None]:
        return await accept(nothing)

    app = FastAPI()
    app.include_router(operations.router)
    app.add_api_route("/start", start, methods=["POST"], status_code=202)
    install_problem_handlers(app)
    async with client(app) as http:
        assert (await http.post("/start")).status_code == 202
        for body, status in ((b"{}", 202), (b"{}", 202), (b'{"a":1}', 422)):
            answer = await http.post("/start", content=body, headers={"idempotency-key": '"k"'})
            assert answer.status_code == status, answer.text
        async with asyncio.TaskGroup() as group:
            id = (await http.post("/start")).json()["id"]
            held = group.create_task(http.get(f"/operations/{id}", headers={"prefer": "wait=30"}))
            async with asyncio.timeout(60):
                while not tally.value("offpath_polls_held"):  # noqa: ASYNC110 - a gauge gives no signal
                    await asyncio.sleep(0.005)
            async with jobs.worker():
                assert (await held).json()["status"] == "succeeded"
    assert tally.value("offpath_polls_held") == 0
    assert tally.value("offpath_operations_accepted_total", nothing.name) == 3
    assert tally.value("offpath_jobs_enqueued_total", "default", nothing.name) == 3
    assert tally.value("offpath_idempotency_total", "replay") == 1
    assert tally.value("offpath_idempotency_total", "mismatch") == 1


async def test_obs_06_cancel_latency_and_schedules(lite: Offpath, tally: Tally) -> None:
    running = asyncio.Event()

    @lite.task
    async def long() -> None:
        running.set()
        await asyncio.Event().wait()

    @lite.task
    async def tick() -> None: ...

    lite.schedule("often", Schedule.every(timedelta(seconds=1)), tick.call())
    async with lite, lite.worker(), asyncio.timeout(60):
        job = await long.enqueue()
        await running.wait()
        await lite.cancel(job.id)
        with pytest.raises(JobFailed):
            await job.result(60)
        while not tally.value("offpath_schedule_fired_total", "often"):  # noqa: ASYNC110 - a counter gives no signal
            await asyncio.sleep(0.01)
    fired = tally.value("offpath_schedule_fired_total", "often")
    assert tally.value("offpath_jobs_enqueued_total", "default", tick.name) == fired
    _, spread = tally.read()
    assert sum(spread["offpath_cancel_seconds"][long.name,][:-1]) == 1
    assert sum(spread["offpath_schedule_late_seconds"]["often",][:-1]) == fired


def test_a_schedule_is_late_as_soon_as_an_alert_says_so(lite: Offpath, tally: Tally) -> None:
    """As for commands, dashboard and admin API: they said so, and this waited for a minute."""

    @lite.task
    def often() -> None: ...

    lite.schedules.put("often", Schedule.every(1), often.call()).result()
    with contextlib.closing(sqlite3.connect(lite.settings.url.removeprefix("sqlite:///"))) as db, db:
        db.execute("update offpath_schedule set next_at = ?", (lite.store.now() - 8_000_000,))
    late = values(Metrics(lite))["offpath_schedules"]
    lite.alert("a schedule is late", schedule_late=5)
    later = values(Metrics(lite))["offpath_schedules"]
    assert [(seen["active",], seen["late",]) for seen in (late, later)] == [(1, 0), (0, 1)]


def test_the_page_parses_strictly_in_both_formats(lite: Offpath, tally: Tally) -> None:
    for name, metric in METRICS.items():
        labels = tuple('a"\\\n' for _ in metric.labels)
        if metric.kind == "histogram":
            tally.took(name, labels, 0.3)
        elif metric.of == "process":
            tally.add(name, labels, 2)
    metrics = Metrics(lite)
    for accept, parse in ((OPEN, openmetrics), ("text/plain", plain), ("", plain)):
        kind, body = metrics.page(accept)
        assert kind.startswith("application/openmetrics-text" if accept == OPEN else "text/plain")
        names = {family.name: family for family in parse(body.decode())}
        for name, metric in METRICS.items():
            if metric.of == "process":
                assert names[name.removesuffix("_total")].type == metric.kind, name
        assert body.decode().rstrip().endswith("# EOF") is (accept == OPEN)
        known = {name.removesuffix("_total") for name in METRICS}
        assert set(names) <= known, "nothing that is not in the contract"


async def test_a_page_is_given_although_the_database_is_away(tally: Tally) -> None:
    jobs = Offpath("postgresql://127.0.0.1:1/nothing")

    @jobs.task
    async def nothing() -> None: ...

    tally.add("offpath_operations_accepted_total", ("t",))
    page = await asyncio.to_thread(values, Metrics(jobs))
    assert page["offpath_store_up"] == {(): 0}
    assert page["offpath_operations_accepted_total"] == {("t",): 1}
    assert "offpath_jobs" not in page


def test_a_look_that_takes_long_is_not_waited_for_nor_begun_twice(lite: Offpath) -> None:
    gate, looks = threading.Event(), []

    def slow() -> Any:
        looks.append(1)
        gate.wait(60)
        return lite.store

    look = Look(slow, patience=0.05)
    assert not look.now().up
    assert "has not answered for 0.05 s" in look.now().error
    assert looks == [1]
    gate.set()
    thread = look._looking
    if thread is not None:
        thread.join(60)
    assert look.now().up
    assert looks == [1], "kept for some seconds"


def client(app: Any, host: str = "127.0.0.1") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(host, 5)), base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize("kind", ["fastapi", "starlette"])
async def test_only_this_machine_reads_the_page_unless_more_is_said(
    kind: str, lite: Offpath, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OFFPATH_METRICS_TOKEN", raising=False)
    app: Any
    if kind == "fastapi":
        app = FastAPI()
        app.mount("/metrics", Operations(lite, public=True).metrics)
        app.add_route("/exactly", Operations(lite, public=True).metrics)
    else:
        own = starlette.Operations(lite, public=True)
        app = Starlette(routes=[Mount("/metrics", own.metrics)])
        app.add_route("/exactly", own.metrics)
    for path in ("/metrics/", "/exactly"):
        async with client(app) as near, client(app, "203.0.113.9") as far:
            answer = await near.get(path, headers={"accept": OPEN})
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("application/openmetrics-text")
            assert answer.headers["cache-control"] == "no-store"
            assert (await near.head(path)).content == b""
            for asking in (far.get(path), near.get(path, headers={"x-forwarded-for": "127.0.0.1"})):
                refused = await asking
                assert refused.status_code == 403
                assert "OFFPATH_METRICS_TOKEN" in refused.json()["detail"]
            assert (await near.post(path)).status_code == 405


@pytest.mark.parametrize(
    ("host", "version", "status"),
    [
        ("localhost:8000", "1.1", 200),
        ("[::1]:8000", "2", 200),
        ("shop.example.com", "1.0", 403),  # nginx's proxy_pass without more
        ("127.0.0.1:8000", "1.0", 403),
        ("evil.example:8000", "1.1", 403),  # a name of somebody's that leads to 127.0.0.1
        ("127.0.0.1.evil.example", "1.1", 403),
    ],
)
async def test_a_proxy_that_says_nothing_of_itself_and_a_foreign_name_are_not_this_machine(
    host: str, version: str, status: int, lite: Offpath, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OFFPATH_METRICS_TOKEN", raising=False)
    metrics = Metrics(lite)

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await metrics({**scope, "http_version": version}, receive, send)

    async with client(served) as near:
        assert (await near.get("/", headers={"host": host})).status_code == status


async def test_a_token_opens_it_from_everywhere_and_nothing_else_does(
    lite: Offpath, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFPATH_METRICS_TOKEN", "a long secret")
    app = Metrics(lite)
    async with client(app, "203.0.113.9") as far, client(app) as near:
        assert (await far.get("/", headers={"authorization": "Bearer a long secret"})).status_code == 200
        for said in ({}, {"authorization": "Bearer a long"}, {"authorization": "Basic a long secret"}):
            assert (await far.get("/", headers=said)).status_code == 403
            assert (await near.get("/", headers=said)).status_code == 403
    with pytest.raises(ConfigurationError, match="at least 8 characters"):
        Metrics(lite, token="short")

    async def friend(scope: Any) -> bool:
        return bool(scope["client"][0] == "198.51.100.7")

    async with client(Metrics(lite, allow=friend), "198.51.100.7") as friendly:
        assert (await friendly.get("/")).status_code == 200


def test_what_is_missing_is_named(lite: Offpath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "offpath.metrics.page", raising=False)
    monkeypatch.delattr("offpath.metrics.page", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(MissingExtraError, match=r'pip install "offpath\[metrics\]"'):
        Metrics(lite)
