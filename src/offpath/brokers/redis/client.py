"""Publishing to streams, and beginning to read one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from ...core.checks import shown
from ...errors import BrokerError, BrokerRefused, BrokerUnavailable, ConfigurationError
from ...ports import Outgoing, Source
from ..address import Address
from ..options import seconds, whole
from .coding import fields, too_large
from .connection import Line, Redis, exceptions
from .consumer import RedisConsumer
from .ordered import OrderedRedisConsumer

QUEUE_GROUP = "offpath"  # the one group of a queue
GONE = 86_400.0  # s after which the name of a consumer that never said goodbye is removed
MIB = 2**20


class RedisBroker:
    """See `ports.Broker`. One connection to publish, and one for each consumer."""

    kind = "redis"

    def __init__(self, address: Address) -> None:
        self._line = Line(address)
        self._begin = address.options.get("from", "0")
        if self._begin not in ("0", "$"):
            raise ConfigurationError(f"from= of the redis URL is 0 or $, not {shown(self._begin)}")
        self._min_idle = int(seconds(address, "min_idle", 60.0) * 1000)  # ms
        self._takeover = seconds(address, "takeover", 15.0, least=0.1)
        self._maxlen = whole(address, "maxlen", 0)

    async def open(self) -> None:
        await self._line.open()

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        answers: list[BrokerRefused | None] = [too_large(out) for out in outgoing]
        places = [place for place, refused in enumerate(answers) if refused is None]
        if not places:
            return answers
        try:
            said = await self._add([outgoing[place] for place in places])
        except BrokerRefused:  # one of them spoiled the transaction: which one?
            said = [await self._add_one(outgoing[place]) for place in places]
        for place, refused in zip(places, said, strict=True):
            answers[place] = refused
        return answers

    async def consume(self, source: Source) -> RedisConsumer:
        group = QUEUE_GROUP if source.shape == "queue" else source.group
        client = self._line.client()
        await self._line.ask(_group(client, source.address, group, self._begin))
        with contextlib.suppress(BrokerRefused):  # we may not: then the names stay
            await self._line.ask(_forget(client, source.address, group))
        reader = self._line.reader()
        try:
            await self._line.ask(reader.initialize())
            number = await self._line.ask(reader.client_id())
        except BaseException:
            await reader.aclose()
            raise
        given = self._line, source.address, group, reader, int(number), self._min_idle
        if not source.ordered:
            return RedisConsumer(*given)
        consumer = OrderedRedisConsumer(*given, self._takeover)
        try:
            await consumer.allowed()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    async def close(self) -> None:
        await self._line.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _add(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        """In one transaction: when the memory ends in the midst of them, none is there without those before it."""
        size = sum(len(out.message.body) for out in outgoing)
        async with self._line.client().pipeline(transaction=True) as pipeline:
            for out in outgoing:
                pipeline.execute_command("XADD", *self._entry(out))
            answers = await self._line.ask(pipeline.execute(raise_on_error=False), size / MIB)
        found = [self._judge(out, answer) for out, answer in zip(outgoing, answers, strict=True)]
        for one in found:
            if isinstance(one, BrokerUnavailable):
                raise one
        return [one if isinstance(one, BrokerRefused) else None for one in found]

    async def _add_one(self, out: Outgoing) -> BrokerRefused | None:
        try:
            execute: Any = self._line.client().execute_command
            added = await self._line.ask(execute("XADD", *self._entry(out)), len(out.message.body) / MIB)
        except BrokerRefused as e:
            return e
        return None if added is not None else self._missing(out)

    def _judge(self, out: Outgoing, answer: object) -> BrokerError | None:
        if isinstance(answer, Exception):
            return self._line.said(answer)
        return None if answer is not None else self._missing(out)

    def _missing(self, out: Outgoing) -> BrokerRefused:
        return BrokerRefused(
            f"{self._line.name} has no stream {shown(out.address)}; for an answer none is made: begin to read it first"
        )

    def _entry(self, out: Outgoing) -> list[bytes | str | int]:
        """The arguments of XADD."""
        make: list[bytes | str | int] = ["NOMKSTREAM"] if out.answer else []
        trim: list[bytes | str | int] = ["MAXLEN", "~", self._maxlen] if self._maxlen else []
        return [out.address, *make, *trim, "*", *(part for field in fields(out.message).items() for part in field)]


async def _group(client: Redis, stream: str, group: str, begin: str) -> None:
    try:
        await client.xgroup_create(stream, group, begin, mkstream=True)
    except exceptions.ResponseError as e:
        if not str(e).startswith("BUSYGROUP"):  # it is there
            raise


async def _forget(client: Redis, stream: str, group: str) -> None:
    """Take away the names of consumers that died long ago, once others have all that they had."""
    for one in await client.xinfo_consumers(stream, group):
        name = one["name"].decode(errors="replace")
        if name.startswith("offpath-") and one["pending"] == 0 and one["idle"] > GONE * 1000:
            await client.xgroup_delconsumer(stream, group, name)
