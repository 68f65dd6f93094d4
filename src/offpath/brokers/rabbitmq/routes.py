"""Where topics lead: what this process knows of a server, to tell a loss from a topic that nobody reads.

A topic that no queue is bound to takes messages and drops them. That is right where nobody is to have them, and a loss
where the exchange was deleted, or the server came back without its disk, and those who read have yet to bind their
queues again. So what has led somewhere and does not any more is not sent for `HOLD` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ...observe import signal

K = TypeVar("K")

HOLD = 30.0  # s: longer than consumers need to find the way back (at most 18 s between two tries, and a few to connect)
MOST = 10_000  # topics and types that are remembered


class Routes:
    """Of one server. Connections and brokers come and go; this stays, or an outage would make us forget."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._led: dict[tuple[str, str], None] = {}  # topics and types of messages that a queue has taken
        self._read: dict[str, None] = {}  # their topics
        self._anew: dict[str, float] = {}  # since when there is again what was gone
        self._lost: dict[tuple[str, str], float] = {}  # since when no queue takes what one has taken
        self._told: dict[tuple[str, str], None] = {}

    @property
    def doubtful(self) -> bool:
        """Send one after the other: a queue that is bound meanwhile must not have the second before the first."""
        return any(self._clock() - since < HOLD for since in list(self._lost.values()))

    def made(self, topic: str) -> None:
        """There was no such exchange."""
        if topic in self._read:
            self._anew[topic] = self._clock()

    def waits(self, topic: str) -> bool:
        """Its exchange was made anew a moment ago: nobody may have found it yet."""
        since = self._anew.get(topic)
        if since is not None and self._clock() - since >= HOLD:
            del self._anew[topic]
            return False
        return since is not None

    def led(self, topic: str, subject: str) -> None:
        """A queue has taken it."""
        _remember(self._led, (topic, subject))
        _remember(self._read, topic)
        self._lost.pop((topic, subject), None)
        self._told.pop((topic, subject), None)

    def returned(self, topic: str, subject: str) -> bool:
        """No queue has taken it. Whether it is to be sent again; otherwise it is dropped, which is told once."""
        way, now = (topic, subject), self._clock()
        if way in self._led:
            if now - self._lost.setdefault(way, now) < HOLD:
                return True
            self._led.pop(way, None)
            self._lost.pop(way, None)
        if way not in self._told:
            _remember(self._told, way)
            signal("outbox.unrouted", broker="rabbitmq", address=topic, type=subject)
        return False


_servers: dict[str, Routes] = {}


def routes(server: str) -> Routes:
    """Those of this server, in this process."""
    return _servers.setdefault(server, Routes())


def _remember(known: dict[K, None], one: K) -> None:
    if one not in known:
        if len(known) >= MOST:
            known.clear()
        known[one] = None
