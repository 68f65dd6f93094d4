"""The processes of both services, for `two_services.py`, and what is between them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from servers.server import free_port

from ..processes import FLAG, Child
from .carriers import Carrier, carrier

PATIENCE = 120.0  # s for what takes moments, on a machine that has other things to do
TOKEN = "demo-events-token"


class Services:
    """The processes of both, and where they are. `workers` of the auth service are those that are alive."""

    def __init__(self, folder: Path, members: int) -> None:
        self.accounts_database = f"sqlite:///{folder / 'accounts.db'}"
        self.auth_database = f"sqlite:///{folder / 'auth.db'}"
        self.auth_port = free_port()
        self.by_http = False
        self.members = {1: members, 2: max(1, members // 10)}
        self.workers: list[Child] = []
        self.auth_api: Child
        self.accounts_api: Child
        self.publisher: Child  # the accounts service's worker
        pause = min(1_000, max(150, 6_000 // (members // 500 + 1)))  # time enough to be killed half-way
        os.environ.update(
            ACCOUNTS_DATABASE=self.accounts_database,
            ACCOUNTS_DATA_DIR=str(folder / "files"),
            AUTH_DATABASE=self.auth_database,
            AUTH_MEMBERS=str(members),
            AUTH_PAUSE_MS=str(pause),
            AUTH_EVENTS_TOKEN=TOKEN,
        )

    async def start_auth_api(self) -> None:
        command = ("examples.auth_service.serve", "--no-worker", "--port", str(self.auth_port), FLAG)
        self.auth_api = await Child.start(*command)
        await self.auth_api.line("ready ", PATIENCE)

    async def start_auth_worker(self) -> Child:
        worker = await Child.start("examples.auth_service.worker", FLAG)
        self.workers.append(worker)
        await worker.line("worker.started" if self.by_http else "inbox.consuming", PATIENCE)
        return worker

    async def start_accounts(self) -> str:
        """Its API and its worker; where the API is."""
        self.accounts_api = await Child.start("examples.accounts.serve", "--no-worker", "--port", "0", FLAG)
        url = (await self.accounts_api.line("ready ", PATIENCE)).removeprefix("ready ")
        self.publisher = await Child.start("examples.accounts.worker", FLAG)
        await self.publisher.line("worker.started", PATIENCE)
        return url

    async def stop(self) -> list[int]:
        names = ("accounts_api", "publisher", "auth_api")
        children: list[Child] = [*(getattr(self, name) for name in names if hasattr(self, name)), *self.workers]
        return list(await asyncio.gather(*(child.stop() for child in children)))

    @contextlib.asynccontextmanager
    async def between(self, kind: str) -> AsyncIterator[Carrier]:
        """What carries the events. Without a broker the auth service takes them by HTTP: it is what goes away then."""
        if kind != "none":
            async with carrier(kind) as found:
                os.environ.update(ACCOUNTS_BROKER=found.url, AUTH_BROKER=found.url)
                yield found
            return
        self.by_http = True
        url = f"http://{TOKEN}@127.0.0.1:{self.auth_port}/events"
        os.environ["ACCOUNTS_BROKER"] = url

        async def away() -> None:
            await self.auth_api.kill()

        yield Carrier(
            "no broker: events travel as HTTP requests (CloudEvents), each delivered by a job", url,
            away, self.start_auth_api,
            "The auth service's API, which takes the events, is killed (kill -9).",
            "The auth service's API answers again, on the same port.",
        )  # fmt: skip
