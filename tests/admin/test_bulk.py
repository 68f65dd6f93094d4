"""Many jobs by a job of ours: previewed, followed, stopped, fenced, and gone on with after a kill."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from offpath.app import bulkjob
from offpath.app.bulk import Tally
from offpath.app.managing import Managing
from offpath.core.bulk import QUEUE, TASK, Reached, as_memory, from_memory
from offpath.core.job import Principal
from offpath.errors import Conflict, JobFailed, LeaseLost
from tests.http.site import BOTH, Site, beside, eventually

pytestmark = pytest.mark.anyio


async def ended(site: Site, id: str) -> Any:
    return await (await site.jobs.get(id)).result(timeout=100)


async def fill(site: Site, many: int, **options: Any) -> list[str]:
    return [job.id for job in await site.jobs.enqueue_many([site.echo.using(**options).call(n) for n in range(many)])]


@BOTH
async def test_a_preview_counts_and_does_nothing(site: Site) -> None:
    ids = await fill(site, 7, queue="mail")
    await fill(site, 3)
    async with site.client("reader") as reader:
        body = {"action": "cancel", "filter": {"queue": "mail"}}
        said = (await reader.post("/admin/jobs:preview", json=body)).json()
        assert (said["count"], said["more"]) == (7, False)
        assert {one["id"] for one in said["sample"]} < set(ids)
        assert len(said["sample"]) == 5
        assert (await reader.post("/admin/jobs:bulk", json=body)).status_code == 403
    assert await site.jobs.count(state="ready") == 10
    assert [one async for one in site.jobs.audit()] == []


async def test_a_preview_counts_no_further_than_it_must(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offpath.admin.doing.MOST", 40)
    await fill(site, 60, queue="mail")
    async with site.client("reader") as reader:
        said = (await reader.post("/admin/jobs:preview", json={"action": "cancel", "filter": {"queue": "mail"}})).json()
        assert (said["count"], said["more"], len(said["sample"])) == (40, True, 5)
        monkeypatch.setattr("offpath.admin.doing.BUDGET", 0.0)
        rare = (await reader.post("/admin/jobs:preview", json={"action": "cancel", "filter": {"task": "no"}})).json()
        assert (rare["count"], rare["more"]) == (0, True)


WRONG: list[Any] = [
    [], {}, {"action": "cancel"}, {"action": "eat", "filter": {"queue": "a"}}, {"action": [], "filter": {"queue": "a"}},
    {"action": "cancel", "filter": {}}, {"action": "retry", "filter": {}},
    {"action": "retry", "filter": {"state": None}},
    {"action": "retry", "filter": {"outstanding": False, "state": "failed"}},
    {"action": "retry", "filter": {"outstanding": "yes"}}, {"action": "delete", "filter": {}},
    {"action": "cancel", "filter": []}, {"action": "cancel", "filter": {"no": 1}},
    {"action": "cancel", "filter": {"state": "failed"}}, {"action": "retry", "filter": {"state": ["running"]}},
    {"action": "delete", "filter": {"state": [["failed"]]}}, {"action": "delete", "filter": {"state": []}},
    {"action": "cancel", "filter": {"queue": "a\u0000"}}, {"action": "cancel", "filter": {"queue": 1}},
    {"action": "cancel", "filter": {"older_than": -1}}, {"action": "cancel", "filter": {"older_than": True}},
    {"action": "cancel", "filter": {"older_than": "1h"}}, {"action": "cancel", "filter": {"outstanding": "yes"}},
    {"action": "cancel", "filter": {"queue": "a"}, "max_attempts": 3},
    {"action": "retry", "filter": {"queue": "a"}, "reason": "x"},
    {"action": "retry", "filter": {"queue": "a"}, "max_attempts": 0},
    {"action": "cancel", "filter": {"queue": "a"}, "reason": 1}, {"action": "cancel", "filter": {"queue": "a"}, "x": 1},
]  # fmt: skip


@pytest.mark.parametrize("body", WRONG, ids=str)
async def test_what_means_nothing_is_refused_and_nothing_begins(site: Site, body: Any) -> None:
    async with site.client("root") as root:
        for path in ("/admin/jobs:preview", "/admin/jobs:bulk"):
            answer = await root.post(path, json=body)
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"]
    assert await site.jobs.count() == 0


@BOTH
@pytest.mark.parametrize("action", ["cancel", "retry", "delete"])
async def test_a_job_of_ours_does_it(site: Site, action: str) -> None:
    ids = await fill(site, 5, queue="mail")
    if action != "cancel":
        await site.jobs.cancel_many(queue="mail")
    state = "ready" if action == "cancel" else "canceled"
    body: dict[str, Any] = {"action": action, "filter": {"queue": "mail", "state": state, "older_than": 0}}
    async with site.client("writer@staff") as writer, site.jobs.worker(queues=QUEUE):
        begun = await writer.post("/admin/jobs:bulk", json=body)
        assert begun.status_code == 202, begun.text
        job = begun.json()
        assert begun.headers["location"] == job["url"]
        assert (job["task"], job["owner"], job["tenant"]) == ("offpath.bulk", "writer", "staff")
        assert await ended(site, job["id"]) == {"done": 5, "skipped": 0, "of": 5}
        shown = (await writer.get(f"/admin/jobs/{job['id']}")).json()
        assert (shown["progress"]["current"], shown["progress"]["total"]) == (5, 5)
        assert shown["operation"] is None
    states = {"cancel": ("canceled", 5), "retry": ("ready", 5), "delete": ("canceled", 0)}
    assert await site.jobs.count(queue="mail", state=states[action][0]) == states[action][1]
    assert len(ids) == 5
    end, begin = [one async for one in site.jobs.audit()]
    assert (end.actor, end.action, end.target) == ("writer", f"jobs.{action}.ended", job["id"])
    assert (end.data["done"], end.data["skipped"], end.data["outcome"]) == (5, 0, "succeeded")
    assert (begin.actor, begin.action, begin.target) == ("writer", f"jobs.{action}", job["id"])
    assert begin.data["filter"] == {**body["filter"], "state": [state], "older_than": 0.0}


@BOTH
async def test_it_does_not_mean_itself_nor_what_comes_later(site: Site) -> None:
    await fill(site, 3)
    async with site.client("writer") as writer, site.jobs.worker(queues=QUEUE):
        body = {"action": "cancel", "filter": {"state": ["ready", "running"]}}
        job = (await writer.post("/admin/jobs:bulk", json=body)).json()
        assert await ended(site, job["id"]) == {"done": 3, "skipped": 0, "of": 3}
        shown = (await writer.get(f"/admin/jobs/{job['id']}")).json()
        assert (shown["progress"]["current"], shown["progress"]["total"]) == (3, 3)
    end = await anext(site.jobs.audit(target=job["id"]))
    assert (end.data["done"], end.data["of"]) == (3, 3)


@BOTH
@pytest.mark.parametrize("action", ["cancel", "retry", "delete"])
async def test_what_changes_nothing_is_no_line(site: Site, action: str) -> None:
    body = {"action": action, "filter": {"task": "no.such.task"}}
    async with site.client("writer") as writer, site.jobs.worker(queues=QUEUE):
        job = (await writer.post("/admin/jobs:bulk", json=body)).json()
        assert await ended(site, job["id"]) == {"done": 0, "skipped": 0, "of": 0}
    assert [one async for one in site.jobs.audit()] == []


@BOTH
async def test_a_change_that_is_stopped_before_it_began_is_no_line(site: Site) -> None:
    await fill(site, 3, queue="mail")
    async with site.client("writer") as writer:
        job = (await writer.post("/admin/jobs:bulk", json={"action": "cancel", "filter": {"queue": "mail"}})).json()
        assert [one async for one in site.jobs.audit()] == []
        assert (await writer.post(f"/admin/jobs/{job['id']}/cancel")).status_code == 200
    assert [one.action async for one in site.jobs.audit()] == ["job.cancel"]


@BOTH
async def test_a_page_of_which_nobody_has_heard_is_told_in_the_end(site: Site) -> None:
    """Whoever is stopped while a page is written has not been told of it, and it is written."""
    made = await bulkjob.begin(site.jobs.desk, Principal("ann", "acme"), "cancel", {"queue": "mail"}, "why")
    with beside(site) as db:
        db.execute(f"update offpath_job set state = 3, worker = 'w', fence = 1 where id = '{made.id}'")
    log = bulkjob._Fenced(site.jobs.store, held(made.id, Principal("ann", "acme")), "cancel", "ann", None)
    await site.jobs.store.perform(lambda: log.page(Reached(5, 1, 9, "a"), first=True))
    await site.jobs.store.perform(log.ended(Tally(0, 0, 9), "canceled"))
    end, begun = [one async for one in site.jobs.audit(target=made.id)]
    assert (begun.actor, begun.tenant, begun.action) == ("ann", "acme", "jobs.cancel")
    assert begun.data == {"filter": {"queue": "mail"}, "reason": "why"}
    assert (end.actor, end.tenant, end.action) == ("ann", "acme", "jobs.cancel.ended")
    assert end.data == {**begun.data, "done": 5, "skipped": 1, "of": 9, "outcome": "canceled"}


def held(id: str, principal: Principal) -> Any:
    """The context of a worker that holds a job, by hand."""

    class Held:
        fence, attempt, canceled = 1, 1, False

    Held.job, Held.principal = id, principal  # type: ignore[attr-defined]
    return Held()


@BOTH
async def test_it_is_nobody_s_operation(site: Site) -> None:
    """Who may change and not look is not told how many fitted; nobody erases it but through the admin's routes."""
    await fill(site, 3, queue="mail")
    body = {"action": "cancel", "filter": {"queue": "mail"}}
    for name in ("scribe", "writer"):
        async with site.client(name) as client:
            job = (await client.post("/admin/jobs:bulk", json=body)).json()["id"]
            async with site.jobs.worker(queues=QUEUE):
                await ended(site, job)
            for path in ("", "/result", "/events"):
                assert (await client.get(f"/operations/{job}{path}")).status_code == 404
            assert (await client.delete(f"/operations/{job}")).status_code == 404
            assert (await client.post(f"/operations/{job}/cancel")).status_code == 404
            assert (await client.get("/operations")).json()["items"] == []
            assert (await client.delete(f"/admin/jobs/{job}")).status_code == 204
        assert (await anext(site.jobs.audit(target=job))).action == "job.delete"


@BOTH
async def test_whoever_cancels_it_stops_it_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that were done stay done; what is told in the end is how many."""
    await fill(site, 30, queue="mail")
    first, never = asyncio.Event(), asyncio.Event()
    made = Managing.cancel_many

    def paused(jobs: Managing, **given: Any) -> Any:
        """Pages of ten, and after the first one nothing more."""
        bulk = made(jobs, **given)
        bulk._page = 10
        pages = bulk.logged

        def logged(log: Any) -> Any:
            return _Halting(pages(log), first, never)

        bulk.logged = logged  # type: ignore[method-assign]
        return bulk

    monkeypatch.setattr(Managing, "cancel_many", paused)
    async with site.client("writer") as writer, site.jobs.worker(queues=QUEUE):
        job = (await writer.post("/admin/jobs:bulk", json={"action": "cancel", "filter": {"queue": "mail"}})).json()
        await asyncio.wait_for(first.wait(), 60)
        stopped = await writer.post(f"/admin/jobs/{job['id']}/cancel")
        assert (stopped.status_code, stopped.json()["state"]) == (202, "running")
        with pytest.raises(JobFailed):
            await ended(site, job["id"])
    assert await site.jobs.count(queue="mail", state="canceled") == 10
    end, asked, begun = [one async for one in site.jobs.audit(target=job["id"])]
    assert (end.action, asked.action, begun.action) == ("jobs.cancel.ended", "job.cancel", "jobs.cancel")
    assert (end.data["done"], end.data["of"], end.data["outcome"]) == (10, 30, "canceled")


@BOTH
async def test_it_is_not_run_again_but_asked_for_anew(site: Site) -> None:
    """Nobody deletes in somebody else's name, nor what came to fit since it was looked at."""
    await fill(site, 3, queue="mail")
    await site.jobs.cancel_many(queue="mail")
    body = {"action": "delete", "filter": {"queue": "mail", "state": "canceled"}}
    async with site.client("writer") as writer, site.client("root") as root:
        stopped = (await writer.post("/admin/jobs:bulk", json=body)).json()["id"]
        assert (await writer.post(f"/admin/jobs/{stopped}/cancel")).status_code == 200
        done = (await writer.post("/admin/jobs:bulk", json={**body, "action": "retry"})).json()["id"]
        async with site.jobs.worker(queues=QUEUE):
            assert (await ended(site, done))["done"] == 3
        for id in (stopped, done):
            again = await root.post(f"/admin/jobs/{id}/retry")
            assert again.status_code == 409, again.text
            assert "anew" in again.json()["detail"]
            with pytest.raises(Conflict, match="many jobs"):
                await site.jobs.retry(id)
            shown = (await root.get(f"/admin/jobs/{id}")).json()
            assert (shown["can"]["retry"], "anew" in shown["no_retry"]) == (False, True)
            assert (shown["redacted"], shown["arguments"]["filter"]["queue"]) == (False, "mail")
        tally = await site.jobs.retry_many(state=["canceled", "succeeded"], task=TASK)
        assert (tally.done, tally.skipped) == (0, 0)
    assert await site.jobs.count(queue="mail", state="canceled") == 3


@BOTH
@pytest.mark.parametrize("when", ["before its first page", "after it", "at last"])
async def test_an_owner_that_is_erased_is_named_in_no_change_of_many_jobs(site: Site, when: str) -> None:
    """Neither in its arguments, nor in the audit log, also when it ends after that; who did it stays."""
    task = site.echo.using(owner="writer", tenant="acme", key="writer-42", queue="mail")
    await task.enqueue("x")
    await site.jobs.cancel_many(queue="mail")
    body = {"action": "retry", "filter": {"owner": "writer", "state": "canceled", "key_prefix": "writer-"}}
    async with site.client("writer@staff") as writer:  # an operator, of that name, of elsewhere
        job = (await writer.post("/admin/jobs:bulk", json=body)).json()["id"]
        if when != "at last":
            with beside(site) as db:
                db.execute(f"update offpath_job set state = 3, worker = 'w', fence = 1 where id = '{job}'")
            log = bulkjob._Fenced(site.jobs.store, held(job, Principal("writer", "staff")), "retry", "writer", None)
            if when == "before its first page":
                await site.jobs.purge_owner("writer", tenant="acme")
            await site.jobs.store.perform(lambda: log.page(Reached(1, 0, 1, "a"), first=True))
            if when == "after it":
                await site.jobs.purge_owner("writer", tenant="acme")
            await site.jobs.store.perform(log.ended(Tally(1, 0, 1)))
        else:
            async with site.jobs.worker(queues=QUEUE):
                assert (await ended(site, job))["done"] == 1
            assert (await site.jobs.purge_owner("writer", tenant="acme", cancel=True)).counts["renamed"] == 3
        shown = (await writer.get(f"/admin/jobs/{job}")).json()
        assert shown["owner"] == "writer"
        assert shown["arguments"]["filter"]["owner"].startswith("erased:")
        assert "writer-" not in str(shown["arguments"])
    end, begun = [one async for one in site.jobs.audit(target=job)]
    for line in (end, begun):
        assert (line.actor, line.tenant, "writer" in str(line.data)) == ("writer", "staff", False)
        assert line.data["filter"]["owner"].startswith("erased:")
    assert end.data["done"] == 1


class _Halting:
    def __init__(self, bulk: Any, first: asyncio.Event, never: asyncio.Event) -> None:
        self.bulk, self.first, self.never = bulk, first, never

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for tally in self.bulk:
            yield tally
            self.first.set()
            await self.never.wait()


@BOTH
async def test_a_page_of_a_worker_that_lost_the_job_changes_nothing(site: Site) -> None:
    """Fenced: the page and how far it came are one transaction, refused when somebody else has claimed the job."""
    await fill(site, 3, queue="mail")
    made = await bulkjob.begin(site.jobs.desk, Principal("ann"), "cancel", {"queue": "mail"})
    began, go = asyncio.Event(), asyncio.Event()
    run = site.task(TASK).fn

    class Late:
        job, fence, attempt, canceled, principal = made.id, 1, 1, False, Principal("ann")

    async def late() -> None:
        began.set()
        await go.wait()
        await run(Late(), "cancel", {"queue": "mail"}, "ann", None, None)

    with beside(site) as db:
        db.execute(f"update offpath_job set state = 3, worker = 'w', fence = 2 where id = '{made.id}'")
    task = asyncio.create_task(late())
    await began.wait()
    go.set()
    with pytest.raises(LeaseLost):
        await task
    assert await site.jobs.count(queue="mail", state="ready") == 3
    assert [one async for one in site.jobs.audit()] == []


def test_how_far_it_has_come_is_read_as_it_was_written() -> None:
    reached = Reached(3, 1, 9, "01a21f92-a71e-703b-bfb1-7c4fd924b052", ("a", "b"))
    assert from_memory(as_memory(reached)) == reached
    assert from_memory(None) is None


CHILD = """
import sys
from offpath import Offpath
from offpath.app import bulk, managing
jobs = Offpath(sys.argv[1], lease=1.0, poll=0.05)
jobs.task(name="echo")(lambda value: value)
made = managing.Managing._bulk
managing.Managing._bulk = lambda *given: made(*given[:8], 10)
jobs.run_worker(queues="offpath.bulk")
"""


@BOTH
async def test_after_kill_9_it_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    """Every job once: counts are those of the pages, whichever worker did them."""
    many = 600
    await fill(site, many, queue="mail")
    script = tmp_path / "child.py"
    script.write_text(CHILD, "utf-8")
    url = site.url or f"sqlite:///{site.path}"

    def hire() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(script), url])

    async with site.client("writer") as writer:
        body = {"action": "cancel", "filter": {"queue": "mail"}}
        job = (await writer.post("/admin/jobs:bulk", json=body)).json()
        child = hire()
        try:
            await eventually(lambda: site.jobs.count_sync(queue="mail", state="canceled") > 0)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            before = await site.jobs.count(queue="mail", state="canceled")
            child = hire()
            said = await ended(site, job["id"])
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            child.wait()
        shown = (await writer.get(f"/admin/jobs/{job['id']}")).json()
    assert said == {"done": many, "skipped": 0, "of": many}
    assert await site.jobs.count(queue="mail", state="canceled") == many
    assert before == many or shown["crashes"] == 1
    actions = [one.action async for one in site.jobs.audit(target=job["id"])]
    assert actions == ["jobs.cancel.ended", "jobs.cancel"]
