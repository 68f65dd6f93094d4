"""What `admin.py` asks, in a process of its own: `python -m benchmarks.admin_app URL` serves the admin API and the
dashboard as an application has them, prints `ready PORT`, and ends with its standard input."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading

import uvicorn
from fastapi import FastAPI

from offpath import Offpath
from offpath.admin import Admin
from offpath.integrations.fastapi import Caller, Operations

ROOT = Caller("root", "", frozenset({"offpath.read", "offpath.write", "offpath.arguments"}))


def application(url: str) -> FastAPI:
    jobs = Offpath(url)
    operations = Operations(jobs, caller=lambda: ROOT, admin=Admin())
    api = FastAPI(lifespan=jobs.lifespan)
    api.include_router(operations.router)
    api.mount("/dashboard", operations.dashboard)
    return api


async def serve(url: str) -> None:
    server = uvicorn.Server(uvicorn.Config(application(url), log_level="warning"))
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:  # so that asyncio sends at once
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        work = asyncio.create_task(server.serve([listening]))
        while not server.started and not work.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.001)
        print("ready", listening.getsockname()[1], flush=True)
        await work


def main() -> None:
    def follow() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=follow, daemon=True).start()
    asyncio.run(serve(sys.argv[1]))


if __name__ == "__main__":
    main()
