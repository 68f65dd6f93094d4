"""What carries events between the two services of `demo --broker`: a real server that is really killed, where it keeps
what it has; what stands in for Kafka and SQS is set down or cut off."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import anyio

from servers.kafka import Kafka
from servers.proxy import Proxy
from servers.rabbitmq import RabbitMQ
from servers.redis import Redis
from servers.sqs import Sqs

TOPIC = "organizations"
SESSION = 6  # s until Kafka gives the partitions of a consumer that was killed to others; its default is 45

Do = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Carrier:
    """`name` in the story; `url`, for both services; how it goes `away` and comes `back`, and what is said of that."""

    name: str
    url: str
    away: Do
    back: Do
    gone: str
    again: str


@contextlib.asynccontextmanager
async def carrier(kind: str) -> AsyncIterator[Carrier]:
    """Of any kind but "none". `servers.postgres.Unavailable` when there is no such server here."""
    with contextlib.ExitStack() as stack:
        try:
            yield await anyio.to_thread.run_sync(stack.enter_context, _carrier(kind))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(stack.close)


@contextlib.contextmanager
def _carrier(kind: str) -> Iterator[Carrier]:
    match kind:
        case "redis":
            with Redis.scratch() as redis:
                yield Carrier(
                    "Valkey, which speaks Redis, with an append-only file", redis.url,
                    _in_a_thread(redis.kill), _in_a_thread(redis.start),
                    "Valkey is killed (kill -9).",
                    "Valkey runs again, with what its append-only file has kept.",
                )  # fmt: skip
        case "rabbitmq":
            with RabbitMQ.scratch() as rabbit:
                yield Carrier(
                    "RabbitMQ", rabbit.url, _in_a_thread(rabbit.kill), _in_a_thread(rabbit.start),
                    "RabbitMQ is killed (kill -9).",
                    "RabbitMQ runs again, with what its durable queues have kept.",
                )  # fmt: skip
        case "kafka":
            with Kafka.scratch() as kafka:
                kafka.topic(TOPIC, partitions=4)  # whoever runs a Kafka makes its topics
                yield Carrier(
                    "the mock of Kafka in librdkafka, which keeps all in memory", f"{kafka.url}?session={SESSION}",
                    _in_a_thread(kafka.down), _in_a_thread(kafka.up),
                    "The mock of Kafka is set down: it ends all connections and takes none.",
                    "The mock of Kafka is up again. It kept its messages in memory; a restart would have lost them.",
                )  # fmt: skip
        case "sqs":
            with Sqs.scratch() as sqs, contextlib.closing(Proxy(sqs.url)) as proxy:
                yield Carrier(
                    "moto, which stands in for SQS (it keeps all in memory)", proxy.url,
                    _in_a_thread(proxy.cut), _in_a_thread(proxy.restore),
                    "The line to SQS is cut: connections are reset, and refused.",
                    "The line to SQS is there again. What stands in for it could not be restarted without loss.",
                )  # fmt: skip
        case _:
            raise ValueError(f"there is no broker {kind!r}")


def _in_a_thread(what: Callable[[], None]) -> Do:
    async def do() -> None:
        await anyio.to_thread.run_sync(what)

    return do
