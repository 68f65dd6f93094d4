"""What users write, under mypy --strict and pyright. `test_typing.py` wants no complaint about this file."""

from asyncio import gather
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, TypedDict, assert_type

from fastapi import Depends, FastAPI

from offpath import Backoff, Call, Context, Job, Offpath, Queue, Retry, Schedule, provided
from offpath.client import AsyncClient, AsyncRemoteOperation, Client, Event, Progress, RemoteOperation
from offpath.cloudevents import CloudEvent
from offpath.privacy import Secret
from offpath.tasks import AttemptInfo, EventType, Failure, Flow, FlowInfo, JobInfo, all_of, any_of
from offpath.testing import assert_enqueued, crash_everywhere, drain, enqueued, isolated, moved_clock, run_inline

jobs = Offpath("sqlite:///app.db", queues=[Queue("mail", priority=1, weight=6)], lease=10, retention=timedelta(days=1))


class Pool: ...


class Session: ...


@dataclass
class Deps:
    pool: Pool


@dataclass
class Report:
    url: str


@jobs.provider
def pool() -> Iterator[Pool]:
    yield Pool()


@jobs.provider(lifetime="attempt")
async def deps(pool: Pool) -> AsyncIterator[Deps]:
    yield Deps(pool)


def get_session() -> Session:
    return Session()


@jobs.task
async def send_email(to: str, template: str) -> None: ...


@jobs.task
def resize(image: str, width: int = 100) -> str:
    return image


@jobs.task(
    queue="mail", retry=Retry(max_attempts=5, backoff=Backoff.exponential(first=1)), timeout=timedelta(minutes=1)
)
async def render(ctx: Context, period: str) -> Report:
    written: bool = await ctx.progress(1, of=3, unit="pages", message="rendering")
    ctx.progress(2)  # need not be awaited
    told: bool = await ctx.events.emit("rendered", {"page": written})
    ctx.events.emit("done")
    return Report(ctx.job + str(told))


async def pay(order: int, cents: int = 1) -> Report:
    return Report(str(order))


def post(to: str) -> int:
    return len(to)


@jobs.task
async def in_steps(ctx: Context, order: int) -> None:
    assert_type(await ctx.step("pay", pay, order, cents=2), Report)
    assert_type(await ctx.step("pay again", pay, order, version=2), Report)
    assert_type(await ctx.step("post", post, "a"), int)
    assert_type(await ctx.step("post again", post, "a", version=2), int)
    assert_type(await ctx.step("mail", send_email, to="a", template="b"), None)
    assert_type(await ctx.step("now", lambda: 3), int)
    assert_type(await ctx.step("later", lambda: pay(order)), Report)


@jobs.task
def in_plain_steps(ctx: Context[Deps], order: int) -> int:
    assert_type(ctx.step("pay", pay, order).result(), Report)
    return ctx.step("post", post, to="a").result()


@jobs.task(timeout=None, delivery="at_most_once")
def charge(ctx: Context[Deps], cents: int) -> int:
    assert_type(ctx.deps.pool, Pool)
    return cents


@jobs.task(keep_result=False)
async def refresh(
    user: int, pool: Pool = provided(), session: Annotated[Session, Depends(get_session)] = provided()
) -> None:
    assert_type(pool, Pool)
    assert_type(session, Session)


@jobs.hook("exhausted")
async def alert(attempt: AttemptInfo) -> None: ...


@send_email.hook("before")
def log(attempt: AttemptInfo) -> None: ...


async def enqueueing(session: object) -> None:
    assert_type(await send_email.enqueue("a@example.org", template="welcome"), Job[None])
    assert_type(await resize.enqueue("a.png", width=3), Job[str])
    assert_type(await render.enqueue(period="2026"), Job[Report])
    assert_type(charge.enqueue_sync(100), Job[int])
    assert_type(await (await render.enqueue("2026")).result(timeout=3), Report)
    assert_type((await refresh.enqueue(3)).id, str)
    later = send_email.using(tx=session, delay=timedelta(hours=24), key="welcome:42", queue="low", priority=2)
    assert_type(await later.enqueue(to="a", template="b"), Job[None])
    await send_email.using(run_at=datetime.now(UTC), deadline=60, timeout=None, retry=Retry()).enqueue("a", "b")
    assert_type(render.call(period="x"), Call[Report])
    assert_type(await render.enqueue_many([render.call("a"), render.call(period="b")]), list[Job[Report]])
    assert_type(await jobs.enqueue_many([render.call("a"), send_email.call("a", "b")]), list[Job[Any]])


async def here_and_now() -> None:
    assert_type(await send_email("a", "b"), None)
    assert_type(resize("a.png"), str)
    assert_type(await render(period="x"), Report)
    assert_type(charge(100), int)


async def handling() -> None:
    job = await jobs.get("01890a5d-ac96-774b-bcce-b302099a8057")
    assert_type(await job.info(), JobInfo)
    assert_type(await jobs.cancel(job.id), JobInfo)
    assert_type(jobs.retry_sync(job.id), Job[Any])
    async with jobs:
        names: list[str] = await jobs.migrate()
        print(names)


@asynccontextmanager
async def own(app: FastAPI) -> AsyncIterator[None]:
    async with jobs.lifespan(app):
        yield


api = FastAPI(lifespan=jobs.lifespan)
api = FastAPI(lifespan=jobs.lifespan(worker=True, wrap=own))


async def testing() -> None:
    with isolated(jobs), run_inline(jobs) as inline:
        inline.all_found()
    assert_type(assert_enqueued(jobs, send_email, to="a").args, dict[str, Any])
    assert_type(await drain(jobs), dict[str, int])
    enqueued(jobs, render)
    with moved_clock(jobs) as clock:
        assert_type(clock.advance(timedelta(days=1)), datetime)
    async for crash in crash_everywhere(jobs):
        assert_type(await crash.drain(), dict[str, int])
        assert_type(crash.point, str)
    for crash in crash_everywhere(jobs):
        crash.drain_sync()


def following(client: Client) -> None:
    assert_type(client.start("POST", "/reports", json={"period": "x"}, result=Report), RemoteOperation[Report])
    assert_type(client.start("POST", "/reports", prefer_wait=2, key=False), RemoteOperation[Any])
    assert_type(client.start("POST", "/reports", result=Report).result(timeout=3), Report)
    operation = client.operation("42", result=list[Report])
    assert_type(operation.refresh().cancel(reason="late").result(), list[Report])
    assert_type(operation.progress, Progress | None)
    for event in operation.events(after="7"):
        assert_type(event, Event)
    for one in client.operations(status="running", limit=100):
        assert_type(one, RemoteOperation[Any])
        one.delete()


async def following_too() -> None:
    async with AsyncClient("https://api.example.org", headers={"Authorization": "x"}) as client:
        assert_type(await client.start("POST", "/reports", result=Report), AsyncRemoteOperation[Report])
        assert_type(await client.operation("42", result=Report).result(), Report)
        async for event in client.operation("42").events():
            assert_type(event, Event)
        async for one in client.operations():
            assert_type(await one.cancel(), AsyncRemoteOperation[Any])


@jobs.batch(size=100, wait=0.5, queue="mail", retry=Retry(max_attempts=5))
async def index(docs: list[Report]) -> None: ...


@jobs.batch()
def measure(ctx: Context, images: list[str], pool: Pool = provided()) -> list[int | Exception]:
    assert_type(pool, Pool)
    return [ValueError(image) if ctx.each[n].canceled else len(image) for n, image in enumerate(images)]


@jobs.batch(wait=timedelta(seconds=1))
async def translate(texts: list[str]) -> list[str]:
    return texts


@jobs.batch()
async def fetch(urls: list[str]) -> list[str | BaseException]:
    return await gather(*(translated(url) for url in urls), return_exceptions=True)


async def translated(text: str) -> str:
    return text


async def batches() -> None:
    assert_type(await fetch.enqueue("a"), Job[str])
    indexed = await index.using(key="report:1", latest=True).enqueue(Report(""))
    assert_type(indexed, Job[None])
    assert_type(await measure.enqueue("a.png"), Job[int])
    assert_type(translate.enqueue_sync("Hallo"), Job[str])
    made = await translate.enqueue_many([translate.call("Hallo"), translate.call("Welt")])
    assert_type(made, list[Job[str]])
    await index([Report("")])
    await translate(["Hallo"])
    measure(["a.png"])
    await send_email.using(key="user:42", debounce=5, max_wait=timedelta(minutes=1)).enqueue(to="", template="")
    send_email.using(key="user:42", throttle=60).enqueue_sync(to="", template="")


@jobs.schedule(
    "clean", Schedule.cron("0 8 * * *", zone="Europe/Berlin", overlap="queue", catch_up=5, late=timedelta(hours=1))
)
@jobs.task
async def clean(ctx: Context) -> datetime | None:
    return ctx.tick


@jobs.every(seconds=60, queue="mail")
async def sync() -> int:
    return 5


jobs.schedule("mail", Schedule.at(time(8), time(20), zone="UTC", jitter=5), send_email.call("a", template="b"))


async def scheduling() -> None:
    assert_type(await clean.enqueue(), Job[datetime | None])
    assert_type(await sync(), int)
    info = await jobs.schedules.put("x", Schedule.every(timedelta(minutes=5), at_once=True), resize.call("y"))
    assert_type(info.next_at, datetime | None)
    assert_type(await jobs.schedules.explain("x", n=3), list[datetime])
    assert_type(jobs.schedules.pause("x").result().paused, bool)
    assert_type(await jobs.schedules.run_now("x"), Job[Any])
    for one in await jobs.schedules.list():
        assert_type(one.schedule, Schedule)


@jobs.task
async def publish(ctx: Context, report: Report, to: str = "") -> int:
    return 1


@jobs.task
def names() -> list[str]:
    return []


@jobs.task
def joined(images: list[str]) -> int:
    return 1


@jobs.task
def told(failure: Failure, tag: str) -> None: ...


@jobs.task
def either(n: int | Failure) -> str:
    return ""


async def flows() -> None:
    assert_type(render.call("x").then(publish), Flow[int])
    assert_type(render.call("x").then(publish, to="a"), Flow[int])
    assert_type(resize.call("x").then(resize, width=3), Flow[str])
    assert_type(resize.call("x").then(render.call("y")), Flow[Report])
    assert_type(all_of(resize.call("a"), resize.call("b")).then(joined), Flow[int])
    assert_type(all_of(resize.call(i) for i in "abc"), Flow[list[str]])
    assert_type(any_of(resize.call("a"), resize.call("b")), Flow[str])
    assert_type(names.call().then_each(resize, width=1).then(joined), Flow[int])
    assert_type(names.call().then_each(resize).catch(told, tag="a"), Flow[list[str]])
    assert_type(joined.call([]).settled().then(either), Flow[str])
    assert_type(resize.call("a").then(resize).giving(render.call("a")), Flow[Report])
    assert_type(await resize.call("x").then(resize).enqueue(), Job[str])
    assert_type(resize.call("x").then(resize).using(key="a", deadline=3).enqueue_sync(), Job[str])
    assert_type(resize.call("x").then(render.using(queue="low")), Flow[Report])
    assert_type(await jobs.flow("x"), FlowInfo)


class Renamed(TypedDict):
    id: int
    name: str


renamed = jobs.event("com.example.renamed.v1", data=Renamed, topic="organizations")
ping = jobs.event("com.example.ping.v1")


@jobs.on(renamed)
async def follow(event: CloudEvent[Renamed]) -> str:
    return event.data["name"]


@jobs.on("com.example.renamed.v1", group="others", ordered=True, priority=3)
def tidy(ctx: Context, event: CloudEvent[dict[str, int]]) -> int:
    return event.data["id"]


@jobs.on(ping, topic="pings")
@jobs.task(queue="low")
async def pong(event: CloudEvent[None], louder: bool = False) -> str:
    return event.type


@jobs.on(queue="renames")
def rename(id: int, name: str) -> bool:
    return True


async def events() -> None:
    assert_type(await pong.enqueue(ping()), Job[str])
    assert_type(rename.enqueue_sync(id=1, name="b"), Job[bool])
    assert_type(renamed, EventType[Renamed])
    event = renamed({"id": 1, "name": "b"}, subject="organizations/1", partitionkey="org:1", extensions={"n": 1})
    assert_type(event, CloudEvent[Renamed])
    assert_type(ping(), CloudEvent[None])
    assert_type(await jobs.publish(event, to="other"), Job[None])
    assert_type(await jobs.publish_many([ping(), event]), list[Job[None]])
    assert_type(CloudEvent(type="a", data=3), CloudEvent[int])
    assert_type(await follow(event), str)
    assert_type(await follow.enqueue(event), Job[str])
    assert_type(await tidy.enqueue(CloudEvent(type="a", data={"id": 1})), Job[int])


@jobs.task
async def pay_by_card(card: Secret[str], pins: list[Secret[int]], more: Secret[str] | None = None) -> Secret[str]:
    assert_type(card.reveal(), str)
    assert_type(pins[0].reveal(), int)
    return card


async def paid() -> None:
    job = await pay_by_card.enqueue(card="4242", pins=[1])
    assert_type((await job.result()).reveal(), str)
    await pay_by_card.enqueue(card=Secret.of("4242"), pins=[Secret.of(1)], more="x")
    async for row in jobs.export_owner("ann", tenant="acme"):
        assert_type(row, dict[str, Any])
    (await jobs.purge_owner("ann", cancel=True)).counts.get("job", 0)
