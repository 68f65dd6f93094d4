"""How the workers of this process are, asked from any thread: for `/livez`, `/readyz` and the gauges."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Pulse(NamedTuple):
    """One worker at this moment.

    running     attempts by lane; `slots`: how many there may be
    abandoned   attempts that would not stop
    age         seconds since the last answered renewal was sent (inf: none yet), of a lease of `lease` seconds
    trouble     why the last renewal was not answered ("": it was); it is the store's, not the worker's
    lag         seconds that the event loop took, or has taken so far, to answer
    ready       registered, and claiming
    draining    told to stop
    children    process ids of its `executor="process"`
    """

    worker: str
    running: dict[str, int]
    slots: dict[str, int]
    abandoned: int
    age: float
    lease: float
    trouble: str
    lag: float
    ready: bool
    draining: bool
    children: tuple[int, ...] = ()


_alive: list[Callable[[], Pulse]] = []


@contextlib.contextmanager
def beating(take: Callable[[], Pulse]) -> Iterator[None]:
    """While the block lasts there is a worker here."""
    _alive.append(take)
    try:
        yield
    finally:
        _alive.remove(take)


def pulses() -> list[Pulse]:
    """Of every worker in this process."""
    return [take() for take in tuple(_alive)]
