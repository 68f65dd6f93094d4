"""The transports under the suite: what differs between them, and nothing else."""

import asyncio
import socket
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from offpath.app import places
from offpath.core.policy import Retention
from offpath.ports import Transport
from offpath.settings import Settings
from offpath.transports.local import LocalTransport
from offpath.transports.notify import NotifyTransport


class Kind(ABC):
    """One transport over the server at `url`."""

    fixture: ClassVar[str]
    """Has the URL."""
    options: ClassVar[str] = ""
    """With which it is quick enough for tests."""
    distant: ClassVar[bool] = True
    """There is a connection that can break."""
    passwords: ClassVar[bool] = True
    apart: ClassVar[bool] = True
    """A proxy can stand before one client of a server and not before the others."""
    bytes: ClassVar[bool] = True
    """Its messages need not be text."""

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def make(cls, url: str, line: str) -> Transport:
        """As `Offpath(f"sqlite:////nowhere/{line}.db", transport=url)` would."""
        joined = f"{url}{'&' if '?' in url else '?'}{cls.options}" if cls.options else url
        return places.make(Settings(f"sqlite:////nowhere/{line}.db", transport=joined), Retention())[1]

    @staticmethod
    def name(line: str) -> str:
        """What the line is called among all lines of the broker."""
        return places.line(f"sqlite:////nowhere/{line}.db")

    @abstractmethod
    def put(self, line: str, messages: Sequence[bytes]) -> None:
        """Somebody else writes this where the line's messages are."""

    def elsewhere(self, port: int) -> str:
        """The URL with the port of a proxy."""
        parts = urlsplit(self.url)
        user = (parts.netloc.rpartition("@")[0] + "@").lstrip("@")
        return parts._replace(netloc=f"{user}127.0.0.1:{port}").geturl()

    def wrong(self) -> str:
        """The URL with the password "not-the-password"."""
        parts = urlsplit(self.url)
        user = parts.username or "somebody"
        where = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{user}:not-the-password@{where}").geturl()


class Local(Kind):
    fixture, distant, passwords = "database", False, False

    @classmethod
    def make(cls, url: str, line: str) -> Transport:
        return LocalTransport(f"{url}-{line}")

    def put(self, line: str, messages: Sequence[bytes]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for path in Path(tempfile.gettempdir()).rglob("*"):
                if stat.S_ISSOCK(path.lstat().st_mode):
                    for message in messages:
                        sender.sendto(message, str(path))


class Notify(Kind):
    fixture, bytes = "postgres_url", False

    @classmethod
    def make(cls, url: str, line: str) -> Transport:
        return NotifyTransport(url, schema=line)

    def put(self, line: str, messages: Sequence[bytes]) -> None:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for message in messages:
                connection.execute("select pg_notify(%s, %s)", (f"offpath_{line}", message.decode()))

    def elsewhere(self, port: int) -> str:
        return f"{super().elsewhere(port)}?sslmode=disable"


class Redis(Kind):
    fixture = "redis_url"

    def put(self, line: str, messages: Sequence[bytes]) -> None:
        import redis

        with redis.Redis.from_url(self.url) as client:
            for message in messages:
                client.xadd(f"offpath:{self.name(line)}", {"h": message})
                client.xadd(f"offpath:{self.name(line)}", {"other": message})

    def wrong(self) -> str:
        return super().wrong().replace("//somebody:", "//:")


class Redis7(Redis):
    fixture = "redis7_url"


class RabbitMQ(Kind):
    fixture = "rabbitmq_url"

    def put(self, line: str, messages: Sequence[bytes]) -> None:
        import aio_pika

        async def put() -> None:
            async with await aio_pika.connect(self.url) as connection:
                channel = await connection.channel()
                exchange = await channel.get_exchange(f"offpath.{self.name(line)}")
                for message in messages:
                    await exchange.publish(aio_pika.Message(message), routing_key="")

        asyncio.run(put())


class Kafka(Kind):
    fixture, options, apart = "kafka_url", "wait=5", False

    def put(self, line: str, messages: Sequence[bytes]) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": urlsplit(self.url).netloc})
        for message in messages:
            producer.produce(f"offpath.{self.name(line)}", message)
        producer.produce(f"offpath.{self.name(line)}", None)
        assert producer.flush(60) == 0


class Sqs(Kind):
    fixture, options, passwords, bytes = "sqs_url", "poll=1", False, False

    def client(self) -> Any:
        boto3 = import_module("boto3")
        parts = urlsplit(self.url)
        return boto3.client(
            "sqs",
            region_name=parts.path.strip("/"),
            endpoint_url=f"http://{parts.hostname}:{parts.port}",
            aws_access_key_id=parts.username,
            aws_secret_access_key=parts.password,
        )

    def put(self, line: str, messages: Sequence[bytes]) -> None:
        client = self.client()
        [url] = client.list_queues(QueueNamePrefix=f"offpath-{self.name(line)}-")["QueueUrls"]
        for message in filter(None, messages):
            client.send_message(QueueUrl=url, MessageBody=message.decode())


KINDS: dict[str, type[Kind]] = {
    "local": Local,
    "notify": Notify,
    "redis": Redis,
    "redis7": Redis7,
    "rabbitmq": RabbitMQ,
    "kafka": Kafka,
    "sqs": Sqs,
}
