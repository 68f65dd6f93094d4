"""The interpreter's settings for a loop and a thread that writes, which hand batches to each other."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple


class Tuning(NamedTuple):
    """switch   s; the default of 5 ms lets the thread that writes wait for a whole batch of handlers or requests
    collect  the collector's thresholds: a claim, or requests in flight, make thousands of values that live for
             milliseconds
    """

    switch: float
    collect: tuple[int, int, int]


WORKER = Tuning(0.0003, (20_000, 50, 100))
SERVING = Tuning(0.001, (10_000, 50, 100))  # shorter turns would cost the requests more than they give

_SWITCH = 0.005
_COLLECT = ((700, 10, 10), (2_000, 10, 10), (2_000, 10, 0))  # CPython 3.11 to 3.14


_holders = 0  # blocks that are open: they may end in another order than they began
_before: tuple[float, tuple[int, int, int]] = (_SWITCH, _COLLECT[0])
_guard = threading.Lock()


@contextlib.contextmanager
def tuned(tuning: Tuning) -> Iterator[None]:
    """Until the end of the block, or of the last of several. A setting that is not Python's default is somebody's
    choice and stays as it is.

    What is loaded by now is frozen: no collection looks at it again. Measured in docs/decisions/0009 and 0015.
    """
    global _holders, _before
    with _guard:
        _holders += 1
        if _holders == 1:
            _before = _tune(tuning)
    try:
        yield
    finally:
        with _guard:
            _holders -= 1
            if _holders == 0:
                _restore(*_before)


def _tune(tuning: Tuning) -> tuple[float, tuple[int, int, int]]:
    switch, collect = sys.getswitchinterval(), gc.get_threshold()
    if abs(switch - _SWITCH) < 1e-6:
        sys.setswitchinterval(tuning.switch)
    if collect in _COLLECT:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*tuning.collect)
    return switch, collect


def _restore(switch: float, collect: tuple[int, int, int]) -> None:
    sys.setswitchinterval(switch)
    if collect in _COLLECT:
        gc.set_threshold(*collect)
        gc.unfreeze()
