"""A process to be killed: `python -m tests.integrations.faststream_child DATABASE REDIS STREAM`. It says "here" once
FastStream reads there."""

import asyncio
import sys

from faststream.redis import RedisBroker, StreamSub

from offpath import Offpath
from offpath.integrations.faststream import subscriber


async def main(database: str, url: str, name: str) -> None:
    jobs = Offpath(f"sqlite:///{database}")
    broker = RedisBroker(url, logger=None)

    @subscriber(jobs, broker, stream=StreamSub(name, group="shop", consumer="one"))
    @jobs.task(name="apply_user_update")
    async def apply_user_update(userId: int, userData: dict[str, object]) -> None: ...

    async with broker:
        await broker.start()
        print("here", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
