"""Publishing to queues, and to topics that are queues of a common prefix."""

from __future__ import annotations

import asyncio
import math
import re
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from functools import cache
from typing import Any, NamedTuple, TypeVar

from ...core.checks import shown
from ...errors import BrokerRefused, BrokerUnavailable, ConfigurationError, MissingExtraError
from ...ports import Consumer, Outgoing, Source
from ..address import Address, known
from ..options import seconds, tls, whole
from .coding import LARGEST, Entry, batches, encode
from .consumer import SqsConsumer
from .faults import ANY_FAULT, NO_QUEUE, code, denied, refusal, unavailable
from .names import account_of, fifo, group_queue, is_of, own_queue, prefix

try:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session
    from botocore.loaders import create_loader
except ImportError as e:
    raise MissingExtraError("an sqs:// broker", "sqs") from e

R = TypeVar("R")
SENDING = 8  # batches on their way at once
DAY = 86_400
ACCOUNT = re.compile(r"[0-9]{12}")


class Settings(NamedTuple):
    """A URL, read. Times in seconds."""

    where: str
    client: dict[str, Any]
    visibility: int
    poll: int
    refresh: float
    keep: int
    timeout: float
    accounts: frozenset[str]


def read(address: Address) -> Settings:
    known(address, "visibility", "poll", "refresh", "keep", "timeout", "accounts", "ca")
    region, own = address.path.strip("/"), bool(address.path.strip("/"))
    if not own:
        if address.user is not None or address.port is not None or address.tls:
            raise ConfigurationError(
                "an sqs URL is sqs://region, for AWS, or sqs://key:secret@host:port/region, for a server of one's own"
            )
        region = address.netloc
    elif (address.user is None) != (address.password is None):
        raise ConfigurationError("an sqs URL with a key needs its secret: sqs://key:secret@host:port/region")
    timeout = seconds(address, "timeout", 10)
    accounts = [one.strip() for one in address.options.get("accounts", "").split(",") if one.strip()]
    if bad := [one for one in accounts if not ACCOUNT.fullmatch(one)]:
        raise ConfigurationError(f"accounts= of the sqs URL are numbers of twelve digits, not {shown(bad[0])}")
    client: dict[str, Any] = {
        "region_name": region,
        "config": AioConfig(
            connect_timeout=timeout,
            read_timeout=timeout + 20,  # of the longest look; what need not wait has a deadline of its own
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=2 * SENDING,
            tcp_keepalive=True,
        ),
    }
    if own:
        client["endpoint_url"] = f"{'https' if address.tls else 'http'}://{address.netloc}"
    if tls(address) is not None and "ca" in address.options:
        client["verify"] = address.options["ca"]
    if address.user is not None:
        client |= {"aws_access_key_id": address.user, "aws_secret_access_key": address.password}
    return Settings(
        address.netloc,
        client,
        whole(address, "visibility", 60, 1, 43_200),
        whole(address, "poll", 5, 1, 20),
        seconds(address, "refresh", 30),
        whole(address, "keep", 14, 1, 14) * DAY,
        timeout,
        frozenset(accounts),
    )


class SqsBroker:
    kind = "sqs"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack: AsyncExitStack | None = None
        self._client: Any = None
        self._queues: dict[tuple[str, str | None], str] = {}  # name and account → URL
        self._topics: dict[str, tuple[float, list[str]]] = {}  # → until when, and URLs
        self._sending = asyncio.Semaphore(SENDING)

    async def open(self) -> None:
        if self._stack is not None:
            return
        stack = AsyncExitStack()
        try:
            session = get_session()
            session.register_component("data_loader", _loader())
            made = session.create_client("sqs", **self._settings.client)
            self._client = await stack.enter_async_context(made)
            try:
                await self._ask(self._client.list_queues(MaxResults=1))
            except ANY_FAULT as e:
                if not code(e).startswith("AccessDenied"):  # it knows us, and we may not list: for queues no need to
                    raise unavailable(e, self._settings.where) from None
        except ANY_FAULT as e:
            await stack.aclose()
            raise unavailable(e, self._settings.where) from None
        except BaseException:
            await stack.aclose()
            raise
        self._stack = stack

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        self._alive()
        answers: list[BrokerRefused | None] = [None] * len(outgoing)
        by_queue: dict[str, list[tuple[int, Entry]]] = defaultdict(list)
        for i, one in enumerate(outgoing):
            try:
                for url in await self._targets(one):
                    by_queue[url].append((i, _entry(one, url)))
            except BrokerRefused as e:
                answers[i] = e
        lines = []
        for url, items in by_queue.items():
            parts = list(batches(items))
            # In a FIFO queue batches may overtake: one line; else each batch is a line of its own.
            lines += [self._send(url, parts, outgoing, answers)] if fifo(url) else [
                self._send(url, [part], outgoing, answers) for part in parts
            ]  # fmt: skip
        for said in await asyncio.gather(*lines, return_exceptions=True):
            if isinstance(said, BaseException):
                raise said
        return answers

    async def consume(self, source: Source) -> Consumer:
        client = self._alive()
        if source.shape == "queue":
            url = await self._own(source.address)
        else:
            name = group_queue(source.address, source.group)
            try:
                url = await self._find(name, None)
            except BrokerRefused:
                url = await self._make(name)
        return SqsConsumer(client, url, source.address, self._settings)

    async def close(self) -> None:
        stack, self._stack = self._stack, None
        self._client = None
        if stack is not None:
            await stack.aclose()

    # -- where to ------------------------------------------------------------------------------------------------------

    async def _targets(self, one: Outgoing) -> list[str]:
        if one.direct:
            return [await self._own(one.address, answer=one.answer)]
        now = asyncio.get_running_loop().time()
        until, urls = self._topics.get(one.address, (-math.inf, []))
        if now >= until:
            urls = await self._list(one.address)
            self._topics[one.address] = now + self._settings.refresh, urls
        return urls

    async def _list(self, topic: str) -> list[str]:
        urls: list[str] = []
        more: dict[str, str] = {}
        while True:
            said = await self._do(self._alive().list_queues(QueueNamePrefix=prefix(topic), MaxResults=1000, **more))
            urls += [url for url in said.get("QueueUrls", []) if is_of(url.rpartition("/")[2], topic)]
            if not said.get("NextToken"):
                return urls
            more = {"NextToken": said["NextToken"]}

    async def _own(self, address: str, *, answer: bool = False) -> str:
        """The URL of the queue that is meant by that. BrokerRefused when there is none, or it is no place for an
        answer."""
        name, account = own_queue(address)
        foreign = account if not answer or account in self._settings.accounts else None
        try:
            url = await self._find(name, foreign, answer=answer)
        except BrokerRefused as e:
            raise e if name == address else BrokerRefused(f"{e} (it is meant by {shown(address)})") from None
        if foreign is None and account is not None and account_of(url) not in (account, None):
            raise BrokerRefused(
                f"{shown(address)} is in another account: to answer there, add accounts={account} to the broker's URL"
            )
        return url

    async def _find(self, name: str, account: str | None, *, answer: bool = False) -> str:
        """The URL of this queue. BrokerRefused when there is none."""
        known_url = self._queues.get((name, account))
        if known_url is not None:
            return known_url
        owner = {} if account is None else {"QueueOwnerAWSAccountId": account}
        try:
            said = await self._ask(self._alive().get_queue_url(QueueName=name, **owner))
        except ANY_FAULT as e:
            if code(e) in NO_QUEUE:
                raise BrokerRefused(f"SQS at {self._settings.where} has no queue {shown(name)}: create it") from None
            if answer and denied(e):
                raise BrokerRefused(f"SQS at {self._settings.where} does not let us use {shown(name)}") from None
            raise unavailable(e, self._settings.where) from None
        url: str = said["QueueUrl"]
        self._queues[name, account] = url
        return url

    async def _make(self, name: str) -> str:
        attributes = {"MessageRetentionPeriod": str(self._settings.keep)}
        if fifo(name):
            attributes["FifoQueue"] = "true"
        try:
            said = await self._ask(self._alive().create_queue(QueueName=name, Attributes=attributes))
        except ANY_FAULT as e:
            if code(e).endswith(
                ("QueueNameExists", "QueueAlreadyExists")
            ):  # somebody was quicker, and wants it otherwise
                return await self._find(name, None)
            raise unavailable(e, self._settings.where) from None
        self._topics.clear()
        url: str = said["QueueUrl"]
        return url

    # -- sending -------------------------------------------------------------------------------------------------------

    async def _send(
        self,
        url: str,
        parts: list[list[tuple[int, Entry]]],
        outgoing: Sequence[Outgoing],
        answers: list[BrokerRefused | None],
    ) -> None:
        """One batch after the other; what is refused is noted in `answers`."""
        for part in parts:
            async with self._sending:
                await self._send_batch(url, part, outgoing, answers)

    async def _send_batch(
        self,
        url: str,
        part: list[tuple[int, Entry]],
        outgoing: Sequence[Outgoing],
        answers: list[BrokerRefused | None],
    ) -> None:
        entries = [{"Id": str(n), **entry.fields} for n, (_, entry) in enumerate(part)]
        try:
            said = await self._ask(self._alive().send_message_batch(QueueUrl=url, Entries=entries))
        except ANY_FAULT as e:
            if code(e) in NO_QUEUE:
                self._gone(url)
                for i, _ in part:
                    if outgoing[i].direct:  # else the group has left
                        answers[i] = BrokerRefused(f"SQS has no queue {shown(outgoing[i].address)} any more")
                return
            if denied(e) and all(outgoing[i].answer for i, _ in part):
                for i, _ in part:
                    answers[i] = _refused(outgoing[i], "we may not write to it")
                return
            if not refusal(e):
                raise unavailable(e, self._settings.where) from None
            if len(part) == 1:
                answers[part[0][0]] = _refused(outgoing[part[0][0]], str(e))
                return
            for one in part:  # it is one of them: which?
                await self._send_batch(url, [one], outgoing, answers)
            return
        for failed in said.get("Failed", []):
            if not failed.get("SenderFault"):
                raise BrokerUnavailable(
                    f"SQS at {self._settings.where} could not take a message: {failed.get('Message') or failed['Code']}"
                )
            i = part[int(failed["Id"])][0]
            answers[i] = _refused(outgoing[i], failed.get("Message") or failed["Code"])
        told = {one["Id"] for kind in ("Successful", "Failed") for one in said.get(kind, ())}
        if any(entry["Id"] not in told for entry in entries):
            raise BrokerUnavailable(f"SQS at {self._settings.where} does not say what became of a message")

    def _gone(self, url: str) -> None:
        self._topics.clear()
        self._queues = {name: there for name, there in self._queues.items() if there != url}

    async def _do(self, asked: Awaitable[R]) -> R:
        try:
            return await self._ask(asked)
        except ANY_FAULT as e:
            raise unavailable(e, self._settings.where) from None

    async def _ask(self, asked: Awaitable[R]) -> R:
        async with asyncio.timeout(self._settings.timeout):
            return await asked

    def _alive(self) -> Any:
        if self._client is None:
            raise BrokerUnavailable("the connection to SQS is not open")
        return self._client


def _entry(one: Outgoing, url: str) -> Entry:
    entry = encode(one.message, fifo(url))
    if entry.size > LARGEST:
        raise _refused(one, f"{entry.size} bytes are more than the {LARGEST} that SQS takes")
    return entry


@cache
def _loader() -> Any:
    """It has read what SQS is, which takes a while, for whoever opens the next client."""
    return create_loader()


def _refused(one: Outgoing, said: str) -> BrokerRefused:
    return BrokerRefused(f"SQS refuses it for {shown(one.address)}: {said}")
