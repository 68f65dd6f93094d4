"""Exchanges and queues: used as they are when they are there, and made when they are not."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from ...core.checks import shown
from ...errors import BrokerRefused
from ...ports import Source
from .connection import Line, within
from .frames import aiormq

SINGLE = "x-single-active-consumer"
TYPE = "x-queue-type"
ALL = "#"
NAME = re.compile(r"[a-zA-Z0-9_.:@#,/+ -]{1,127}")  # what the client library lets pass
NAMES = "1 to 127 letters (a-z, A-Z), digits, spaces and any of -_.:@#,/+"


async def declare_topic(line: Line, name: str) -> bool:
    """See that the exchange is there. Whether it was; BrokerRefused when it cannot be."""
    if await _there(line, "exchange", name):
        return True
    channel = await line.channel()
    await line.ask(channel.exchange_declare(name, exchange_type="topic", durable=True))
    await close(channel)
    return False


async def bind(channel: aiormq.abc.AbstractChannel, source: Source, queue: str) -> None:
    """To its topic, for each type that is asked for, or all. Nothing happens to bindings that are there, and nothing to
    a queue that is no group's."""
    if source.shape != "queue":
        for subject in source.subjects or (ALL,):
            await channel.queue_bind(queue, source.address, subject)


async def declare_queue(line: Line, name: str, *, make: bool, ordered: bool) -> bool:
    """The same of a queue; when it was not there it is ours, to be read in order if that is asked for."""
    if await _there(line, "queue", name):
        return True
    if not make:
        raise BrokerRefused(f"{line.name} has no queue {shown(name)}: declare it, or add make=1 to the URL")
    channel = await line.channel()
    await line.ask(channel.queue_declare(name, durable=True, arguments=quorum(line, ordered=ordered)))
    await close(channel)
    return False


def quorum(line: Line, *, ordered: bool) -> dict[str, Any]:
    """The arguments of a queue of ours."""
    arguments: dict[str, Any] = {TYPE: "quorum"}
    if line.version >= (4,):
        arguments["x-delivery-limit"] = -1  # before 4.0 there is none, and -1 would mean 0
    if ordered:
        arguments[SINGLE] = True
    return arguments


async def _there(line: Line, what: str, name: str) -> bool:
    """Whether there is an exchange or a queue of that name. Asking for one that is not there costs the channel.
    BrokerRefused for what can be none."""
    if not NAME.fullmatch(name):
        of_a_group = " (that of a group is its topic, a dot and its name)" if what == "queue" else ""
        raise BrokerRefused(f"{shown(name)} cannot be a RabbitMQ {what} here: {NAMES}{of_a_group}")
    channel = await line.channel()
    asking = channel.exchange_declare if what == "exchange" else channel.queue_declare
    try:
        await line.ask(asking(name, passive=True))
    except BrokerRefused as e:
        if isinstance(e.__cause__, aiormq.exceptions.ChannelNotFoundEntity):
            return False
        raise
    await close(channel)
    return True


async def close(channel: aiormq.abc.AbstractChannel) -> None:
    with contextlib.suppress(Exception):
        await within(channel.close(), 3.0)
