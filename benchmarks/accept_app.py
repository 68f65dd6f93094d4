"""Three ways for one endpoint to say 202, each the only endpoint of a FastAPI of its own: in memory, one durable INSERT
per request, and offpath. On a SQLite file, or on the PostgreSQL database of BENCH_DATABASE.

    BENCH_FILE=… [BENCH_DATABASE=postgresql://…] python -m benchmarks.accept_app background|insert|offpath PORT
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI
from pydantic import BaseModel

from offpath import Offpath
from offpath.integrations.fastapi import Accepted, Acceptor, Operations

FILE = os.environ["BENCH_FILE"]
DATABASE = os.environ.get("BENCH_DATABASE")
POOL = 10  # connections


class Body(BaseModel):
    period: str
    pages: int


class Said(BaseModel):
    status: str
    id: int | None = None


def background_app() -> FastAPI:
    app = FastAPI()

    async def nothing(period: str, pages: int) -> None:
        return None

    @app.post("/accept", status_code=202)
    async def background(body: Body, tasks: BackgroundTasks) -> Said:
        tasks.add_task(nothing, body.period, body.pages)
        return Said(status="accepted")

    return app


def insert_app() -> FastAPI:
    app = FastAPI()
    local = threading.local()

    def connection() -> sqlite3.Connection:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(FILE + ".plain", timeout=30, isolation_level=None)
            local.connection.execute("pragma journal_mode=wal")
            local.connection.execute("pragma synchronous=full")
            local.connection.execute(
                "create table if not exists task (id integer primary key, period text, pages int, at)"
            )
        made: sqlite3.Connection = local.connection
        return made

    @app.post("/accept", status_code=202)
    def insert(body: Body) -> Said:
        """The usual hand-made table: one durable INSERT per request, on a connection per thread."""
        cursor = connection().execute(
            "insert into task (period, pages, at) values (?, ?, datetime())", (body.period, body.pages)
        )
        return Said(status="accepted", id=cursor.lastrowid)

    return app


def insert_app_on_postgres() -> FastAPI:
    import asyncpg

    pool: asyncpg.Pool[asyncpg.Record]

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal pool
        async with asyncpg.create_pool(DATABASE, min_size=POOL, max_size=POOL) as pool:
            await pool.execute("create table task (id bigserial primary key, period text, pages int, at timestamptz)")
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/accept", status_code=202)
    async def insert(body: Body) -> Said:
        """The same table, on a pool."""
        sql = "insert into task (period, pages, at) values ($1, $2, now()) returning id"
        return Said(status="accepted", id=await pool.fetchval(sql, body.period, body.pages))

    return app


jobs = Offpath(DATABASE or f"sqlite:///{FILE}")


@jobs.task
async def render(period: str, pages: int) -> None:
    return None


operations = Operations(jobs, public=True)
Accept = Annotated[Acceptor, Depends(operations.acceptor)]


def offpath_app() -> FastAPI:
    app = FastAPI(lifespan=jobs.lifespan)
    app.include_router(operations.router)

    @app.post("/accept", status_code=202)
    async def accept(body: Body, accept: Accept) -> Accepted[None]:
        return await accept(render, period=body.period, pages=body.pages)

    return app


APPS: dict[str, Callable[[], FastAPI]] = {
    "background": background_app,
    "insert": insert_app_on_postgres if DATABASE else insert_app,
    "offpath": offpath_app,
}

if __name__ == "__main__":
    uvicorn.run(APPS[sys.argv[1]](), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
