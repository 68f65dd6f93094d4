"""What may happen to hints between a transport and its listener, and to the server that carries them."""

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from offpath.ports import Hint, Transport
from servers.kafka import BRISK, Kafka
from servers.proxy import Proxy
from servers.redis import Redis
from tests.brokers import Broker

CARRIER = "offpath-hints"
"""The thread that hears what comes from outside; what this process announces itself is heard on its own threads."""
SLOW, HELD = 0.05, 0.03  # s
COPIES = 3


class Faulty:
    """A transport whose listeners hear hints as `fault` wants it: see `tests.matrix`. None: as they come."""

    def __init__(self, real: Transport, chance: random.Random) -> None:
        self._real, self._chance = real, chance
        self._changed = threading.Condition()
        self._held: list[tuple[Callable[[Hint], None], Hint]] = []
        self._fault: str | None = None
        self.outside = 0
        """Hints that have come from another process, or might have."""
        self._spoilt = 0  # hints that the fault has done something to
        self._names: set[str] = set()

    def open(self) -> None:
        self._real.open()

    def close(self) -> None:
        self.set(None)
        self._real.close()

    def announce(self, hints: Sequence[Hint]) -> None:
        self._real.announce(hints)

    def subscribe(self, on_hint: Callable[[Hint], None]) -> Callable[[], None]:
        return self._real.subscribe(lambda hint: self._hear(on_hint, hint))

    def set(self, fault: str | None) -> None:
        self._fault, self._spoilt = fault, 0
        self._release()

    def heard(self, name: str, within: float) -> bool:
        """Whether a hint of this name has come from outside, or comes within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: name in self._names, within)

    def has_spoilt(self, within: float) -> bool:
        """Whether the fault has been at work on a hint from outside, or is within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._spoilt > 0, within)

    def _spoil(self, outside: bool) -> None:
        with self._changed:
            self._spoilt += outside
            self._changed.notify_all()

    def _hear(self, on_hint: Callable[[Hint], None], hint: Hint) -> None:
        outside = threading.current_thread().name == CARRIER
        with self._changed:
            self.outside += outside
            self._names.update(hint.names if outside else ())
            self._changed.notify_all()
        self._pass(on_hint, hint, outside)

    def _pass(self, on_hint: Callable[[Hint], None], hint: Hint, outside: bool) -> None:
        fault = self._fault
        if fault in ("hints lost", "deaf"):
            if fault == "deaf" or self._chance.random() < 2 / 3:
                self._spoil(outside)
                return
        elif fault == "hints doubled":
            self._spoil(outside)
            for _ in range(COPIES - 1):
                on_hint(hint)
        elif fault == "hints reordered":
            self._spoil(outside)
            with self._changed:
                self._held.append((on_hint, hint))
                first = len(self._held) == 1
            if first:
                timer = threading.Timer(HELD, self._release)
                timer.daemon = True
                timer.start()
            return
        elif fault == "slow consumer" and outside:
            self._spoil(outside)
            time.sleep(SLOW)  # the fault itself: nobody waits for it
        on_hint(hint)

    def _release(self) -> None:
        with self._changed:
            held, self._held = self._held, []
        self._chance.shuffle(held)
        for on_hint, hint in held:
            on_hint(hint)


@dataclass
class Ground:
    """What carries hints, and what can be done to it.

    url    what is given to offpath ("": the store's own way), or, of PostgreSQL's own, where its line connects to
    how    it is lost, in a few words
    again  hints are heard again after `find`
    """

    url: str
    how: str
    lose: Callable[[], None]
    find: Callable[[], None]
    deaf: Callable[[], None] | None = None
    again: bool = True


@contextmanager
def local(database: Path) -> Iterator[Ground]:
    """SQLite's own way: sockets in a folder. When that has gone they are deaf, and the look at the file remains."""
    from offpath.transports.local import LocalTransport

    folder = LocalTransport(str(database))._folder

    def lose() -> None:
        shutil.rmtree(folder)

    assert folder.startswith(tempfile.gettempdir())
    yield Ground("", "its sockets removed", lose, lambda: None, again=False)


@contextmanager
def proxied(url: str) -> Iterator[Ground]:
    """A server that others use too: the line to it is cut."""
    with Proxy(url) as proxy:
        yield Ground(proxy.url, "its line cut", proxy.cut, proxy.restore, proxy.deaf)


@contextmanager
def redis(server: Redis) -> Iterator[Ground]:
    with Proxy(server.url) as proxy:
        yield Ground(proxy.url, "kill -9, restarted", server.kill, server.start, proxy.deaf)


@contextmanager
def rabbitmq(server: Broker) -> Iterator[Ground]:
    with Proxy(server.url) as proxy:
        yield Ground(proxy.url, "kill -9, restarted", server.kill, server.start, proxy.deaf)


@contextmanager
def kafka(server: Kafka) -> Iterator[Ground]:
    with Proxy(server.url) as proxy:
        server.advertise(proxy.port)
        yield Ground(proxy.url + BRISK, "the mock set down, and up", server.down, server.up, proxy.deaf)
