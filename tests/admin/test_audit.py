"""I30: each change made by somebody is one line in the audit log, with their name, in the same transaction."""

import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from offpath import Schedule
from offpath.app.acting import acting
from offpath.core.audit import ACTIONS
from offpath.errors import ConfigurationError, Conflict, StoreError
from offpath.ports import Statement, Verb
from tests.admin.place import MAY
from tests.http.site import BOTH, Hand, Site, beside

pytestmark = pytest.mark.anyio

Deed = Callable[[Site, str], Awaitable[Any]]
"""Something done, to the job with this id where it is about one."""


async def log(site: Site, **where: Any) -> list[tuple[str, str, str]]:
    return [(one.actor, one.action, one.target) async for one in site.jobs.audit(**where)]


async def _schedule(site: Site) -> None:
    await site.jobs.schedules.put("nightly", Schedule.cron("0 3 * * *"), site.echo.call(1))


DEEDS: dict[str, tuple[Deed, str]] = {
    "job.cancel": (lambda site, id: site.jobs.cancel(id, "no"), "live"),
    "job.retry": (lambda site, id: site.jobs.retry(id), "ended"),
    "job.delete": (lambda site, id: site.jobs.delete(id), "ended"),
    "queue.pause": (lambda site, id: site.jobs.queues.pause("mail", reason="a deploy"), ""),
    "queue.drain": (lambda site, id: site.jobs.queues.drain("mail", timeout=5), ""),
    "queue.resume": (lambda site, id: site.jobs.queues.resume("mail"), "paused"),
    "schedule.put": (lambda site, id: _schedule(site), ""),
    "schedule.pause": (lambda site, id: _awaited(site.jobs.schedules.pause("nightly")), "scheduled"),
    "schedule.resume": (lambda site, id: _awaited(site.jobs.schedules.resume("nightly")), "resting"),
    "schedule.run": (lambda site, id: _awaited(site.jobs.schedules.run_now("nightly")), "scheduled"),
    "schedule.delete": (lambda site, id: _awaited(site.jobs.schedules.delete("nightly")), "scheduled"),
}


async def _awaited(pending: Any) -> Any:
    return await pending


async def begin(site: Site, state: str) -> str:
    """What there is before: by nobody in particular, so that the log knows nothing of it."""
    job = await site.echo.enqueue(1)
    if state == "ended":
        await job.cancel()
    if state == "paused":
        await site.jobs.queues.pause("mail")
    if state in ("scheduled", "resting"):
        await _schedule(site)
    if state == "resting":
        await site.jobs.schedules.pause("nightly")
    assert await log(site) == []
    return str(job.id)


@BOTH
@pytest.mark.parametrize("action", DEEDS)
async def test_i30_each_change_is_one_line(site: Site, action: str) -> None:
    do, state = DEEDS[action]
    id = await begin(site, state)
    with acting("ann"):
        await do(site, id)
    target = {"job": id, "queue": "mail", "schedule": "nightly"}[action.partition(".")[0]]
    assert await log(site) == [("ann", action, target)]


@BOTH
@pytest.mark.parametrize("action", DEEDS)
async def test_i30_neither_without_the_other(site: Site, action: str) -> None:
    """The log cannot be written: nothing is changed, and whoever asked is told."""
    do, state = DEEDS[action]
    id = await begin(site, state)
    refuse = (
        "create function refuse() returns trigger language plpgsql as 'begin raise exception ''full''; end'; "
        "create trigger refuse before insert on offpath_audit for each row execute function refuse()"
        if site.url
        else "create trigger refuse before insert on offpath_audit begin select raise(abort, 'full'); end"
    )
    with beside(site) as db:
        db.execute(refuse)
        before = everything(db)
    with acting("ann"), pytest.raises((StoreError, sqlite3.Error, psycopg.Error)):
        await do(site, id)
    with beside(site) as db:
        assert everything(db) == before


def everything(db: Any) -> list[Any]:
    tables = ("job", "history", "operation", "event", "queue", "schedule", "audit")
    return [sorted(db.execute(f"select * from offpath_{name}").fetchall(), key=repr) for name in tables]


@BOTH
async def test_i30_what_changes_nothing_is_no_line(site: Site, worker: Hand) -> None:
    done = await site.echo.enqueue(1)
    await worker.done(await worker.claim())
    asked = await site.echo.enqueue(2)
    await worker.claim()
    await asked.cancel()
    live = await site.echo.enqueue(3)
    keyed = site.echo.using(queue="keyed", key="one at a time")
    await (await keyed.enqueue(4)).cancel()
    await keyed.enqueue(5)
    await _schedule(site)
    with acting("ann"):
        await site.jobs.cancel(done.id)
        await site.jobs.cancel(asked.id)
        with pytest.raises(Conflict):
            await site.jobs.retry(live.id)
        with pytest.raises(Conflict):
            await site.jobs.delete(live.id)
        await site.jobs.queues.resume("mail")
        await site.jobs.schedules.resume("nightly")
        await _schedule(site)
        for none in (site.jobs.cancel_many, site.jobs.retry_many, site.jobs.delete_many):
            assert (await none(queue="nobody's")).done == 0
        assert (await site.jobs.retry_many(queue="keyed", state="canceled")) == (0, 1, 1)
    assert await log(site) == []


async def test_what_nobody_in_particular_does_is_not_recorded(site: Site) -> None:
    job = await site.echo.enqueue(1)
    await job.cancel()
    with acting("ann"):
        pass
    await site.jobs.delete(job.id)
    assert await log(site) == []


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", None])
def test_an_actor_has_a_name(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="actor"), acting(name):
        pass


@BOTH
async def test_many_are_two_lines_the_first_with_the_first_page(site: Site) -> None:
    await site.jobs.enqueue_many([site.echo.using(queue="mail").call(n) for n in range(3)])
    with acting("ann"):
        bulk = site.jobs.cancel_many(queue="mail", reason="wrong", older_than=timedelta(0))
        async for _ in bulk:
            assert await log(site) == [("ann", "jobs.cancel", "")]
        await site.jobs.retry_many(state="canceled", max_attempts=2)
        await site.jobs.delete_many(state="canceled")
        await site.jobs.dead_letters.retry()
    end, begun, *others = [one async for one in site.jobs.audit()][-1:-7:-1][::-1][-2:]
    assert others == []
    assert begun.data == {"filter": {"queue": "mail", "older_than": 0.0}, "reason": "wrong"}
    assert (end.action, end.data["done"], end.data["skipped"]) == ("jobs.cancel.ended", 3, 0)
    assert [action for _, action, _ in await log(site)] == [
        *("jobs.delete.ended", "jobs.delete"),  # no dead letter was run again: that is no line
        *("jobs.retry.ended", "jobs.retry", "jobs.cancel.ended", "jobs.cancel"),
    ]


@BOTH
async def test_the_log_is_read_by_pages_and_parts(site: Site) -> None:
    for n in range(3):
        with acting(f"ann{n % 2}"):
            await site.jobs.queues.pause("mail", reason=str(n))
    assert [one.data["reason"] async for one in site.jobs.audit()] == ["2", "1", "0"]
    assert [one.data["reason"] async for one in site.jobs.audit(actor="ann0", limit=1)] == ["2"]
    newest = next(site.jobs.audit_sync())
    assert [one.data["reason"] for one in site.jobs.audit_sync(after=newest.id)] == ["1", "0"]
    assert (newest.at.tzinfo, newest.action, newest.target) == (newest.at.tzinfo, "queue.pause", "mail")
    with pytest.raises(ConfigurationError, match="an action is one of"):
        site.jobs.audit(action="queue.paus")
    with pytest.raises(ConfigurationError, match="after wants the id"):
        site.jobs.audit_sync(after="x")


@BOTH
async def test_the_log_over_http(site: Site) -> None:
    """Every unsafe route writes the caller's name; pages and filters are as of jobs."""
    async with site.client("writer") as writer:
        ids = [(await site.echo.enqueue(n)).id for n in range(3)]
        for id in ids:
            await writer.post(f"/admin/jobs/{id}/cancel", json={"reason": "late"})
        page = (await writer.get("/admin/audit?limit=2")).json()
        rest = (await writer.get(f"/admin/audit?limit=2&cursor={page['next_cursor']}")).json()
        assert [one["target"] for one in page["items"] + rest["items"]] == ids[::-1]
        assert "next_cursor" not in rest
        [one] = (await writer.get(f"/admin/audit?target={ids[1]}&actor=writer&action=job.cancel")).json()["items"]
        assert one["data"] == {"reason": "late", "state": "canceled", "task": "echo"}
        assert one["said"] == ACTIONS["job.cancel"]
        assert (await writer.get("/admin/audit?actor=root")).json() == {"items": []}


async def test_a_caller_of_any_name_has_one_in_the_log(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = "x" * 300 + "\x7f"
    monkeypatch.setitem(MAY, odd[:300], MAY["root"])
    job = await site.echo.enqueue(1)
    async with site.client(odd[:300]) as client:
        assert (await client.post(f"/admin/jobs/{job.id}/cancel")).status_code == 200
    assert await log(site) == [("x" * 255, "job.cancel", job.id)]


@BOTH
async def test_whose_values_are_looked_at_is_written_or_nobody_looks(site: Site) -> None:
    job = await site.echo.enqueue("s3cret-value")

    def drop() -> Verb[None]:
        yield Statement("alter table offpath_audit rename to elsewhere", {}, lambda rows: None)

    await site.jobs.store.perform(drop())
    async with site.client("nosy") as nosy:
        answer: httpx.Response = await nosy.get(f"/admin/jobs/{job.id}?arguments=true")
        assert answer.status_code >= 500
        assert "s3cret-value" not in answer.text
