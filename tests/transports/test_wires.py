"""What only one kind of transport has, and what their URLs may say."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from offpath.app import places
from offpath.core.policy import Retention
from offpath.errors import ConfigurationError
from offpath.ports import Hint, Transport
from offpath.settings import Settings
from offpath.transports import redis, sqs
from tests.transports.ear import CAUGHT_UP, WAIT, listening
from tests.transports.kinds import RabbitMQ, Redis, Sqs

Keep = Callable[[Transport], Transport]


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Is closed in the end."""
    kept: list[Transport] = []

    def keep(transport: Transport) -> Transport:
        kept.append(transport)
        return transport

    yield keep
    for transport in kept:
        transport.close()


@pytest.mark.parametrize(
    ("package", "scheme", "extra"),
    [
        ("redis", "redis", "redis"),
        ("aiormq", "amqp", "rabbitmq"),
        ("confluent_kafka", "kafka", "kafka"),
        ("aiobotocore", "sqs", "sqs"),
    ],
)
def test_a_missing_client_is_said_with_the_remedy(package: str, scheme: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from offpath import Offpath\nOffpath('sqlite:////nowhere/app.db', transport='{scheme}://host:1/x').transport"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("offpath.errors.MissingExtraError")
    assert f'pip install "offpath[{extra}]"' in last


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("redis://host?timeuot=1", "timeuot"),
        ("redis://host/queues", "database"),
        ("redis://host?timeout=soon", "timeout"),
        ("amqp://host?timeuot=1", "timeuot"),
        ("amqp://host?timeout=0", "timeout"),
        ("amqp://host?hints=stream", "quorum or classic"),
        ("kafka://host:1?timeuot=1", "timeuot"),
        ("kafka://host:1?wait=0", "wait"),
        ("kafka://host:1?sasl=PLAIN", "sasl"),
        ("sqs://eu-central-1?timeuot=1", "timeuot"),
        ("sqs://key@host:1/region", "secret"),
    ],
)
def test_a_url_that_says_nonsense_is_refused_when_the_transport_is_made(url: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        places.make(Settings("sqlite:////nowhere/app.db", transport=url), Retention())


EVERY_OPTION = {
    "redis://host/1": "timeout=5&maxlen=1000&from=$&min_idle=60",
    "amqp://host/vhost": "timeout=5&heartbeat=5&prefetch=10&make=1&hints=quorum",
    "kafka://user:password@host:1,other:2": "create=3&partitioner=fnv1a_random&reset=latest&sasl=PLAIN&session=30"
    "&timeout=5&wait=100&socket.keepalive.enable=false",
    "sqs://eu-central-1": "visibility=30&poll=20&refresh=5&keep=1&timeout=5",
}
"""By URL: what the transport or the broker of that kind knows, or both."""


@pytest.mark.parametrize("url", EVERY_OPTION)
def test_one_url_serves_hints_and_events(url: str) -> None:
    """The broker is the transport's, unless another is given: each knows the other's options, and leaves them alone.
    What neither knows is refused by both."""
    place = "sqlite:////nowhere/app.db"
    shared = Settings(place, transport=f"{url}?{EVERY_OPTION[url]}")
    places.make(shared, Retention())
    places.make_broker(shared)
    wrong = Settings(place, transport=f"{url}?{EVERY_OPTION[url]}&colour=red")
    with pytest.raises(ConfigurationError, match=r"know .*not 'colour'"):
        places.make(wrong, Retention())
    with pytest.raises(ConfigurationError, match=r"know .*not 'colour'"):
        places.make_broker(wrong)


def test_who_was_so_slow_that_the_stream_was_cut_is_told(
    redis_url: str, unique: str, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "KEPT", 100)
    monkeypatch.setattr(redis, "AT_ONCE", 10)
    kind = Redis(redis_url)
    here, slow = keep(kind.make(redis_url, unique)), threading.Event()
    ear = listening(here)

    def hear_slowly(hint: Hint) -> None:
        slow.wait(WAIT)

    here.subscribe(hear_slowly)
    kind.put(unique, [b'["other",[["work",["%d"]]]]' % n for n in range(500)])
    slow.set()
    ear.wait(CAUGHT_UP, times=2)


def test_a_stream_is_cut_and_goes_when_nobody_uses_it(redis_url: str, unique: str, keep: Keep) -> None:
    from redis import Redis as Client

    kind = Redis(redis_url)
    ear = listening(keep(kind.make(redis_url, unique)))
    there = keep(kind.make(redis_url, unique))
    kind.put(unique, [b"{}"] * 1500)
    there.announce([Hint("work", ("mail",))])
    ear.wait(Hint("work", ("mail",)))
    with Client.from_url(redis_url) as client:
        stream = f"offpath:{kind.name(unique)}"
        assert redis.KEPT <= client.xlen(stream) < 2 * redis.KEPT  # type: ignore[operator]
        assert 0 < client.pttl(stream) <= redis.KEPT_MS  # type: ignore[operator]


@pytest.mark.parametrize("hints", ["quorum", "classic"])
def test_a_listener_that_closes_leaves_no_queue_behind_on_rabbitmq(
    rabbitmq_url: str, unique: str, keep: Keep, hints: str
) -> None:
    import aio_pika

    kind = RabbitMQ(rabbitmq_url)
    here = keep(kind.make(f"{rabbitmq_url}?hints={hints}", unique))
    ear = listening(here)

    async def unroutable() -> bool:
        """Whether no queue is bound to the line's exchange."""
        async with await aio_pika.connect(rabbitmq_url) as connection:
            channel = await connection.channel(on_return_raises=True)
            exchange = await channel.get_exchange(f"offpath.{kind.name(unique)}")
            try:
                await exchange.publish(aio_pika.Message(b'["x",[["work",["mail"]]]]'), routing_key="", mandatory=True)
            except aio_pika.exceptions.DeliveryError:
                return True
            return False

    assert not asyncio.run(unroutable())
    ear.wait(Hint("work", ("mail",)))
    here.close()
    assert asyncio.run(unroutable())


def test_queues_of_dead_listeners_are_removed_by_others_on_sqs(sqs_url: str, unique: str, keep: Keep) -> None:
    kind = Sqs(sqs_url)
    client, prefix = kind.client(), f"offpath-{kind.name(unique)}-"

    def queues() -> set[str]:
        found = client.list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])
        return {url.rpartition("/")[2].removeprefix(prefix) for url in found}

    for name, seen in (("0" * 16, time.time() - sqs.DEAD - 60), ("1" * 16, time.time() - sqs.DEAD + 600)):
        client.create_queue(QueueName=prefix + name, tags={sqs.SEEN: str(int(seen))})
    client.create_queue(QueueName=f"{prefix}not-a-listener", tags={sqs.SEEN: "1"})
    here = keep(kind.make(sqs_url, unique))
    listening(here)
    deadline = time.monotonic() + WAIT
    while "0" * 16 in queues():
        assert time.monotonic() < deadline
    assert {"1" * 16, "not-a-listener"} < queues()
    here.close()
    assert queues() == {"1" * 16, "not-a-listener"}


def test_a_line_too_long_for_sqs_is_refused() -> None:
    from offpath.brokers.address import parse

    with pytest.raises(ConfigurationError, match="queue"):
        sqs.transport(parse("sqs://eu-central-1"), "x" * 90)
