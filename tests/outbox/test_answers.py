"""The end of a job is told to whoever asked with `reply_to`. That every way in which a job can end tells it is shown in
`offpath.testing.stores.outbox`; here it comes out of the broker."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from offpath import Cancel, Context, Offpath, Problem, Retry
from offpath.core.answers import derived
from offpath.errors import ConfigurationError, JobFailed
from offpath.tasks import all_of
from servers.proxy import Proxy

from .kit import SOON, Arrived, Make, reading, until

pytestmark = [pytest.mark.anyio, pytest.mark.servers("redis")]


def told(arrived: Arrived) -> Mapping[str, tuple[str, str | None, Any]]:
    """(type, mark, data) by the job's id."""
    return {
        str(event.subject): (event.type, message.correlation, event.data)
        for event, message in zip(arrived.events, arrived.messages, strict=True)
    }


async def test_a_job_answers_with_its_result_or_its_error(make: Make, unique: str) -> None:
    jobs = make()
    going = asyncio.Event()

    @jobs.task
    async def double(n: int) -> int:
        return 2 * n

    @jobs.task(retry=Retry(max_attempts=1))
    async def fail(public: bool) -> None:
        raise Problem(title="No such order", status=404) if public else ValueError("a secret")

    @jobs.task
    async def wait(ctx: Context) -> None:
        going.set()
        await asyncio.sleep(SOON)

    @jobs.task
    async def stop() -> None:
        raise Cancel("not needed")

    @jobs.task
    async def much() -> str:
        return "x" * 70_000

    ask: Any = {"reply_to": unique, "correlation": "c1"}
    async with jobs, jobs.worker(), reading(jobs, unique, "queue") as read:
        good = await double.using(**ask).enqueue(21)
        public, secret = await fail.using(**ask).enqueue(True), await fail.using(reply_to=unique).enqueue(False)
        waits, stops = await wait.using(**ask).enqueue(), await stop.using(**ask).enqueue()
        later = await double.using(delay=timedelta(hours=1), **ask).enqueue(1)
        flow = await all_of(double.call(1), double.call(2)).using(**ask).enqueue()
        large = await much.using(**ask).enqueue()
        await double.enqueue(3)  # nobody asked
        await going.wait()
        await waits.cancel("enough")
        await later.cancel("too late")
        arrived = await read(8)
        said = told(arrived)
        await asyncio.sleep(0)
    succeeded, failed, canceled = (f"dev.offpath.job.{state}.v1" for state in ("succeeded", "failed", "canceled"))
    assert said[good.id][:2] == (succeeded, "c1")
    assert said[good.id][2]["result"] == 42
    assert said[good.id][2]["task"] == double.name
    assert said[public.id][0] == failed
    assert said[public.id][2]["error"]["title"] == "No such order"
    assert said[secret.id][:2] == (failed, None)
    assert said[secret.id][2]["error"] == {"kind": "raised"}
    assert said[waits.id][0] == said[stops.id][0] == said[later.id][0] == canceled
    assert said[later.id][2]["error"]["reason"] == "too late"
    assert said[flow.id][2]["result"] == [2, 4]
    assert said[large.id][2]["resultOmitted"] is True
    assert {event.id for event in arrived.events} == {derived(id) for id in said}
    assert {event.source for event in arrived.events} == {"/shop"}


async def test_an_answer_waits_for_the_broker_and_is_the_same_when_it_is_sent_again(
    make: Make, unique: str, redis_url: str
) -> None:
    with Proxy(redis_url) as proxy:
        jobs, reader = make(proxy.url), make(redis_url)

        @jobs.task
        async def add(a: int, b: int) -> int:
            return a + b

        proxy.cut()
        async with jobs, reading(reader, unique, "queue") as read, jobs.worker():
            job = await add.using(reply_to=unique).enqueue(1, 2)
            assert await job.result(timeout=SOON) == 3
            answer = await jobs.get(derived(job.id))
            await until(lambda: _scheduled(answer))
            await jobs.retry(job.id)  # has an answer of its own
            proxy.restore()
            await answer.result(timeout=SOON)
            await (await jobs.retry(answer.id)).result(timeout=SOON)
            ids = [event.id for event in (await read(3)).events]
        assert sorted(ids.count(one) for one in set(ids)) == [1, 2]
        assert ids.count(answer.id) == 2
        reader.close()


async def _scheduled(job: Any) -> bool:
    return bool((await job.info()).state == "scheduled")


async def test_an_answer_that_is_refused_is_a_dead_letter(make: Make, unique: str, redis_url: str) -> None:
    from redis.asyncio import Redis

    jobs = make()

    @jobs.task
    async def nothing() -> None: ...

    async with Redis.from_url(redis_url, protocol=2) as client:
        await client.set(unique, "no stream")
        async with jobs, jobs.worker():
            job = await nothing.using(reply_to=unique).enqueue()
            await job.result(timeout=SOON)
            answer = await jobs.get(derived(job.id))
            with pytest.raises(JobFailed, match="something else than a stream"):
                await answer.result(timeout=SOON)
            await client.delete(unique)
            async with reading(jobs, unique, "queue") as read:
                await (await jobs.retry(answer.id)).result(timeout=SOON)
                assert (await read(1)).events[0].data["result"] is None


def test_who_has_no_broker_cannot_promise_an_answer(tmp_path: Any) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/app.db")

    @jobs.task
    async def nothing() -> None: ...

    with pytest.raises(ConfigurationError, match="no broker"):
        nothing.using(reply_to="q").enqueue_sync()
    with pytest.raises(ConfigurationError, match="no broker"):
        nothing.call().then(nothing.call()).using(reply_to="q").enqueue_sync()
    with pytest.raises(ConfigurationError, match="reply_to"):
        nothing.using(correlation="q")
    jobs.close()
