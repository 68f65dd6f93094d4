"""Who hears hints in these tests."""

import threading
from collections.abc import Callable
from typing import Any

from offpath.ports import Hint, Transport

WAIT = 60.0
CAUGHT_UP = Hint("queue")  # the last hint that says: anything may have changed, and from now on all is heard


class Ear:
    """Collects hints, or the names of signals; `wait_for` blocks until one that fits has come."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, what: Any) -> None:
        with self._changed:
            self.heard.append(what)
            self._changed.notify_all()

    def wait_for(self, enough: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(enough, WAIT), self.heard

    def wait(self, what: object, times: int = 1) -> None:
        self.wait_for(lambda: self.heard.count(what) >= times)

    def wait_a_moment(self, what: object) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: what in self.heard, 0.2)

    def names(self) -> set[str]:
        return {name for hint in self.heard for name in hint.names}


def listening(transport: Transport) -> Ear:
    """An ear that hears from now on what others announce."""
    ear = Ear()
    transport.subscribe(ear)
    ear.wait(CAUGHT_UP)
    return ear
