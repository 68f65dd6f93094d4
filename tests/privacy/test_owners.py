"""`export_owner` and `purge_owner` (users' wish 13): all that is kept of somebody, told and erased."""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from offpath import Context, Offpath, Retry
from offpath.app.acting import acting
from offpath.app.owners import Erased
from offpath.errors import ConfigurationError, Conflict
from offpath.privacy import Secret
from offpath.testing import drain
from tests.webhooks.place import House, receiving

pytestmark = pytest.mark.anyio
ANN, BOB = "canary-ann@example.org", "bob"
ONCE = Retry(max_attempts=1)
ROOT = Path(__file__).parents[2]


class Shop:
    def __init__(self, url: str, **settings: Any) -> None:
        self.jobs = Offpath(url, poll=0.05, **settings)
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.late: list[BaseException] = []

        @self.jobs.task(retry=ONCE)
        async def charge(ctx: Context, card: Secret[str], bad: bool = False) -> Secret[str]:
            async def ask() -> str:
                return f"for {ctx.principal and ctx.principal.id}"

            await ctx.step("ask", ask)
            if bad:
                raise ValueError("no")
            return card

        @self.jobs.task(retry=ONCE)
        async def stubborn(ctx: Context) -> str:
            """It does not stop when told to."""
            self.begun.set()
            while not self.gate.is_set():
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    asyncio.current_task().uncancel()  # type: ignore[union-attr]
            return ANN

        self.charge, self.stubborn = charge, stubborn


async def everything(url: str) -> str:
    """Every row of every table, as text; of SQLite, the file's bytes after VACUUM."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        with sqlite3.connect(path) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        with sqlite3.connect(path) as connection:
            connection.execute("vacuum")
            connection.execute("pragma wal_checkpoint(truncate)")
        return "".join(p.read_bytes().decode("latin-1") for p in path.parent.glob(path.name + "*"))
    server = await asyncpg.connect(url)
    try:
        tables = await server.fetch("select tablename from pg_tables where schemaname = 'public'")
        rows = [await server.fetch(f'select t::text as row from "{table["tablename"]}" t') for table in tables]
        return "\n".join(str(row["row"]) for some in rows for row in some)
    finally:
        await server.close()


async def filled(shop: Shop) -> None:
    """Jobs of ann and of bob that have ended, failed, and wait; a key; a flow; an idempotency record by hand."""
    for owner in (ANN, BOB):
        using = shop.charge.using(owner=owner, key=f"key-{owner}")
        await using.enqueue(card=f"card of {owner}")
        await shop.charge.using(owner=owner).enqueue(card="4242", bad=True)
        await shop.charge.call(card=owner).then(shop.charge).using(owner=owner).enqueue()
    await drain(shop.jobs)
    for owner in (ANN, BOB):
        await shop.charge.using(owner=owner, delay=3600).enqueue(card="later")
    with acting(ANN):
        async for info in shop.jobs.list(owner=ANN, state="failed"):
            await shop.jobs.retry(info.id)


async def told(jobs: Offpath, owner: str, **more: Any) -> list[dict[str, Any]]:
    return [row async for row in jobs.export_owner(owner, **more)]


async def test_all_of_an_owner_is_told_and_nothing_of_others(url: str) -> None:
    shop = Shop(url, secret_keys="k" * 32)
    shop.jobs.migrate()
    await filled(shop)
    rows = await told(shop.jobs, ANN)
    kinds = {row["kind"] for row in rows}
    assert {"job", "step", "audit", "attempt"} <= kinds
    jobs = [row for row in rows if row["kind"] == "job"]
    assert len({row["id"] for row in jobs}) == len(jobs) == 7  # a flow and its two parts among them
    assert json.loads(json.dumps(rows)) == rows
    assert not [row for row in jobs if row["task"] == "charge" and row["args"]["card"] != "Secret(…)"]
    assert f"card of {ANN}" in {
        row["args"].get("card") for row in await told(shop.jobs, ANN, secrets=True) if row["kind"] == "job"
    }
    assert "bob" not in json.dumps(rows)
    assert list(shop.jobs.export_owner_sync(ANN)) == rows
    assert await told(shop.jobs, ANN, tenant="acme") == []
    shop.jobs.close()


async def test_nothing_of_an_owner_is_left_in_any_table(url: str) -> None:
    shop = Shop(url)
    shop.jobs.migrate()
    await filled(shop)
    bobs = await told(shop.jobs, BOB)
    with pytest.raises(Conflict, match="have not ended"):
        await shop.jobs.purge_owner(ANN)
    assert "canary" in await everything(url)
    seen: list[Erased] = []
    with acting("dpo"):
        done = await shop.jobs.purge_owner(ANN, cancel=True, progress=seen.append)
    assert done == seen[-1]
    assert (done.counts["job"], "audit" in done.counts) == (7, False)
    assert done.counts["renamed"] >= 1, "a line of the audit log"
    assert "canary" not in await everything(url)
    assert await told(shop.jobs, ANN) == []
    assert await told(shop.jobs, BOB) == bobs
    [entry] = [entry async for entry in shop.jobs.audit(action="owner.purge")]
    assert (entry.actor, entry.data["rows"]) == ("dpo", done.counts)
    assert entry.target.startswith("erased:")
    assert shop.jobs.purge_owner_sync(ANN).total == 0
    shop.jobs.close()


async def test_a_late_worker_brings_nothing_back(url: str) -> None:
    """reliability I3: what is settled after the row is gone is stale, and writes nothing."""
    shop = Shop(url, cancel_grace=0.2)
    shop.jobs.migrate()
    job = await shop.stubborn.using(owner=ANN).enqueue()
    async with shop.jobs, shop.jobs.worker():
        await asyncio.wait_for(shop.begun.wait(), 30)
        await shop.jobs.purge_owner(ANN, cancel=True)
        shop.gate.set()
    shop = Shop(url)
    assert await told(shop.jobs, ANN) == []
    assert "canary" not in await everything(url)
    assert await shop.jobs._desk.find(job.id) is None
    shop.jobs.close()


async def test_what_is_interrupted_goes_on_where_it_was(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after kill -9 between two pages: each is a transaction, and the same call again finds what is left."""
    monkeypatch.setattr("offpath.app.owners.PAGE", 2)
    shop = Shop(url)
    shop.jobs.migrate()
    for n in range(9):
        await shop.charge.using(owner=ANN).enqueue(card=f"{n}")
    await drain(shop.jobs)

    class Killed(BaseException): ...

    def die(erased: Erased) -> None:
        if erased.counts["job"] >= 4:
            raise Killed

    with pytest.raises(Killed):
        await shop.jobs.purge_owner(ANN, progress=die)
    assert len([row for row in await told(shop.jobs, ANN) if row["kind"] == "job"]) == 5
    assert (await shop.jobs.purge_owner(ANN)).counts["job"] == 5
    assert "canary" not in await everything(url)
    shop.jobs.close()


async def test_a_purge_that_is_killed_goes_on_where_it_was(url: str) -> None:
    """kill -9 within a page, before its commit: that page is whole again, those before it are gone."""
    shop = Shop(url)
    shop.jobs.migrate()
    for n in range(9):
        await shop.charge.using(owner=ANN).enqueue(card=f"{n}")
    await drain(shop.jobs)
    shop.jobs.close()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.privacy.purger", url, ANN, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    try:
        assert await asyncio.wait_for(child.stdout.readline(), 60) == b"in the middle\n"
    finally:
        child.kill()
        await child.wait()
    shop = Shop(url)
    left = [row for row in await told(shop.jobs, ANN) if row["kind"] == "job"]
    assert len(left) == 5, "two pages of two are gone, the third is as it was"
    done = await asyncio.wait_for(shop.jobs.purge_owner(ANN), 60)
    assert done.counts["job"] == 5
    assert "canary" not in await everything(url)
    assert await told(shop.jobs, ANN) == []
    shop.jobs.close()


async def test_what_is_kept_beside_jobs_goes_too(url: str) -> None:
    """Operations with their keys and streams, endpoints, what was sent to them, letters, events on their way out."""
    site = House(url, callbacks=["*"])
    async with receiving() as inbox, site.jobs:
        site.jobs.migrate()
        for who in ("canary-cy@acme", "bob@acme"):
            async with site.client(who) as client:
                await site.endpoint(client, f"{inbox.url}/{who}")
                started = await client.post(
                    "/start",
                    params={"value": who, "callback": f"{inbox.url}/back/{who}"},
                    headers={"Idempotency-Key": f'"{who}"'},
                )
                assert started.status_code == 202, started.text
                await site.start(client, "/break")
        await site.drain()
        assert len(inbox.letters) >= 6
        async with site.client("canary-cy@acme") as client:
            await site.start(client, value="waits")
        assert "canary" in await everything(url)
        kinds = {row["kind"] for row in await told(site.jobs, "canary-cy", tenant="acme")}
        assert {"job", "operation", "event", "endpoint", "delivery", "sending", "idempotency"} <= kinds
        bobs = await told(site.jobs, "bob", tenant="acme")
        done = await site.jobs.purge_owner("canary-cy", tenant="acme", cancel=True)
        assert {"operation", "event", "endpoint", "delivery", "sending", "job"} <= done.counts.keys()
        assert await told(site.jobs, "canary-cy", tenant="acme") == []
        assert await told(site.jobs, "bob", tenant="acme") == bobs
        assert "canary" not in await everything(url)
        await site.drain()  # nothing that was erased is missed by a worker
        assert "canary" not in await everything(url)


def test_an_owner_is_named() -> None:
    with pytest.raises(ConfigurationError, match="owner must be text"):
        Offpath("sqlite:///x.db").purge_owner_sync("")
