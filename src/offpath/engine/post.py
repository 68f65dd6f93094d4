"""A worker's connection to the broker that its events go to: opened when first needed, opened anew after an outage."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from ..core.outbox import again
from ..errors import BrokerRefused, BrokerUnavailable, ConfigurationError
from ..observe import signal
from ..ports import Broker, Outgoing
from ..tracing import calling

PATIENCE, EACH = 30.0, 1.0  # s for a broker's confirmation: in any case, and for each message
PAGE, SLOW_PAGE = 200, 20  # messages that are sent before the first of them must be confirmed; one request each
SYSTEMS = {"sqs": "aws_sqs"}  # as the conventions for messaging name them, where we do not
QUICK = 5.0  # s in which a page must have gone for the next one to be larger


class Away(Exception):
    """The broker cannot be reached; it is tried again after `pause` seconds, by nobody before. It has what
    `confirmed` names all the same: places in what was to be sent."""

    def __init__(self, pause: float, confirmed: Sequence[int] = ()) -> None:
        super().__init__(f"again in {pause:.1f} s")
        self.pause, self.confirmed = pause, confirmed


class Post:
    """Lives on the loop of one worker. `make` gives a broker of this kind that is not open yet."""

    def __init__(self, kind: str, make: Callable[[], Broker]) -> None:
        self.kind = kind
        self._make = make
        self._broker: Broker | None = None
        self._opening = asyncio.Lock()
        self._sending: set[asyncio.Task[Any]] = set()
        self._since: float | None = None  # the outage began
        self._until = 0.0  # nobody tries before
        self._most = SLOW_PAGE if kind == "http" else PAGE
        self.page = self._most
        """How many to send at once: fewer after a page that did not get through, or it would be sent again for ever."""

    async def ready(self) -> Broker:
        """Away: it is not there, or was not a moment ago."""
        if self._broker is not None:
            self._heed()
            return self._broker
        async with self._opening:
            if self._broker is None:
                self._heed()
                broker: Broker | None = None
                try:
                    broker = self._make()
                    async with asyncio.timeout(PATIENCE):
                        await broker.open()
                except BaseException as error:
                    if broker is not None:
                        await _leave(broker)
                    if isinstance(error, BrokerUnavailable | ConfigurationError | TimeoutError | OSError):
                        raise self._away(error) from error
                    raise
                self._broker = broker
            return self._broker

    async def send(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        """As `Broker.publish`. Away: nothing is known but what it says. BrokerUnavailable when, as far as one can tell,
        the trouble is with the address of an answer: it stops nobody else."""
        broker = await self.ready()
        began = monotonic()
        try:
            said = await self._recorded(broker, outgoing)
        except (BrokerUnavailable, TimeoutError) as error:
            alive = isinstance(error, BrokerUnavailable) and error.alive
            if alive and self._since is None and all(one.answer for one in outgoing):
                raise
            if len(outgoing) > 1:
                self.page = max(1, min(self.page, len(outgoing) // 2))
            away = self._away(error) if alive else await self._lost(broker, error)
            away.confirmed = getattr(error, "confirmed", ())
            raise away from error
        except Exception as error:
            if self._broker is broker:
                raise
            raise self._away(error) from error  # it was closed under our feet: somebody else has lost it
        if len(outgoing) >= self.page and monotonic() - began < QUICK:
            self.page = min(self._most, 2 * self.page)
        self._well()
        return said

    async def _recorded(self, broker: Broker, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        """In a span of its own, linked to where each message was made."""
        places = {one.address for one in outgoing}
        place = {"messaging.destination.name": places.pop()} if len(places) == 1 else {}
        name = " ".join(["send", *place.values()])
        about: dict[str, str | int] = {
            "messaging.system": SYSTEMS.get(self.kind, self.kind),
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.batch.message_count": len(outgoing),
        }
        call = calling(name, {**about, **place}, None, [one.trace for one in outgoing if one.trace is not None])
        if call is None:
            return await self._publish(broker, outgoing)
        error: str | None = "interrupted"
        try:
            said = await self._publish(broker, outgoing)
            error = "BrokerRefused" if any(said) else None
            return said
        except Exception as failed:
            error = type(failed).__name__
            raise
        finally:
            call.end(None, error)

    async def _publish(self, broker: Broker, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        """An attempt that is cancelled does not break off in the middle of what the others send on the same line."""
        sending = asyncio.get_running_loop().create_task(broker.publish(outgoing), name="offpath-publish")
        self._sending.add(sending)
        sending.add_done_callback(self._sent)
        done, _ = await asyncio.wait({sending}, timeout=PATIENCE + EACH * len(outgoing))
        if not done:
            sending.cancel()
            raise TimeoutError
        return sending.result()

    def _sent(self, sending: asyncio.Task[Any]) -> None:
        self._sending.discard(sending)
        if not sending.cancelled():
            sending.exception()  # looked at, should nobody else be there to

    async def close(self) -> None:
        broker, self._broker = self._broker, None
        if broker is not None:
            await _leave(broker)
        for sending in list(self._sending):
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def lost(self, error: Exception) -> Away:
        """It takes nothing, whatever it says: begin anew with it."""
        return self._away(error) if self._broker is None else await self._lost(self._broker, error)

    async def _lost(self, broker: Broker, error: Exception) -> Away:
        if self._broker is broker:
            self._broker = None
            away = self._away(error)
            await _leave(broker)
            return away
        return self._away(error)

    # -- the outage ---------------------------------------------------------------------------------------------------

    def _heed(self) -> None:
        if (left := self._until - monotonic()) > 0:
            raise Away(left)

    def _away(self, error: Exception) -> Away:
        now = monotonic()
        if self._since is None:
            self._since = now
            text = str(error) or f"it did not answer in time ({type(error).__name__})"
            signal("broker.failed", broker=self.kind, error=text)
        if self._until <= now:
            pause = again(now - self._since, random.random(), getattr(error, "retry_after", None))
            self._until = now + pause
        return Away(self._until - now)

    def _well(self) -> None:
        if self._since is not None:
            signal("broker.restored", broker=self.kind, seconds=monotonic() - self._since)
            self._since, self._until = None, 0.0


async def _leave(broker: Broker) -> None:
    with contextlib.suppress(Exception):  # it is gone already, or will not go: there is nothing more to ask of it
        async with asyncio.timeout(5):
            await broker.close()
