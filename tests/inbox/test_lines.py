"""PostgreSQL: whoever puts a job into a line while another ends the first of it."""

import asyncio
from typing import Any

import asyncpg
import pytest

from offpath import Offpath
from offpath.core.job import State
from offpath.ports.inbox import Entry
from offpath.testing.stores.inbox import entry

from .kit import TIMEOUT

pytestmark = [pytest.mark.anyio, pytest.mark.servers("postgres")]


async def waits(connection: Any, count: int = 1) -> None:
    """Until so many others wait for a lock in this database."""
    sql = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with asyncio.timeout(TIMEOUT):
        while await connection.fetchval(sql) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_one_that_comes_while_the_first_is_ending_is_not_left_behind_nobody(tables_url: str) -> None:
    jobs = Offpath(tables_url)
    jobs.migrate()
    store = jobs.store

    async def take(one: Entry) -> None:
        assert await store.perform(lambda: store.verbs.take([one], 60.0)) == [True]

    async def state(one: Entry) -> State:
        found = await store.read(store.verbs.find(one.new.job.id))
        assert found is not None
        assert found.job is not None
        return found.job.state

    first, second, third = (entry(None, "a") for _ in range(3))
    await take(first)
    settling, looking = await asyncpg.connect(tables_url), await asyncpg.connect(tables_url)
    try:
        async with settling.transaction():
            await settling.execute("delete from offpath_job where id = $1::uuid", first.new.job.id)
            coming = asyncio.create_task(take(second))
            await waits(looking)
            also = asyncio.create_task(take(third))  # behind the other taker, not beside him
            await waits(looking, 2)
        await coming
        await also
    finally:
        await settling.close()
        await looking.close()
    assert [await state(second), await state(third)] == [State.READY, State.WAITING]
    jobs.close()
