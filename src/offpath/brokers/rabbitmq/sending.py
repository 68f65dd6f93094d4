"""Sending several messages at once, and what each came to."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Coroutine, Sequence
from typing import Any

from ...ports import Outgoing
from .coding import properties
from .frames import aiormq

GRACE = 1.0  # s


async def publish(channel: aiormq.abc.AbstractChannel, out: Outgoing) -> Exception | None:
    """What the server, or the protocol, has against this message. Raises when it is about more than that."""
    try:
        await channel.basic_publish(
            out.message.body,
            exchange="" if out.direct else out.address,
            routing_key=out.address if out.direct else out.subject,
            properties=properties(out.message),
            mandatory=True,  # what no queue takes comes back
        )
    except (aiormq.exceptions.DeliveryError, ValueError, TypeError, struct.error) as e:
        return e
    return None


async def settled(
    sending: Sequence[Coroutine[Any, Any, Exception | None]], seconds: float
) -> list[BaseException | None]:
    """What each came to. Once the channel or the connection is gone, those that hang on it are not waited for."""
    tasks = [asyncio.ensure_future(one) for one in sending]
    if not tasks:
        return []
    try:
        _, waiting = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        if waiting and all(task.cancelled() or task.exception() is None for task in tasks if task.done()):
            raise TimeoutError
        if waiting:
            await asyncio.wait(waiting, timeout=GRACE)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=GRACE)
    return [_result(task) for task in tasks]


def _result(task: asyncio.Task[Exception | None]) -> BaseException | None:
    if not task.done() or task.cancelled():
        return ConnectionError("the connection was lost")
    return task.exception() or task.result()
