"""Queues of one worker share its slots by weight, also where slots come free one by one. Counted, not timed."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from offpath.core.options import Queue

from .kit import App, until


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_slots_that_come_free_one_by_one_are_shared_by_weight(make: Callable[..., App], concurrency: int) -> None:
    weights = {"alpha": 1, "middle": 3, "zeta": 6}
    app = make([Queue(name, weight=weight) for name, weight in weights.items()], concurrency=concurrency)
    gates: list[asyncio.Event] = []
    started: list[str] = []
    counted = asyncio.Event()

    @app.task
    async def work(queue: str) -> None:
        started.append(queue)
        if not counted.is_set():
            gates.append(gate := asyncio.Event())
            await gate.wait()

    for queue in weights:
        await work.enqueue_many([work.using(queue=queue).call(queue=queue) for _ in range(50)])
    async with app.worker():
        await until(lambda: len(started) >= concurrency)
        while (before := len(started)) < 40:
            gates.pop(0).set()
            await until(lambda before=before: len(started) > before)
        came = Counter(started[:40])
        counted.set()
        for gate in gates:
            gate.set()
    for queue, weight in weights.items():
        assert abs(came[queue] - 4 * weight) <= 1
