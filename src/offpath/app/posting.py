"""The tasks of an application that has a broker: what sends its events, and its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ..brokers.address import parse
from ..core.limits import Limit
from ..core.options import TaskOptions
from ..core.outbox import ANSWER, QUEUE, TASK
from ..core.retry import Backoff, Retry
from ..engine.outbox import Publisher, Undeliverable, answer
from ..engine.post import Post
from ..tasks import Context, Task, provided
from . import places
from .desk import Counter

RETRY = Retry(
    max_attempts=10,
    backoff=Backoff.exponential(first=1, factor=2, cap=300, jitter=0.2),
    give_up_on=(Undeliverable,),
)
"""Of what nobody expects: that the broker is away spends no attempt, and what it refuses is not tried again."""

GIVEN: Any = provided()


def register(desk: Counter) -> None:
    """Workers of this application send. One broker for each, opened when the first event comes."""
    kind = parse(places.broker_url(desk.settings)).kind

    async def post() -> AsyncIterator[Post]:
        one = Post(kind, partial(places.make_broker, desk.settings))
        try:
            yield one
        finally:
            await one.close()

    async def publish(ctx: Context, event: str, shard: int, post: Post = GIVEN) -> None:
        await Publisher(desk.store, post, ctx.job, first=ctx.attempt == 1).run(event, shard)

    async def tell(
        to: str, event: str, ended: dict[str, Any], correlation: str | None = None, post: Post = GIVEN
    ) -> None:
        await answer(post, desk.settings.source, to, event, ended, correlation)

    desk.registry.provide(post, "worker", {})
    one_of_a_line = Limit(concurrency=1, per="shard")
    desk.register(publish, TaskOptions(queue=QUEUE, retry=RETRY, keep_result=False, limit=one_of_a_line), TASK, 1, {})
    desk.register(tell, TaskOptions(queue=QUEUE, retry=RETRY, keep_result=False), ANSWER, 1, {})


def publishes(desk: Counter) -> Task[..., None]:
    """The task that sends an event. ConfigurationError without a broker."""
    places.broker_url(desk.settings)
    task = desk.registry.get(TASK)
    assert task is not None  # noqa: S101 - it was registered with the broker
    return task
