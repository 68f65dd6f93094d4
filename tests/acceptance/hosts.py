"""The application of workers on several hosts: `offpath --app tests.acceptance.hosts:jobs worker`, on HOSTS_DATABASE.

Each job writes one receipt, with the address it came from, in its own transaction.
"""

import asyncio
import os
from collections.abc import AsyncIterator

import asyncpg

from offpath import Context, Offpath, provided

jobs = Offpath(os.environ["HOSTS_DATABASE"], lease=2, poll=0.2, concurrency=4)


@jobs.provider(lifetime="attempt")
async def connection() -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(jobs.settings.url, timeout=5)
    try:
        yield made
    finally:
        made.terminate()  # a farewell would wait for a cable that has been pulled


@jobs.task
async def note(ctx: Context, n: int, db: asyncpg.Connection = provided(transaction=True)) -> int:
    await db.execute("insert into receipt (n, host) values ($1, host(inet_client_addr()))", n)
    await asyncio.sleep(0.02)  # the work
    return n
