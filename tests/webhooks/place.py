"""An application that sends webhooks, a receiver for them on 127.0.0.1, and short ways to ask both."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI

from offpath import Offpath, Problem, Retry
from offpath.core.outcome import Done
from offpath.http import Reply
from offpath.integrations.fastapi import Accepted, Acceptor, Caller, Operations, install_problem_handlers
from offpath.ports.webhooks import DeliveryState
from offpath.webhooks import Webhooks, verify
from offpath.webhooks.sender import Sender
from tests.http.site import caller_of, checked_client, eventually

__all__ = ["Done", "House", "Inbox", "Letter", "eventually", "receiving"]

KEY = "a key that is only for the tests"
BASE = "https://api.test/operations"
ONCE = Retry(max_attempts=1)


class Letter:
    """One request that a receiver got."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, headers, body

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def verified(self, *secrets: str) -> Any:
        return verify(self.body, self.headers, secrets)


Answer = tuple[int, dict[str, str]] | int
Say = Callable[[Letter], Answer | asyncio.Event]


class Inbox:
    """A receiver. `say` decides what it answers: a status, or an Event that it waits for first."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.say: Say = lambda letter: 204
        self.url = ""
        self._news = asyncio.Condition()
        self.open: set[asyncio.Task[Any]] = set()

    async def got(self, count: int, path: str | None = None) -> list[Letter]:
        """The first `count` letters (to this path), once they are there."""
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: len(self.at(path)) >= count)
        return self.at(path)[:count]

    def at(self, path: str | None) -> list[Letter]:
        return [letter for letter in self.letters if path in (None, letter.path)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            letter = Letter(head[0].split(" ")[1], headers, body)
            async with self._news:
                self.letters.append(letter)
                self._news.notify_all()
            said = self.say(letter)
            if isinstance(said, asyncio.Event):
                await said.wait()
                said = 204
            status, more = said if isinstance(said, tuple) else (said, {})
            lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 0\r\n{lines}\r\n".encode())
            await writer.drain()
        writer.close()
        self.open.discard(task)


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    server = await asyncio.start_server(inbox.serve, "127.0.0.1", 0)
    inbox.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield inbox
    finally:
        server.close()
        for task in list(inbox.open):
            task.cancel()
        await asyncio.gather(*inbox.open, return_exceptions=True)


def keeper_of(caller: Annotated[Caller | None, Depends(caller_of)]) -> Caller | None:
    """Everybody but a guest may have the tenant's secret."""
    if caller is None or caller.id == "guest":
        return caller
    return caller._replace(permissions=frozenset({"webhooks.default-secret"}))


class House:
    """The application. `now` shifts nothing: what has to come sooner is moved in the database."""

    def __init__(self, url: str, *, operations: dict[str, Any] | None = None, **options: Any) -> None:
        self.jobs = jobs = Offpath(url, poll=0.05, lease=options.pop("lease", 15.0))
        options.setdefault("operations_url", BASE)
        if "sender" not in options:
            options.setdefault("allow_private", True)
        self.webhooks = Webhooks(jobs, key=KEY, **options)
        self.operations = Operations(jobs, caller=keeper_of, webhooks=self.webhooks, **(operations or {}))
        self.api = FastAPI()
        self.api.include_router(self.operations.router)
        install_problem_handlers(self.api)

        @jobs.task(name="echo")
        async def echo(value: str) -> str:
            return value

        @jobs.task(name="breaks", retry=ONCE)
        async def breaks() -> None:
            raise Problem(status=422, title="No", detail="it breaks")

        @jobs.task(name="file")
        async def file() -> Reply:
            return Reply(b"a;b", "text/csv")

        self.echo, self.breaks, self.file = echo, breaks, file
        accepts = Annotated[Acceptor, Depends(self.operations.acceptor)]

        async def start(accept: accepts, value: str = "x", size: int = 0, callback: str | None = None) -> Accepted[str]:
            return await accept.using(callback=callback)(echo, value=value + "x" * size)

        async def start_breaking(accept: accepts) -> Accepted[None]:
            return await accept(breaks)

        async def start_file(accept: accepts) -> Accepted[Reply]:
            return await accept(file)

        def start_plain(accept: accepts, callback: str) -> Accepted[str]:
            return accept.using(callback=callback).sync(echo, value="plain")

        self.api.add_api_route("/start", start, methods=["POST"], status_code=202)
        self.api.add_api_route("/plain", start_plain, methods=["POST"], status_code=202)
        self.api.add_api_route("/break", start_breaking, methods=["POST"], status_code=202)
        self.api.add_api_route("/file", start_file, methods=["POST"], status_code=202)

    def client(self, caller: str | None = "alice") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
        return checked_client(caller, transport=transport, base_url="http://house.test")

    async def endpoint(self, client: httpx.AsyncClient, url: str, **more: Any) -> dict[str, Any]:
        """Register one; its view with the secret."""
        answer = await client.post("/webhooks/endpoints", json={"url": url, **more})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def start(self, client: httpx.AsyncClient, path: str = "/start", **query: Any) -> str:
        answer = await client.post(path, params=query)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def attempts(self, client: httpx.AsyncClient, endpoint: str) -> list[dict[str, Any]]:
        answer = await client.get(f"/webhooks/endpoints/{endpoint}/attempts")
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def state(self, delivery: str) -> DeliveryState:
        work = await self.jobs.store.read(self.jobs.store.verbs.work(delivery))
        assert work is not None
        return work.delivery.state

    async def reached(self, delivery: str, state: DeliveryState) -> None:
        async with asyncio.timeout(60):
            while await self.state(delivery) is not state:  # noqa: ASYNC110 (a row of the database tells nobody)
                await asyncio.sleep(0.005)

    async def drain(self, queues: Sequence[str] | None = None) -> None:
        """A worker that ends when nothing is ready or running."""
        await asyncio.wait_for(self.jobs.make_worker(queues, until_empty=True).run(), 100)


def file_url(folder: Path) -> str:
    return f"sqlite:///{folder}/jobs.db"


def sender(**options: Any) -> Sender:
    from offpath.webhooks.guard import Policy

    return Sender(Policy.development(), **options)
