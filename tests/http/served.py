"""The site of these tests in a process of its own: `served.py FOLDER [URL] [worker]`. Prints its port when it
answers; keeps its jobs at the database URL, else in the folder."""

import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn

from tests.http.site import Site


def main(folder: Path, words: list[str]) -> None:
    url = next((word for word in words if "://" in word), "")
    site = Site(folder, url=url)
    if url:
        site.jobs.migrate()

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(site.jobs)
            if "worker" in words:
                await stack.enter_async_context(site.jobs.worker())
            print(listener.getsockname()[1], flush=True)
            yield

    site.api.router.lifespan_context = lifespan
    listener = socket.create_server(("127.0.0.1", 0))
    uvicorn.Server(uvicorn.Config(site.api, log_config=None)).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
