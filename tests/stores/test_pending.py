"""A result on its way can be awaited on any loop, several times, and waited for in any thread."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from offpath.errors import StoreUnavailable
from offpath.stores.pending import Result, failed


def deliver(result: Result[int], value: int = 7) -> None:
    result.set(value)
    Result.deliver([result])


async def test_awaited_before_and_after_the_answer() -> None:
    result: Result[int] = Result()
    first, second = (asyncio.ensure_future(_wait(result)) for _ in range(2))
    await asyncio.sleep(0)
    threading.Thread(target=deliver, args=(result,)).start()
    assert await first == await second == await result == result.result() == 7


async def _wait(result: Result[int]) -> int:
    return await result


async def test_awaited_by_two_loops_and_by_threads_at_once() -> None:
    result: Result[int] = Result()
    gate = threading.Barrier(5)

    def on_a_loop_of_its_own() -> int:
        async def main() -> int:
            waiting = asyncio.ensure_future(_wait(result))
            await asyncio.sleep(0)
            gate.wait(100)
            return await waiting

        return asyncio.run(main())

    def in_a_thread() -> int:
        gate.wait(100)
        return result.result(60)

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(on_a_loop_of_its_own) for _ in range(2)] + [pool.submit(in_a_thread) for _ in range(2)]
        mine = asyncio.ensure_future(_wait(result))
        await asyncio.sleep(0)
        gate.wait(100)
        deliver(result)
        assert [answer.result(60) for answer in answers] == [7] * 4
        assert await mine == 7


async def test_between_the_answer_and_its_delivery() -> None:
    """Set, but the loop that waits has not been told yet: another loop has its answer at once."""
    result: Result[int] = Result()
    first = asyncio.ensure_future(_wait(result))
    await asyncio.sleep(0)
    result.set(7)
    assert await asyncio.to_thread(lambda: asyncio.run(_wait(result))) == 7
    Result.deliver([result])
    assert await first == 7


async def test_whoever_stops_waiting_disturbs_nobody() -> None:
    result: Result[int] = Result()
    first, second = (asyncio.ensure_future(_wait(result)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    deliver(result)
    assert await second == 7
    assert first.cancelled()


def test_a_loop_that_has_been_closed_is_passed_over() -> None:
    result: Result[int] = Result()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(_wait(result))
    loop.run_until_complete(asyncio.sleep(0))
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    deliver(result)
    assert result.result(0) == 7


def test_waiting_ends_in_time() -> None:
    result: Result[int] = Result()
    with pytest.raises(TimeoutError, match="no answer within"):
        result.result(0.001)
    deliver(result)
    assert result.result(0) == 7


async def test_an_error_is_raised_for_everyone() -> None:
    result: Result[int] = Result()
    first = asyncio.ensure_future(_wait(result))
    await asyncio.sleep(0)
    result.fail(StoreUnavailable("full"))
    Result.deliver([result])
    for again in (first, result, failed(StoreUnavailable("full"))):
        with pytest.raises(StoreUnavailable, match="full"):
            await again
    with pytest.raises(StoreUnavailable):
        result.result(0)
