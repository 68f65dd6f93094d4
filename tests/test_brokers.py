"""The brokers' servers that tests, measurements and the demo run on: they can be broken, they come back with what they
keep, and they go with whoever started them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import pytest
from confluent_kafka.admin import AdminClient
from redis import Redis as Client
from redis.exceptions import ConnectionError as Lost

from servers.kafka import Kafka
from servers.postgres import Unavailable
from servers.proxy import Proxy
from servers.redis import Redis
from servers.server import Server
from servers.sqs import Sqs
from tests import brokers

OWNER = """
import sys, threading
from pathlib import Path
from servers.kafka import Kafka
from servers.redis import Redis
from servers.sqs import Sqs
started = []
def start(kind):
    started.append(kind(Path(sys.argv[1]) / kind.name))
    started[-1].home.mkdir()
    started[-1].start()
for kind in (Redis, Kafka, Sqs):
    thread = threading.Thread(target=start, args=(kind,))
    thread.start()
    thread.join()
print(*(server.url for server in started), flush=True)
sys.stdin.read()
"""


def client(url: str) -> Client:
    return Client.from_url(url, socket_timeout=60)


def refused(url: str) -> bool:
    try:
        socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 0), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # the kernel tells nobody that a child of somebody else's has ended


@pytest.mark.parametrize("which", ["redis_server", "redis7_server"])
def test_a_redis_that_was_killed_comes_back_with_what_it_had(which: str, request: pytest.FixtureRequest) -> None:
    server: Redis = request.getfixturevalue(which)
    with client(server.url) as redis:
        redis.set("kept", "yes")
    for end in (server.kill, server.stop):
        end()
        assert refused(server.url)
        server.start()
        with client(server.url) as redis:
            assert redis.get("kept") == b"yes"


async def test_a_rabbitmq_that_was_killed_comes_back_with_what_it_had(
    rabbitmq_server: brokers.Broker, unique: str
) -> None:
    async def sent() -> None:
        async with await aio_pika.connect(rabbitmq_server.url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            await channel.declare_queue(unique, durable=True)
            message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=unique)

    await sent()
    # It writes down which queues there are some moments after it has said that there is one, and confirmed a message.
    await asyncio.to_thread(rabbitmq_server.control, "eval", "mnesia:sync_log().")
    await asyncio.to_thread(rabbitmq_server.kill)
    assert refused(rabbitmq_server.url)
    await asyncio.to_thread(rabbitmq_server.start)
    async with await aio_pika.connect(rabbitmq_server.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(unique, passive=True)
        message = await queue.get(timeout=60)
        assert message.body == b"kept"
        await message.ack()
        await queue.delete()


def test_a_kafka_that_is_down_refuses_and_comes_back_with_its_topics(kafka_server: Kafka, unique: str) -> None:
    kafka_server.topic(unique, 7)
    kafka_server.down()
    assert refused(kafka_server.url)
    kafka_server.up()
    admin = AdminClient({"bootstrap.servers": urlsplit(kafka_server.url).netloc})
    assert len(admin.list_topics(unique, timeout=60).topics[unique].partitions) == 7


def test_all_go_with_the_process_that_started_them_however_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        urls = owner.stdout.readline().split()
        assert len(urls) == 3
        assert not any(refused(url) for url in urls)
        owner.send_signal(signal.SIGKILL)
    if sys.platform == "linux":
        until(lambda: all(refused(url) for url in urls))


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server: Server = Redis(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(Unavailable, match=r"redis ended: .*in use"):
            server.start()
    assert not server.running


def test_a_proxy_refuses_swallows_and_restores(redis_server: Redis) -> None:
    with Proxy(redis_server.url) as proxy:
        with client(proxy.url) as redis:
            redis.set("a", "1")
            proxy.cut()
            with pytest.raises(Lost):
                redis.get("a")
        assert refused(proxy.url)
        proxy.restore()
        with client(proxy.url) as redis:
            assert redis.get("a") == b"1"
        proxy.deaf()
        with socket.create_connection(("127.0.0.1", proxy.port)) as deaf:
            deaf.sendall(b"PING\r\n")
            deaf.settimeout(0.1)
            with pytest.raises(TimeoutError):
                deaf.recv(1)
            proxy.restore()
            deaf.settimeout(60)
            assert deaf.recv(1) == b""
        with client(proxy.url) as redis:
            assert redis.get("a") == b"1"


def test_the_shared_ones_are_there_for_the_whole_run(
    redis_url: str, redis7_url: str, rabbitmq_url: str, kafka_url: str, sqs_url: str
) -> None:
    for url in (redis_url, redis7_url, rabbitmq_url, kafka_url, sqs_url):
        assert not refused(url)
    for find in (brokers.redis, brokers.redis7, brokers.rabbitmq, brokers.kafka, brokers.sqs):
        assert not isinstance(find(), Unavailable)
    if "OFFPATH_TEST_KAFKA_URL" not in os.environ:
        kafka = brokers.kafka()
        assert isinstance(kafka, brokers.Broker)
        kafka.topic("asked-for-from-afar", 3)
        with pytest.raises(Unavailable, match="error"):
            kafka.topic("asked-for-from-afar", 3)


def test_a_stand_in_for_sqs_is_empty_after_a_restart(sqs_server: Sqs) -> None:
    sqs_server.kill()
    assert refused(sqs_server.url)
    sqs_server.start()
    assert not refused(sqs_server.url)
