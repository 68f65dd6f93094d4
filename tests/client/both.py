"""One way to say what both clients do, so that each test is written once: the blocking one works in a thread."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread

from offpath.client import AsyncClient, AsyncRemoteOperation, Client, Event, Pace, RemoteOperation

QUICK = Pace(first=0.01, patience=60)


class Operation:
    def __init__(self, it: RemoteOperation[Any] | AsyncRemoteOperation[Any]) -> None:
        self.it = it

    async def do(self, name: str, *args: Any, **named: Any) -> Any:
        if isinstance(self.it, AsyncRemoteOperation):
            return await getattr(self.it, name)(*args, **named)
        it = self.it
        return await anyio.to_thread.run_sync(lambda: getattr(it, name)(*args, **named))

    async def events(self, until: str = "", **named: Any) -> list[Event]:
        """All of them, or up to the first of this type."""
        seen: list[Event] = []
        if isinstance(self.it, AsyncRemoteOperation):
            async with contextlib.aclosing(self.it.events(**named)) as story:
                async for event in story:
                    seen.append(event)
                    if event.type == until:
                        break
            return seen
        it = self.it

        def take() -> None:
            with contextlib.closing(it.events(**named)) as story:
                for event in story:
                    seen.append(event)
                    if event.type == until:
                        break

        await anyio.to_thread.run_sync(take)
        return seen


class Either:
    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def start(self, *args: Any, **named: Any) -> Operation:
        client = self.client
        if isinstance(client, AsyncClient):
            return Operation(await client.start(*args, **named))
        return Operation(await anyio.to_thread.run_sync(lambda: client.start(*args, **named)))

    def operation(self, name: str, **named: Any) -> Operation:
        return Operation(self.client.operation(name, **named))

    async def operations(self, **filters: Any) -> list[Any]:
        client = self.client
        if isinstance(client, AsyncClient):
            return [one async for one in client.operations(**filters)]
        return await anyio.to_thread.run_sync(lambda: list(client.operations(**filters)))


@contextlib.asynccontextmanager
async def either(kind: str, url: str, **options: Any) -> AsyncIterator[Either]:
    options.setdefault("pace", QUICK)
    options.setdefault("headers", {"Authorization": "alice"})
    if kind == "async":
        async with AsyncClient(url, **options) as client:
            yield Either(client)
    else:
        with Client(url, **options) as blocking:
            yield Either(blocking)
