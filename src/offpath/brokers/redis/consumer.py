"""Reading a stream as one of a consumer group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from ...errors import BrokerError, BrokerUnavailable
from ...ports import Received
from ...ports.broker import ENOUGH
from .coding import message
from .connection import Line, Redis, exceptions

T = TypeVar("T")

LEFT = "offpath-left"  # the consumer that owns what a closed one had not accepted, until another takes it
LOOK = 1.0  # s between two looks for what others have left
MOST = 1000  # of that at once


class RedisConsumer:
    """See `ports.Consumer`. `number` is the server's name for the connection that reads; `min_idle` is in ms."""

    def __init__(self, line: Line, stream: str, group: str, reader: Redis, number: int, min_idle: int) -> None:
        self._line, self._stream, self._group = line, stream, group
        self._reader, self._number, self._min_idle = reader, number, min_idle
        self._me = f"offpath-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._out: set[str] = set()  # handed out, and neither accepted nor given back
        self._look_at = 0.0  # when to look next for what others have left,
        self._careful = 1  # and how much of that is wise: it may be what was too large for them
        self._abandoned = False  # a read or a claim was cancelled, and may go on at the server or have been answered
        self._lost: BrokerUnavailable | None = None

    async def receive(self, most: int, wait: float) -> list[Received]:
        try:
            return await self._receive(most, wait)
        except asyncio.CancelledError:
            self._abandoned = True
            raise

    async def _receive(self, most: int, wait: float) -> list[Received]:
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        if self._abandoned:
            await self._ask(self._resume())
        while True:
            if clock() >= self._look_at:
                self._look_at = clock() + LOOK
                if found := await self._claim(most):
                    return found
                if clock() >= self._look_at and clock() < until:
                    continue  # what it saw had been deleted
            block = max(0.0, min(until, self._look_at) - clock())
            if found := await self._read(most, block):
                return found
            if clock() >= until:
                return []

    async def accept(self, received: Sequence[Received]) -> None:
        tags = [str(one.tag) for one in received]
        if tags:
            await self._ask(self._line.client().xack(self._stream, self._group, *tags))
            self._out.difference_update(tags)

    async def give_back(self, received: Sequence[Received]) -> None:
        """Any consumer of the group may take them at once; this one does before it reads on, so that order holds."""
        tags = [str(one.tag) for one in received]
        if tags:
            await self._ask(self._pass_on(tags, self._me))
            self._out.difference_update(tags)
            self._look_at = 0.0

    async def close(self) -> None:
        try:
            if self._lost is None:
                with contextlib.suppress(BrokerError):
                    await self._line.ask(self._leave())
        finally:
            await self._reader.aclose()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, what: Awaitable[T], more: float = 0.0) -> T:
        try:
            return await self._line.ask(what, more)
        except BrokerError as e:  # a group or stream that is gone, too, is for `consume` to make
            self._lost = BrokerUnavailable(str(e))
            raise self._lost from e

    async def _read(self, most: int, block: float) -> list[Received]:
        """What nobody of the group has had yet; after `block` seconds []."""
        if self._lost is not None:
            raise self._lost
        reading: Awaitable[Any] = self._reader.xreadgroup(
            self._group,
            self._me,
            {self._stream: ">"},
            count=most,
            block=int(block * 1000) or None,
        )
        answer = await self._ask(reading, block)
        return [self._received(entry, 1) for _, entries in answer or () for entry in entries]

    async def _claim(self, most: int) -> list[Received]:
        """What has waited for `min_idle` with whoever took it, or was given back. (XAUTOCLAIM does not say how often it
        was handed out, and of few it sees few: it would not come to what is behind others' entries.)"""
        most = min(most, self._careful)
        looking: Awaitable[Any] = self._reader.xpending_range(
            self._stream, self._group, "-", "+", most + len(self._out), idle=self._min_idle
        )
        times = {one["message_id"]: int(one["times_delivered"]) + 1 for one in await self._ask(looking)}
        tags = [tag for tag in times if tag.decode() not in self._out][:most]
        if not tags:
            return []
        self._look_at = 0.0  # there may be more of them
        claiming: Awaitable[Any] = self._reader.xclaim(self._stream, self._group, self._me, self._min_idle, tags)
        return self._paced([entry for entry in await self._ask(claiming) if entry[1] is not None], times, most)

    def _paced(
        self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]], times: Mapping[bytes, int], most: int
    ) -> list[Received]:
        """What others have left; of that, so many are asked for next as seems wise after these."""
        size = sum(len(value) for _, said in entries for value in said.values())
        self._careful = min(2 * most, MOST) if 2 * size <= ENOUGH else max(1, min(most, most * ENOUGH // size))
        return [self._received(entry, times.get(entry[0], 0)) for entry in entries]

    def _received(self, entry: tuple[bytes, Mapping[bytes, bytes]], times: int) -> Received:
        tag = entry[0].decode()
        self._out.add(tag)
        return Received(message(entry[1]), tag, f"{self._stream}@{tag}", self._stream, times)

    async def _pass_on(self, tags: Sequence[str], to: str) -> None:
        idle = self._min_idle
        client = self._line.client()
        await client.xclaim(self._stream, self._group, to, 0, [*tags], idle=idle, justid=True)

    async def _leave(self) -> None:
        """Let others have at once what was not accepted, and take our name away."""
        ended = await self._end_reading()
        while mine := await self._pending():
            await self._pass_on(mine, LEFT)
        if ended:
            await self._line.client().xgroup_delconsumer(self._stream, self._group, self._me)

    async def _resume(self) -> None:
        """After a read that was abandoned: what it may have been given is to come again."""
        await self._read_anew()
        if given := [tag for tag in await self._pending() if tag not in self._out]:
            await self._pass_on(given, self._me)
        self._abandoned, self._look_at = False, 0.0

    async def _read_anew(self) -> None:
        await self._end_reading()
        if self._reader.connection is not None:  # it need not have noticed
            await self._reader.connection.disconnect(nowait=True)
        self._number = int(await self._reader.client_id())

    async def _end_reading(self) -> bool:
        """End the connection that reads: a read that was abandoned may still block at the server, and what it is given
        goes with our name. Whether we may."""
        try:
            await self._line.client().client_kill_filter(_id=str(self._number))
        except exceptions.ResponseError:
            return False
        return True

    async def _pending(self) -> list[str]:
        """What is ours and not accepted; a thousand at most."""
        client: Any = self._line.client()
        pending = await client.xpending_range(self._stream, self._group, "-", "+", 1000, self._me)
        return [one["message_id"].decode() for one in pending]
