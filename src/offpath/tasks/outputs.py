"""`ctx.events`: what a task tells those who watch it, in its own words."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic

from ..codec import Value
from ..core.outputs import output
from ..errors import ArgumentError, ResultError
from ..ports import Pending, R


class Ready(Generic[R]):
    """A `Pending` whose result is already there."""

    __slots__ = ("_value",)

    def __init__(self, value: R) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, R]:
        yield from ()  # nothing to wait for
        return self._value

    def result(self, timeout: float | None = None) -> R:
        return self._value


Sink = Callable[[str], Pending[bool]]
"""Takes a line (JSON text) without blocking, from any thread; True in the end = written, False = stale."""


def nowhere(line: str) -> Pending[bool]:
    return Ready(True)


class Events:
    """Events of the task's own in its operation's log. Safe to use from any thread."""

    __slots__ = ("_lock", "_sink")

    def __init__(self, sink: Sink, lock: threading.Lock) -> None:
        self._sink, self._lock = sink, lock

    def emit(self, name: str, data: object = None) -> Pending[bool]:
        """Add a line to the log: `await ctx.events.emit("page-rendered", {"page": 3})`. Whoever watches the operation
        gets it as an event "operation.output" with `name` and `data`, numbered among the others, after a reconnect too.

        name  1 to 100 letters, digits and _ . : / -
        data  anything that has a JSON form, up to 64 KiB

        It is written soon, with what else has come by then; awaiting what comes back (or `.result()` in a plain
        function) waits until it is, and tells whether it was: False means that another worker has the job by now.
        A job that nobody can watch writes nothing. ArgumentError for what cannot be sent, for more than 10,000 by one
        attempt, and for more than 1,000 that nobody has waited for.
        """
        try:
            text = _codec().encode(data)
        except ResultError as error:
            raise ArgumentError("data", str(error).removeprefix("event: the result ")) from error.__cause__
        line = output(name, text)
        with self._lock:
            return self._sink(line)


@functools.cache
def _codec() -> Value:
    return Value("event", Any)
