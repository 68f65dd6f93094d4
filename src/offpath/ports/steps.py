"""What a verb is made of, and what running one gives.

One statement is `Statement(sql, params, read)`; a verb of several is a generator that yields statements and receives
what each one read, so that a writer thread, a borrowed synchronous connection and a borrowed asynchronous one share
every line of it. Executing a statement is the only I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Statement(NamedTuple):
    """One SQL statement: text with `:name` parameters, their values, and how to read its rows.

    A statement that returns no rows is read as one row with the number of rows it touched.
    """

    sql: str
    params: Mapping[str, Any]  # text, integers, None: what every driver takes
    read: Callable[[list[Any]], Any]


class Now(NamedTuple):
    """A step that asks for the store's clock, µs since the epoch, inside the transaction."""


class Hint(NamedTuple):
    """Something may have changed: "work" (queues), "cancel" (job ids), "event" (operation ids) or "queue" (queues that
    were paused or resumed).

    Losing one costs latency, a doubled one nothing. No names = all of them. As a step of a verb it asks for the hint
    to leave once the transaction has committed.
    """

    kind: Literal["work", "cancel", "event", "queue"]
    names: tuple[str, ...] = ()


Step = Statement | Now | Hint
Verb = Generator[Step, Any, R]
Maker = Callable[[], Verb[R]]
"""A generator runs once; who can make it anew can have it done again."""


class Pending(Protocol[R_co]):
    """A result on its way: `await` it on any loop, or block for it with `.result()` from any thread."""

    def __await__(self) -> Generator[Any, None, R_co]: ...

    def result(self, timeout: float | None = None) -> R_co:
        """Wait at most `timeout` seconds (None = for ever); TimeoutError after that. Not for use on an event loop
        that must go on, though it cannot deadlock there."""
        ...


locked_here: ContextVar[Callable[[], bool]] = ContextVar("offpath.locked_here", default=lambda: False)
"""Inside a task that has the job's own transaction, on a database with one writer at a time: whether that transaction
keeps everybody else from writing by now. Whoever waits for such a write inside the task waits for himself."""
