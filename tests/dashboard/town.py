"""An application in which a lot goes on, and some of it wrong: what the dashboard looks like on such a day."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from math import sin
from pathlib import Path
from typing import Any

import httpx
import psycopg

from offpath import Backoff, Context, Limit, Retry, Schedule
from offpath.app.acting import acting
from offpath.core.ids import uuid7
from offpath.core.options import SECOND
from offpath.core.stats import MINUTE, Line
from offpath.core.workers import About
from offpath.ports.webhooks import EndpointRow
from offpath.tasks import all_of
from offpath.webhooks import rotation
from tests.dashboard.place import ONCE, Board
from tests.http.site import served
from tests.webhooks.place import Inbox, receiving

SECRET = "whsec_" + "A" * 32
CREATED = ("succeeded", "failed", "canceled")


@dataclass
class Town:
    """ids: of jobs and endpoints, by what they are an example of; base: the dashboard's URL, with its slash."""

    board: Board
    store: str
    base: str
    http: httpx.AsyncClient
    path: Path
    inbox: Inbox
    ids: dict[str, str] = field(default_factory=dict)

    async def acts(self, target: str) -> list[tuple[str, str]]:
        """(actor, action) of what was done to it, the first first."""
        return [(one.actor, one.action) async for one in self.board.jobs.audit(target=target)][::-1]

    async def state(self, id: str) -> str:
        job = await self.board.jobs.get(id)
        assert job is not None
        return str((await job.info()).state)

    async def ended(self, id: str) -> str:
        """Its last state."""
        async with asyncio.timeout(60):
            while (state := await self.state(id)) not in CREATED:  # noqa: ASYNC110 - another loop may end it
                await asyncio.sleep(0.02)
        return state

    @contextlib.contextmanager
    def beside(self) -> Iterator[Any]:
        """A connection of our own to the database, committed at the end."""
        url = self.board.jobs.settings.url
        opened = psycopg.connect(url) if self.store == "postgres" else contextlib.closing(sqlite3.connect(self.path))
        with opened as db, db:
            yield db


def tasks(board: Board) -> None:
    jobs = board.jobs

    @jobs.task(name="charge_card", queue="payments", retry=Retry(max_attempts=3, backoff=Backoff.fixed(0.05)))
    async def charge_card(order: int, amount: str) -> None:
        try:
            raise ConnectionResetError("the peer closed the connection")
        except ConnectionResetError as error:
            raise RuntimeError("payments.example did not answer the request for order 4711") from error

    @jobs.task(name="send_mail", queue="mail", limits=[Limit(concurrency=4)])
    async def send_mail(to: str) -> None: ...

    @jobs.task(name="render_report", limits=[Limit(rate=50, period=1.0)])
    async def render_report(period: str) -> dict[str, Any]:
        return {"url": f"/files/{period}.pdf", "pages": 12}

    @jobs.task(name="fetch_part", retry=ONCE)
    async def fetch_part(number: int) -> int:
        return number

    @jobs.task(name="publish", retry=ONCE)
    async def publish(parts: list[int]) -> int:
        return len(parts)

    @jobs.task(name="import_rows", retry=ONCE)
    async def import_rows(ctx: Context, to: int) -> int:
        for one in range(to):
            await ctx.progress(one + 1, of=to, unit="rows", message="products.csv")
            await asyncio.sleep(0.02)
        return to

    jobs.alert("mail is late", queue="mail", age=300)
    jobs.alert("many dead letters", dead_letters=3, within=timedelta(hours=1))


async def people(town: Town) -> None:
    """Workers, schedules, queues and endpoints that are in trouble."""
    board, store = town.board, town.board.jobs.store
    now = store.now()
    task = board.task
    await board.jobs.schedules.put("nightly report", Schedule.cron("0 3 * * *"), task("render_report").call("2026-11"))
    await board.jobs.schedules.put("paused cleanup", Schedule.every(timedelta(minutes=15)), task("send_mail").call("a"))
    await board.jobs.schedules.put("late import", Schedule.every(timedelta(hours=1)), task("fetch_part").call(1))
    with acting("keeper"):
        await board.jobs.schedules.pause("paused cleanup")
    lease = store.lease()
    for name, seconds in (("web-1:4021", 3600.0), ("web-2:977", 0.001)):
        id = uuid7(now - 90 * 60 * SECOND, name.encode()[:10].ljust(10, b"0"))
        lease.register(id, seconds, json.dumps(["send_mail@1", "charge_card@1", "render_report@1"]), name)
        about = About(name.partition(":")[0], int(name.partition(":")[2]), now - 90 * 60 * SECOND, 8, None, "0.1", 15.0)
        await store.perform(store.verbs.describe_worker(id, about.text(), '{"mail": 2}' if "1:" in name else "{}"))
    await asyncio.sleep(0.01)  # until the lease of the second is over
    lease.judge()
    lease.close()
    ends = (("acme", f"{town.inbox.url}/acme", None), ("globex", "https://hooks.globex.example/in", "failing"))
    for tenant, url, reason in ends:
        since = None if reason is None else now - 7200 * SECOND
        row = EndpointRow(
            id=uuid7(now, tenant.encode().ljust(10, b"0")), tenant=tenant, owner="alice", url=url,
            description=f"the CRM of {tenant}", events='["operation.succeeded", "operation.failed"]',
            secrets=rotation.sealed(SECRET, board.webhooks.vault), headers=None, enabled=reason is None, reason=reason,
            failing_since=since, not_before=None, width=4, created_at=now, updated_at=now,
        )  # fmt: skip
        assert await store.perform(store.verbs.add_endpoint(row, 20))
        town.ids["endpoint" if reason is None else "disabled"] = row.id
    with town.beside() as db:
        db.execute(f"update offpath_schedule set next_at = {now - 7200 * SECOND} where name = 'late import'")
        late = f"('mail is late', 1, {now - 900 * SECOND}, {1265 * SECOND})"
        db.execute(f"insert into offpath_alert (name, seq, raised_at, value) values {late}")


async def history(town: Town) -> None:
    """An hour of charts."""
    store = town.board.jobs.store
    first = (store.now() // MINUTE - 58) * MINUTE
    lines, samples = [], []
    for minute in range(58):
        much = int(60 + 40 * sin(minute / 9))
        bad = 14 if 40 < minute < 47 else minute % 3
        spread = {28: much // 2, 33: much // 3, 37 + minute % 3: much // 6}
        at, ran = first + minute * MINUTE, {one + 4: many for one, many in spread.items()}
        busy = much * SECOND
        lines.append(Line(at, "default", "render_report", much, bad, 1, bad * 2, busy, busy, spread, ran))
        age = max(0, minute - 38) * 20 * SECOND
        samples.append((at, [("default", max(0, minute * 2 - 70), 4 + minute % 3, age)]))
    await store.perform(store.verbs.count_ended("past", lines))
    for at, queues in samples:
        await store.perform(store.verbs.take_sample(at, queues))


async def jobs_of(town: Town) -> None:
    board = town.board
    task = board.task
    for number in range(12):
        await task("render_report").using(owner=f"user-{number % 3}").enqueue(f"2026-{number + 1:02}")
    for number in range(4):
        job = (
            await task("charge_card")
            .using(key=f"order-{4711 + number}", owner="user-1")
            .enqueue(4711 + number, "19.90")
        )
        town.ids["failed"] = job.id
    publish: Any = task("publish")
    flow: Any = all_of(*(task("fetch_part").call(number) for number in range(4))).then(publish)
    flow = flow.then(task("counts").call(3))
    town.ids["flow"] = (await flow.enqueue()).id
    answer = await town.http.post("/work/import_rows", params={"label": "catalogue"}, json={"to": 3})
    assert answer.status_code == 202, answer.text
    town.ids["watched"] = answer.headers["location"].rpartition("/")[2]
    for id in ("failed", "flow", "watched"):
        await town.ended(town.ids[id])
    with acting("keeper"):
        await board.jobs.queues.pause("mail", reason="the SMTP relay is down, ticket OPS-311")
    for number in range(6):
        await task("send_mail").enqueue(f"customer-{number}@example.org")
    await task("render_report").using(delay=timedelta(hours=5)).enqueue("2027-01")
    with contextlib.suppress(Exception):
        await board.jobs.cancel((await task("render_report").using(delay=timedelta(hours=5)).enqueue("x")).id)


@contextlib.asynccontextmanager
async def town(store: str, url: str, folder: Path) -> AsyncIterator[Town]:
    """store: "sqlite", for which url is "", or "postgres"."""
    board = Board(folder, url)
    tasks(board)
    await asyncio.to_thread(board.jobs.migrate)
    async with (
        receiving() as inbox,
        served(board.api) as base,
        httpx.AsyncClient(base_url=base, headers={"Authorization": "Bearer keeper"}) as http,
    ):
        made = Town(board, store, f"{base}/dashboard/", http, folder / "board.db", inbox)
        async with board.jobs.worker():
            await jobs_of(made)
        await people(made)  # no worker is there to put it right
        await history(made)
        yield made
    board.jobs.close()
