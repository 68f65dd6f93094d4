"""Hints by Amazon SQS, which has no fan-out: each process that listens has a queue, and whoever sends, sends to each.

The URL and its options are those of `brokers.sqs`; `visibility`, `refresh` and `keep` are for events alone. `poll` is
for how many seconds a listener's question waits at the server: 5, at most 20; each is billed.

The queues are called `offpath-LINE-…`, live for as long as their listener (a tag says when it was last there: what an
hour has passed for is deleted by the others), and keep a message for a minute. What has been read is not deleted: it
stays hidden until that minute is over. Senders believe a list of queues for 30 s, and look anew as soon as they hear
of a new listener, if they listen themselves.

Needed rights: sqs:ListQueues, CreateQueue, DeleteQueue, SendMessage, ReceiveMessage, TagQueue, ListQueueTags.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from ..brokers.address import Address
from ..brokers.sqs.client import Settings, read
from ..brokers.sqs.faults import ANY_FAULT, NO_QUEUE, code, unavailable
from ..core.checks import shown
from ..errors import ConfigurationError, MissingExtraError
from ..ports import Transport
from .carrier import Carrier
from .line import LAST
from .notes import MAX_BYTES
from .reading import Reading
from .wire import Hear, Lost, Wire

try:
    from aiobotocore.session import get_session
except ImportError as e:
    raise MissingExtraError("sqs://", "sqs") from e

REFRESH = 30.0  # s for which a sender believes its list of queues
SEEN = "offpath-seen"  # the tag: seconds since 1970
SAY, DEAD = 900.0, 3_600.0  # s between two changes of it, and after which whoever has not changed it is gone
QUEUE = {"MessageRetentionPeriod": "60", "VisibilityTimeout": "120"}
HELLO = "hello"  # what a new listener says to the others: no hint, and nobody's message
LONGEST = 80  # characters of a queue's name
SLACK = 4.0  # s by which an answer may be later than it was asked for


def transport(address: Address, line: str) -> Transport:
    """ConfigurationError for an option that SQS URLs do not have."""
    settings = read(address)
    return Carrier(_Sqs(settings, line), connect=settings.timeout)


class _Sqs:
    name, limit, pace = "sqs", MAX_BYTES, 8.0

    def __init__(self, settings: Settings, line: str) -> None:
        self.settings, self.prefix = settings, f"offpath-{line}-"
        if not re.fullmatch("[A-Za-z0-9_-]+", line) or len(self.prefix) + 16 > LONGEST:
            raise ConfigurationError(f"{shown(line)} cannot be part of a queue's name on SQS")
        self.ours = re.compile(re.escape(self.prefix) + "[0-9a-f]{16}")

    async def connect(self, lost: Lost) -> Wire:
        stack = AsyncExitStack()
        try:
            made = get_session().create_client("sqs", **self.settings.client)
            wire = _Wire(self, stack, await stack.enter_async_context(made), lost)
            await wire.ping()
        except BaseException as e:
            await stack.aclose()
            if isinstance(e, ANY_FAULT):
                raise unavailable(e, self.settings.where) from e
            raise
        return wire


class _Wire:
    deaf = ""

    def __init__(self, kind: _Sqs, stack: AsyncExitStack, client: Any, lost: Lost) -> None:
        self._kind, self._stack, self._client, self._lost = kind, stack, client, lost
        self._mine = ""
        self._others: list[str] = []  # mine too
        self._believed = -math.inf  # until then, by the loop's clock
        self._readings: list[Reading] = []

    async def listen(self, hear: Hear) -> None:
        name = self._kind.prefix + secrets.token_hex(8)
        made = await self._ask(self._client.create_queue(QueueName=name, Attributes=QUEUE, tags=_now()))
        self._mine = made["QueueUrl"]
        self._readings = [Reading(self._read(hear), self._lost), Reading(self._tidy(), self._lost)]
        await self._look()
        await self._to_each([HELLO])

    async def send(self, messages: Sequence[str]) -> None:
        if asyncio.get_running_loop().time() >= self._believed:
            await self._look()
        await self._to_each(messages)

    async def echo(self, message: str) -> None:
        """Only to oneself: every message is billed, to each queue."""
        await self._ask(self._client.send_message(QueueUrl=self._mine, MessageBody=message))

    async def ping(self) -> None:
        await self._look()

    async def close(self, well: bool) -> None:
        try:
            for reading in self._readings:
                await reading.stop()
            if well and self._mine:
                with contextlib.suppress(*ANY_FAULT):
                    async with asyncio.timeout(LAST / 2):
                        await self._client.delete_queue(QueueUrl=self._mine)
        finally:
            await self._stack.aclose()

    async def _to_each(self, messages: Sequence[str]) -> None:
        await asyncio.gather(*(self._to(url, message) for url in self._others for message in messages))

    async def _to(self, url: str, message: str) -> None:
        try:
            await self._client.send_message(QueueUrl=url, MessageBody=message)
        except ANY_FAULT as e:
            if code(e) not in NO_QUEUE:
                raise unavailable(e, self._kind.settings.where) from e
            self._believed = -math.inf  # that listener has gone

    async def _look(self) -> None:
        """Who listens?"""
        urls: list[str] = []
        more: dict[str, str] = {}
        while True:
            asked = self._client.list_queues(QueueNamePrefix=self._kind.prefix, MaxResults=1000, **more)
            said = await self._ask(asked)
            urls += [url for url in said.get("QueueUrls", ()) if self._kind.ours.fullmatch(url.rpartition("/")[2])]
            if not said.get("NextToken"):
                break
            more = {"NextToken": said["NextToken"]}
        if self._mine and self._mine not in urls:  # it may take SQS a moment to list it
            urls.append(self._mine)
        self._others = urls
        self._believed = asyncio.get_running_loop().time() + REFRESH

    async def _read(self, hear: Hear) -> None:
        wait = self._kind.settings.poll
        while True:
            async with asyncio.timeout(wait + SLACK):
                asked = self._client.receive_message(QueueUrl=self._mine, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
                said = await self._ask(asked)
            for message in said.get("Messages", ()):
                if message["Body"] == HELLO:
                    self._believed = -math.inf
                hear(message["Body"])

    async def _tidy(self) -> None:
        """Say that this listener lives, and remove the queues of those that have not said it for long."""
        while True:
            await self._ask(self._client.tag_queue(QueueUrl=self._mine, Tags=_now()))
            for url in self._others:
                with contextlib.suppress(*ANY_FAULT):  # somebody else's, who may be gone by now
                    seen = (await self._client.list_queue_tags(QueueUrl=url)).get("Tags", {}).get(SEEN, "")
                    if seen.isdecimal() and time.time() - int(seen) > DEAD:
                        await self._client.delete_queue(QueueUrl=url)
            await asyncio.sleep(SAY)

    async def _ask(self, asked: Awaitable[Any]) -> Any:
        try:
            return await asked
        except ANY_FAULT as e:
            raise unavailable(e, self._kind.settings.where) from e


def _now() -> dict[str, str]:
    return {SEEN: str(int(time.time()))}
