"""An application for the tests of Idempotency-Key: every mode, on either store, beside a table of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from offpath import Offpath
from offpath.integrations.fastapi import Accepted, Acceptor, Operations, install_problem_handlers
from tests.http.site import caller_of, checked_client

TABLE = "create table item (name text not null, price integer not null check (price <> 13))"
INSERT = text("insert into item (name, price) values (:name, :price)")


class Item(BaseModel):
    name: str
    price: int = 0


class Shop:
    """`url` is the jobs'. `mode`: "unit" (an AsyncSession), "plain" (a Session) or "leased" (no session at all)."""

    def __init__(self, url: str, mode: str = "unit", **options: Any) -> None:
        self.url, self.mode = url, mode
        self.jobs = Offpath(url, poll=0.05, lease=1.0)
        self.handled: list[str] = []
        self.after: list[str] = []
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        self.blocked = threading.Event()
        driver = "sqlite+aiosqlite" if url.startswith("sqlite") else "postgresql+asyncpg"
        self.engine = create_async_engine(f"{driver}{url[url.index(':') :]}")
        self.plain = self._plain_engine()
        self.maker = async_sessionmaker(self.engine, expire_on_commit=False)
        if mode != "leased":
            options["session"] = self.maker if mode == "unit" else sessionmaker(self.plain)
        self.operations = Operations(self.jobs, caller=caller_of, **options)
        self.operations._face.service.random = lambda: 0.5
        self.api = FastAPI()
        self.api.include_router(self.operations.router)
        install_problem_handlers(self.api)

        @self.jobs.task(name="pack")
        async def pack(name: str) -> str:
            return f"packed {name}"

        self.pack = pack
        self.api.include_router(self._starts())
        self.api.include_router({"unit": self._unit, "plain": self._unit_plain, "leased": self._leased}[mode]())

    def _plain_engine(self) -> Engine:
        driver = "sqlite" if self.url.startswith("sqlite") else "postgresql+psycopg"
        return create_engine(f"{driver}{self.url[self.url.index(':') :]}")

    def create(self) -> None:
        self.jobs.store.migrate()
        with self.plain.begin() as connection:
            connection.execute(text(TABLE))

    async def close(self) -> None:
        await self.engine.dispose()
        self.plain.dispose()
        self.jobs.close()

    def client(self, caller: str | None = "alice") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
        return checked_client(caller, transport=transport, base_url="http://shop.test")

    def rows(self, sql: str) -> list[Any]:
        with self.plain.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]

    def age(self) -> None:
        """What is remembered is so no longer."""
        with self.plain.begin() as connection:
            connection.execute(text("update offpath_idempotency set expires_at = 1"))

    def items(self) -> list[str]:
        return [name for (name,) in self.rows("select name from item order by name")]

    def counts(self) -> tuple[int, int]:
        """Operations, and keys in use or remembered."""
        tables = ("offpath_operation", "offpath_idempotency")
        operations, keys = (self.rows(f"select count(*) from {table}")[0][0] for table in tables)
        return operations, keys

    # ── operations ───────────────────────────────────────────────────────────────────────────────────────────────

    def _starts(self) -> APIRouter:
        router = APIRouter(route_class=self.operations.route)
        accepts = Annotated[Acceptor, Depends(self.operations.acceptor)]

        @router.post("/pack", status_code=202)
        async def start(item: Item, accept: accepts) -> Accepted[str]:
            self.handled.append(item.name)
            return await accept(self.pack, item.name)

        @router.post("/pack/classic", status_code=202)
        async def classic(item: Item, accept: accepts) -> Accepted[str]:
            accepted = await accept(self.pack, item.name)
            return accepted.adding(jobId=accepted.id)

        @router.post("/pack/plain", status_code=202)
        def start_plain(item: Item, accept: accepts) -> Accepted[str]:
            return accept.sync(self.pack, item.name)

        async def swallowed(request: Request) -> str:
            """As a form is: what has been read is gone."""
            return b"".join([part async for part in request.stream()]).decode()

        @router.post("/pack/form", status_code=202)
        async def start_form(name: Annotated[str, Depends(swallowed)], accept: accepts) -> Accepted[str]:
            return await accept(self.pack, name)

        @router.post("/pack/held", status_code=202)
        async def held(item: Item, accept: accepts) -> Accepted[str]:
            return await accept.using(key=item.name)(self.pack, item.name)

        @router.post("/pack/twice", status_code=202)
        async def twice(item: Item, accept: accepts) -> Accepted[str]:
            first = await accept(self.pack, item.name)
            await accept(self.pack, item.name + " again")
            return first

        @router.post("/pack/tx", status_code=202)
        async def start_tx(item: Item, accept: accepts) -> Accepted[str]:
            async with self.maker.begin() as session:
                await session.execute(INSERT, item.model_dump())
                return await accept.using(tx=session)(self.pack, item.name)

        @router.post("/pack/required", status_code=202, dependencies=[Depends(self.operations.require_key)])
        async def required(item: Item, accept: accepts) -> Accepted[str]:
            return await accept(self.pack, item.name)

        @router.put("/pack", status_code=202)
        async def put(item: Item, accept: accepts) -> Accepted[str]:
            return await accept(self.pack, item.name)

        return router

    # ── ordinary handlers ────────────────────────────────────────────────────────────────────────────────────────

    def _unit(self) -> APIRouter:
        router = APIRouter(route_class=self.operations.once)
        sessions = Annotated[AsyncSession, Depends(self.operations.session)]
        accepts = Annotated[Acceptor, Depends(self.operations.acceptor)]

        @router.post("/items", status_code=201)
        async def create(item: Item, session: sessions, response: Response, later: BackgroundTasks) -> Item:
            self.handled.append(item.name)
            await session.execute(INSERT, item.model_dump())
            await self.pack.using(tx=session).enqueue(item.name)
            self.entered.set()
            if item.price == 1:
                await self.gate.wait()
            if item.price in (404, 412, 428, 429, 500):
                raise HTTPException(item.price, "as you say")
            if item.price == 7:
                raise LookupError("a secret of the house")
            response.set_cookie("session", "secret")
            response.headers["X-Item"] = item.name
            later.add_task(self.after.append, item.name)
            return item

        @router.post("/items/own", status_code=201)
        async def own(item: Item, session: sessions) -> Item:
            """As written for any other route: it commits by itself."""
            async with session.begin():
                await session.execute(INSERT, item.model_dump())
            self.handled.append(item.name)
            if item.price == 404:
                raise HTTPException(404)
            return item

        @router.post("/items/packed", status_code=202)
        async def packed(item: Item, session: sessions, accept: accepts) -> Accepted[str]:
            await session.execute(INSERT, item.model_dump())
            self.handled.append(item.name)
            accepted = await accept.using(tx=session)(self.pack, item.name)
            if item.price == 2:
                await session.rollback()
            return accepted

        @router.post("/items/loose", status_code=202)
        async def loose(item: Item, accept: accepts) -> Accepted[str]:
            return await accept(self.pack, item.name)

        @router.post("/items/refused", status_code=202)
        async def refused(item: Item, session: sessions, accept: accepts) -> Accepted[str]:
            await session.execute(INSERT, item.model_dump())
            return await accept.using(tx=session, key=item.name)(self.pack, item.name)

        @router.post("/items/text")
        async def nothing(item: Item) -> Response:
            """No session of its own; any renderer."""
            self.handled.append(item.name)
            return Response(b"\x00\xff", 200, {"Date": "yesterday", "traceparent": "00-1"}, "image/x-none")

        return router

    def _unit_plain(self) -> APIRouter:
        router = APIRouter(route_class=self.operations.once)
        sessions = Annotated[Session, Depends(self.operations.session)]

        @router.post("/items", status_code=201)
        def create(item: Item, session: sessions) -> Item:
            self.handled.append(item.name)
            session.execute(INSERT, item.model_dump())
            self.pack.using(tx=session).enqueue_sync(item.name)
            if item.price == 404:
                raise HTTPException(404, "as you say")
            return item

        return router

    def _leased(self) -> APIRouter:
        router = APIRouter(route_class=self.operations.once)

        @router.post("/items", status_code=201)
        async def create(item: Item) -> Item:
            self.handled.append(item.name)
            self.entered.set()
            if item.price == 1:
                await self.gate.wait()
            if item.price == 3:
                self.blocked.wait()  # and with it the loop
            if item.price in (404, 500):
                raise HTTPException(item.price, "as you say")
            return item

        @router.post("/items/plain", status_code=201)
        def create_plain(item: Item) -> Item:
            self.handled.append(item.name)
            return item

        return router


@asynccontextmanager
async def opened(url: str, mode: str = "unit", **options: Any) -> AsyncIterator[Shop]:
    shop = Shop(url, mode, **options)
    await asyncio.to_thread(shop.create)
    try:
        yield shop
    finally:
        await shop.close()


@asynccontextmanager
async def beside(shop: Shop, **options: Any) -> AsyncIterator[Shop]:
    """Another process, as it were: nothing is shared but the database."""
    other = Shop(shop.url, shop.mode, **options)
    try:
        yield other
    finally:
        await other.close()
