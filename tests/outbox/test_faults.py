"""The broker goes away, the worker dies: nothing is lost, and events of a key stay in order."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offpath import Offpath
from offpath.engine import outbox, post
from offpath.engine.post import Away, Post
from offpath.errors import BrokerRefused, BrokerUnavailable, Snooze
from offpath.ports import Broker, Consumer, Message, Outgoing, Source
from servers.proxy import Proxy
from servers.redis import Redis
from tests.nursery import OFFPATH, Child, nursery

from .kit import SOON, Make, backlog, event, reading, until

pytestmark = [pytest.mark.anyio, pytest.mark.servers("redis")]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(redis_url) as one:
        yield one


async def none_left(jobs: Offpath) -> bool:
    return await backlog(jobs) == 0


async def test_evt_11_while_the_broker_is_away_events_wait_and_then_come_in_order(
    make: Make, proxy: Proxy, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "offpath.broker")
    jobs, reader = make(proxy.url), make(redis_url)
    keys = ("a", "b", "c")
    async with jobs, reading(reader, jobs.settings.topic) as read, jobs.worker():
        first = await jobs.publish_many([event(0, key) for key in keys])
        for one in first:
            await one.result(timeout=SOON)
        proxy.cut()
        made = [await jobs.publish(event(n, key)) for n in range(1, 20) for key in keys]
        await until(lambda: _told(caplog, "broker.failed"))
        waiting = await made[0].info()
        assert waiting.attempt == 1
        assert waiting.state in ("ready", "scheduled", "running")
        proxy.restore()
        for one in made:
            await one.result(timeout=SOON)
        arrived = await read(60)
    assert {key: arrived.numbers(key) for key in keys} == {key: list(range(20)) for key in keys}
    failed = [record for record in caplog.records if "broker.failed" in record.message]
    restored = [record for record in caplog.records if "broker.restored" in record.message]
    assert len(failed) == len(restored) == 1
    reader.close()


async def _told(caplog: pytest.LogCaptureFixture, name: str) -> bool:
    return name in caplog.text


async def test_cuts_in_the_middle_lose_and_reorder_nothing(make: Make, proxy: Proxy, redis_url: str) -> None:
    jobs, other, reader = make(proxy.url), make(proxy.url), make(redis_url)
    keys = [f"key {n}" for n in range(4)]

    async def tell(key: str) -> None:
        for n in range(25):
            await (jobs, other)[n % 2].publish(event(n, key))

    async def cut() -> None:
        for _ in range(6):
            before = await backlog(jobs)
            await until(lambda before=before: _other(jobs, before))  # type: ignore[misc]
            proxy.cut()
            proxy.restore()

    async with jobs, other, reading(reader, jobs.settings.topic) as read, jobs.worker(), other.worker():
        cutting = asyncio.create_task(cut())
        await asyncio.gather(*(tell(key) for key in keys))
        cutting.cancel()
        await until(lambda: none_left(jobs))
        arrived = await read(100)
    assert {key: arrived.numbers(key) for key in keys} == {key: list(range(25)) for key in keys}
    reader.close()


async def _other(jobs: Offpath, than: int) -> bool:
    return await backlog(jobs) != than


async def test_a_broker_that_does_not_answer_is_away(
    make: Make, proxy: Proxy, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is up and nothing comes: what was sent is sent again."""
    monkeypatch.setattr(post, "PATIENCE", 0.3)
    monkeypatch.setattr(post, "EACH", 0.0)
    jobs, reader = make(proxy.url), make(redis_url)
    async with jobs, reading(reader, jobs.settings.topic) as read, jobs.worker():
        await (await jobs.publish(event(0))).result(timeout=SOON)
        proxy.deaf()
        late = await jobs.publish(event(1))
        await until(lambda: _snoozed(late))
        proxy.restore()
        await late.result(timeout=SOON)
        assert (await read(2)).numbers() == [0, 1]
    reader.close()


async def _snoozed(job: object) -> bool:
    return bool((await job.info()).state == "scheduled")  # type: ignore[attr-defined]


async def test_a_worker_that_is_killed_between_send_and_confirmation_is_replaced(
    make: Make, url: str, redis_url: str, tmp_path: Path
) -> None:
    """Sent twice, under the same id; never skipped."""
    await replaced(make, url, redis_url, tmp_path, signal.SIGKILL)


@pytest.mark.parametrize("url", [pytest.param("postgres", marks=pytest.mark.servers("postgres"))], indirect=True)
async def test_postgres_a_worker_that_stalls_between_send_and_confirmation_is_replaced(
    make: Make, url: str, redis_url: str, tmp_path: Path
) -> None:
    """It finds nothing to do when it wakes, and takes nothing from others. (On SQLite a process that stands still may
    have the one lock there is.)"""
    await replaced(make, url, redis_url, tmp_path, signal.SIGSTOP)


async def replaced(make: Make, url: str, redis_url: str, tmp_path: Path, number: signal.Signals) -> None:
    jobs = make(lease=1)
    note = tmp_path / "note"
    async with jobs, reading(jobs, jobs.settings.topic) as read:
        made = await jobs.publish_many([event(n) for n in range(5)])
        with worker(url, redis_url, jobs.settings.topic, note, number) as process:
            await until(lambda: _sent(note))
            later = await jobs.publish_many([event(n) for n in range(5, 8)])
            async with jobs.worker():
                for job in made + later:
                    await job.result(timeout=SOON)
                if number == signal.SIGSTOP:
                    process.send_signal(signal.SIGCONT)
                    await (await jobs.publish(event(8))).result(timeout=SOON)
                    process.send_signal(signal.SIGTERM)
                    await asyncio.to_thread(process.wait, SOON)
                await until(lambda: none_left(jobs))
        count = 9 if number == signal.SIGSTOP else 8
        arrived = await read(count + 5)
    assert arrived.numbers() == list(range(count))
    ids = [one.id for one in arrived.events]
    assert [ids.count(one) for one in ids[:5]] == [2] * 5


async def _sent(note: Path) -> bool:
    return note.exists()


@contextlib.contextmanager
def worker(url: str, broker: str, topic: str, note: Path, number: signal.Signals) -> Iterator[Child]:
    said = {"DATABASE": url, "BROKER": broker, "TOPIC": topic, "NOTE": str(note), "SIGNAL": str(int(number))}
    env = {**os.environ, "PYTHONPATH": str(ROOT), **{f"OUTBOX_{name}": value for name, value in said.items()}}
    words, nowhere = ["-m", "offpath", "--app", "tests.outbox.mortal:jobs", "worker"], Path(os.devnull)
    process = nursery(*OFFPATH).start(words, ROOT, env, nowhere, nowhere)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# -- what brokers do that ours do not: a client with a defect ----------------------------------------------------------


class Odd(Broker):
    """A broker whose client has a defect: it raises for some messages what nobody expects."""

    kind = "redis"

    def __init__(self, bad: tuple[bytes, ...] = (), *, always: bool = False) -> None:
        self.sent: list[bytes] = []
        self.bad, self.always = bad, always
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def publish(self, outgoing: "list[Outgoing] | tuple[Outgoing, ...]") -> list[BrokerRefused | None]:  # type: ignore[override]
        if self.always or any(one.message.body in self.bad for one in outgoing):
            raise TypeError("a defect")
        self.sent += [one.message.body for one in outgoing]
        return [None] * len(outgoing)

    async def consume(self, source: Source) -> Consumer:
        raise AssertionError("nobody consumes here")

    async def close(self) -> None:
        self.closed += 1


def row(n: int) -> outbox.OutboxRow:
    return outbox.OutboxRow(n, str(n), "job", "k", "t", "", False, True, str(n), True)


async def test_a_message_that_the_client_fails_at_is_taken_out_alone() -> None:
    odd = Odd((b"1",))
    publisher = outbox.Publisher(None, Post("redis", lambda: odd), "job")  # type: ignore[arg-type]
    said = await publisher._sent([row(n) for n in range(4)])
    assert [type(one) for one in said] == [type(None), TypeError, type(None), type(None)]
    assert odd.sent == [b"0", b"2", b"3"]


async def test_a_client_that_fails_at_all_of_them_is_begun_anew() -> None:
    odd = Odd(always=True)
    publisher = outbox.Publisher(None, Post("redis", lambda: odd), "job")  # type: ignore[arg-type]
    with pytest.raises(Away):
        await publisher._sent([row(n) for n in range(4)])
    assert (odd.opened, odd.closed) == (1, 1)
    with pytest.raises(Away):  # nobody tries before the pause is over
        await publisher._sent([row(0)])
    assert odd.opened == 1


async def test_a_broker_may_say_when_it_is_back() -> None:
    class Busy(Odd):
        async def open(self) -> None:
            error = BrokerUnavailable("busy")
            error.retry_after = 120.0  # type: ignore[attr-defined]
            raise error

    with pytest.raises(Away) as said:
        await Post("http", Busy).send([Outgoing("", "", Message(b""))])
    assert 90 < said.value.pause < 150


async def test_a_broker_that_fails_to_open_in_an_unforeseen_way_is_closed() -> None:
    class Unready(Odd):
        async def open(self) -> None:
            raise RuntimeError("a defect")

    odd = Unready()
    with pytest.raises(RuntimeError, match="a defect"):
        await Post("redis", lambda: odd).ready()
    assert odd.closed == 1


class Picky(Odd):
    """It refuses what is in `no`, and has the first of each page while `cut`."""

    no: tuple[str, ...] = ()
    cut = False

    async def publish(self, outgoing: "list[Outgoing] | tuple[Outgoing, ...]") -> list[BrokerRefused | None]:  # type: ignore[override]
        if self.cut:
            self.sent.append(outgoing[0].message.body)
            lost = BrokerUnavailable("cut")
            lost.alive, lost.confirmed = True, (0,)
            raise lost
        said = [BrokerRefused("no") if one.message.id in self.no else None for one in outgoing]
        self.sent += [one.message.body for one, refused in zip(outgoing, said, strict=True) if refused is None]
        return said


async def sends(jobs: Offpath, post: Post, id: str, **words: bool) -> None:
    info = await jobs._desk.find(id)
    args = json.loads(info.job.args if info.job is not None else info.finished.args)  # type: ignore[union-attr]
    await outbox.Publisher(jobs.store, post, id, **words).run(**args)


async def test_a_retry_never_succeeds_without_having_sent(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However full its line is, and though its event has been forgotten."""
    jobs, picky = make(), Picky()
    post = Post("redis", lambda: picky)
    async with jobs:
        picky.no = ("one",)
        job = await jobs.publish(event(1, id="one"))
        with pytest.raises(outbox.Undeliverable):
            await sends(jobs, post, job.id)
        await jobs.cancel(job.id)  # stands for its end
        again = await jobs.retry(job.id)
        await jobs.publish(event(2, id="two"))
        picky.no = ()
        with monkeypatch.context() as patch:
            patch.setattr(outbox, "TURN", -1.0)
            with pytest.raises(Snooze):
                await sends(jobs, post, again.id)
        await sends(jobs, post, again.id)
        assert len(picky.sent) == 2
        await jobs.cancel(again.id)
        late = await jobs.retry(again.id)
        with pytest.raises(outbox.Undeliverable, match="not in the outbox any more"):
            await sends(jobs, post, late.id)
        await sends(jobs, post, late.id, first=False)  # an attempt before this one may have sent it
        assert len(picky.sent) == 2


async def test_what_the_broker_had_before_the_cut_is_not_sent_again(make: Make) -> None:
    jobs, picky = make(), Picky()
    post = Post("redis", lambda: picky)
    async with jobs:
        made = await jobs.publish_many([event(n, id=str(n)) for n in range(3)])
        picky.cut = True
        with pytest.raises(Snooze):
            await sends(jobs, post, made[2].id)
        assert await backlog(jobs) == 2
        picky.cut, post._until = False, 0.0
        await sends(jobs, post, made[2].id)
        assert len(picky.sent) == 3


async def test_pages_are_bounded_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "TOGETHER", 10)
    rows = [row(n)._replace(message="x" * size) for n, size in enumerate((20, 5, 5, 1))]
    assert outbox._together(rows) == rows[:1]
    assert outbox._together(rows[1:]) == rows[1:3]
    assert outbox._together(rows[2:]) == rows[2:]


# -- long --------------------------------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.timeout(1500)
async def test_the_broker_is_down_for_ten_minutes(make: Make, redis_server: Redis) -> None:
    """I22, F40: 10,000 events wait; then all of them come, in order, and soon."""
    jobs = make(redis_server.url)
    keys = [f"key {n}" for n in range(50)]
    async with jobs, jobs.worker():
        redis_server.kill()
        down = time.monotonic()
        for n in range(200):
            await jobs.publish_many([event(n, key) for key in keys])
        while time.monotonic() - down < 600:  # noqa: ASYNC110 (that so much time passes is what is tested)
            await asyncio.sleep(1)
        redis_server.start()
        back = time.monotonic()
        await until(lambda: none_left(jobs))
        took = time.monotonic() - back
        async with reading(jobs, jobs.settings.topic) as read:
            arrived = await read(10_000)
    assert {key: arrived.numbers(key) for key in keys} == {key: list(range(200)) for key in keys}
    assert took < 60
