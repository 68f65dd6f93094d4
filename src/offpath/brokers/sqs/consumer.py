"""Reading a queue."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

from ...errors import BrokerUnavailable
from ...ports import Received
from ...ports.broker import ENOUGH
from .coding import ENTRIES, decode
from .faults import ANY_FAULT, NO_QUEUE, STALE, bare, code, unavailable


class Times(Protocol):
    """What of the settings is wanted here. Seconds."""

    @property
    def where(self) -> str: ...
    @property
    def visibility(self) -> int: ...
    @property
    def poll(self) -> int: ...
    @property
    def timeout(self) -> float: ...


class SqsConsumer:
    """A look for messages goes on when its caller gives up: what it finds is the next one's. SQS would give it to a
    closed connection, and hide it from everybody for `visibility` seconds. For the same reason closing gives back what
    was handed out and not accepted."""

    def __init__(self, client: Any, url: str, address: str, times: Times) -> None:
        self._client, self._url, self._address, self._times = client, url, address, times
        self._look: asyncio.Task[list[Received]] | None = None
        self._found: list[Received] = []  # by a look whose caller was gone, and not handed out yet
        self._held: dict[object, tuple[float, Received]] = {}  # by its receipt: handed out, and until when it is ours
        self._closed = False

    async def receive(self, most: int, wait: float) -> list[Received]:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        while not self._found:
            left = end - loop.time()
            if self._look is None:
                self._look = asyncio.create_task(self._ask(min(most, ENTRIES), max(0, math.ceil(left))))
            await asyncio.wait([self._look], timeout=max(0.0, left))
            if not self._look.done():
                return []
            look, self._look = self._look, None
            self._found += look.result()
            if not self._found and loop.time() >= end:
                return []
        found, self._found = self._found, []
        while len(found) < most and len(found) % ENTRIES == 0 and _size(found) < ENOUGH:
            more = await self._again(
                found, min(most - len(found), ENTRIES)
            )  # the last look was full: there may be more
            if not more:
                break
            found += more
        got, self._found = found[:most], found[most:]
        self._hold(got)
        return got

    def _hold(self, received: list[Received]) -> None:
        now = asyncio.get_running_loop().time()
        self._held = {tag: held for tag, held in self._held.items() if held[0] > now}
        self._held.update((one.tag, (now + self._times.visibility, one)) for one in received)

    def _release(self, received: Sequence[Received]) -> None:
        for one in received:
            self._held.pop(one.tag, None)

    async def _again(self, found: list[Received], most: int) -> list[Received]:
        if self._look is None:
            self._look = asyncio.create_task(self._ask(most, 0))
        try:
            await asyncio.wait([self._look])
        except asyncio.CancelledError:
            self._found = found  # and the look goes on
            raise
        look, self._look = self._look, None
        try:
            return look.result()
        except BrokerUnavailable:
            return []  # the next one will say so

    async def accept(self, received: Sequence[Received]) -> None:
        self._release(received)
        await self._batch(
            received, lambda entries: self._alive().delete_message_batch(QueueUrl=self._url, Entries=entries)
        )

    async def give_back(self, received: Sequence[Received]) -> None:
        def now(entries: list[dict[str, Any]]) -> Any:
            hidden = [{**entry, "VisibilityTimeout": 0} for entry in entries]
            return self._alive().change_message_visibility_batch(QueueUrl=self._url, Entries=hidden)

        self._release(received)
        await self._batch(received, now)

    async def close(self) -> None:
        if self._closed:
            return
        look, self._look = self._look, None
        try:
            found = self._found
            if look is not None:
                with contextlib.suppress(BrokerUnavailable):
                    found = found + await look
            with contextlib.suppress(BrokerUnavailable):
                await self.give_back([*(held for _, held in self._held.values()), *found])
        finally:
            self._closed = True
            if look is not None:
                look.cancel()

    async def _ask(self, most: int, wait: int) -> list[Received]:
        wait = min(wait, self._times.poll)
        try:
            async with asyncio.timeout(wait + self._times.timeout):
                said = await self._alive().receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=most,
                    WaitTimeSeconds=wait,
                    VisibilityTimeout=self._times.visibility,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
                )
        except ANY_FAULT as e:
            raise unavailable(e, self._times.where) from None
        return [self._received(one) for one in said.get("Messages") or []]

    def _received(self, one: dict[str, Any]) -> Received:
        times = (one.get("Attributes") or {}).get("ApproximateReceiveCount", "0")
        return Received(
            decode(one),
            one["ReceiptHandle"],
            f"{self._address}@{one.get('MessageId', '')}",
            self._address,
            int(times) if str(times).isdigit() else 0,
        )

    async def _batch(self, received: Sequence[Received], ask: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Ask for ten at a time. What is not ours any more is passed over."""
        for part in _tens(received):
            entries = [{"Id": str(n), "ReceiptHandle": cast("str", one.tag)} for n, one in enumerate(part)]
            try:
                async with asyncio.timeout(self._times.timeout):
                    said = await ask(entries)
            except ANY_FAULT as e:
                if code(e) in NO_QUEUE:
                    return  # deleted, with all that was in it
                raise unavailable(e, self._times.where) from None
            for failed in said.get("Failed") or []:
                if bare(failed["Code"]).rpartition(".")[2] not in STALE:
                    raise BrokerUnavailable(f"SQS at {self._times.where}: {failed.get('Message') or failed['Code']}")

    def _alive(self) -> Any:
        if self._closed:
            raise BrokerUnavailable("this consumer of SQS has been closed")
        return self._client


def _size(received: Sequence[Received]) -> int:
    return sum(len(one.message.body) for one in received)


def _tens(received: Sequence[Received]) -> Iterator[Sequence[Received]]:
    for start in range(0, len(received), ENTRIES):
        yield received[start : start + ENTRIES]
