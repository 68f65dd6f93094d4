"""One reader of a queue at a time, where the queue itself does not see to it.

A queue with `x-single-active-consumer` does: all of a group consume, and the server sends to one. Of a classic queue
without it somebody may be the exclusive consumer, and is until his channel ends; the others ask again and again. Either
way the server puts back what the last one had not accepted, in its place, before the next one is sent anything. A
quorum queue knows no exclusive consumers (it says yes to every one), so without the argument it is not read in order.

What a queue was declared with is nowhere to be asked in AMQP 0-9-1. But whoever declares it otherwise is told the first
thing that differs: `arguments` declares until nothing does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from ...core.checks import shown
from ...errors import BrokerRefused
from ...ports import Received
from .connection import Line
from .consumer import RabbitConsumer
from .declaring import SINGLE, TYPE, close, quorum
from .frames import aiormq

ASK = 0.5  # s between two tries, of one who stands by, to be the one who reads
MANY = 40  # differences that a queue may have
DIFFERS = re.compile(
    r"inequivalent arg '([^']+)' for queue .*: received .* but current is "
    r"(?:(none)|the value '(.*)' of type '(\w+)'|'([^']*)')",
    re.DOTALL,
)


async def shared(line: Line, queue: str) -> bool:
    """Whether this queue, which is there, sends to one consumer at a time by itself; False: one has to be exclusive.
    BrokerRefused when it cannot be read in order."""
    found = await arguments(line, queue)
    kind = found.get(TYPE, "classic")
    if kind == "stream":  # which lets pass any `SINGLE`, and does nothing for it
        raise BrokerRefused(
            f"{line.name}: {shown(queue)} is a stream, which is not read here: bind a queue to what feeds it"
        )
    if found.get(SINGLE) is True:
        return True
    if kind != "classic":
        raise BrokerRefused(
            f"{line.name}: the {kind} queue {shown(queue)} was declared without {SINGLE}, so several workers would not "
            "keep its order (ordered=True). That cannot be changed: let it run empty (pause whoever publishes, consume "
            f"without ordered=True), delete it, and declare it with {SINGLE}; a group's own queue is made so by itself"
        )
    return False


async def arguments(line: Line, queue: str) -> dict[str, Any]:
    """What it was declared with, as far as that counts. BrokerRefused when the server does not tell."""
    flags = {"durable": True, "auto_delete": False}
    said = quorum(line, ordered=True)
    for _ in range(MANY):
        channel = await line.channel()
        try:
            await line.ask(_declare(channel, queue, said, **flags))
        except BrokerRefused as e:
            differs = DIFFERS.search(str(e))
            if differs is None:
                raise BrokerRefused(
                    f"it is to be read in order, and cannot be asked for {SINGLE} (it takes the right to configure "
                    f"it): {e}"
                ) from e
            name, none, value, kind, bare = differs.groups()
            if name in flags:
                flags[name] = bare == "true"
            elif none:
                said.pop(name, None)
            else:
                said[name] = bare if value is None else value
                said[name] = _value(said[name], kind)
        else:
            await close(channel)
            return said
    raise BrokerRefused(f"{line.name} does not tell whether the queue {shown(queue)} has {SINGLE}: it keeps no order")


def _declare(
    channel: aiormq.abc.AbstractChannel, queue: str, arguments: dict[str, Any], *, durable: bool, auto_delete: bool
) -> Coroutine[Any, Any, object]:
    return channel.queue_declare(queue, durable=durable, auto_delete=auto_delete, arguments=arguments)


def _value(text: str, kind: str | None) -> Any:
    if text in ("true", "false") and kind in (None, "bool"):
        return text == "true"
    return int(text) if kind not in (None, "longstr") and re.fullmatch(r"-?\d+", text) else text


class ExclusiveConsumer:
    """See `ports.Consumer`. `begin`: be the one who reads; None: somebody else is."""

    def __init__(self, begin: Callable[[], Awaitable[RabbitConsumer | None]]) -> None:
        self._begin = begin
        self._consumer: RabbitConsumer | None = None

    async def receive(self, most: int, wait: float) -> list[Received]:
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        while self._consumer is None:
            self._consumer = await self._begin()
            if self._consumer is None:
                await asyncio.sleep(max(0.0, min(ASK, until - clock())))
                if clock() >= until:
                    return []
        return await self._consumer.receive(most, max(0.0, until - clock()))

    async def accept(self, received: Sequence[Received]) -> None:
        if self._consumer is not None:
            await self._consumer.accept(received)

    async def give_back(self, received: Sequence[Received]) -> None:
        if self._consumer is not None:
            await self._consumer.give_back(received)

    async def close(self) -> None:
        if self._consumer is not None:
            await self._consumer.close()
