"""What the demo's chapters share: what has been promised so far, waiting for it, and watching an operation."""

import time
from dataclasses import dataclass
from typing import Any

import anyio

from ..processes import Child
from ..receivers import Received
from .client import Client, offpath
from .terminal import Terminal

WITHIN = 20.0  # seconds in which a killed worker's jobs must be taken up again


@dataclass
class Watched:
    """What the event stream has said about one operation."""

    url: str
    total: int = 1
    current: int = 0
    again: float = 0.0  # when it went back to the queue (time.monotonic())
    status: str = ""  # its end, or ""

    def see(self, name: str, data: dict[str, Any]) -> bool:
        """Take in one event; True when it was the last."""
        kind = name.removeprefix("operation.")
        if kind == "snapshot":
            data = data.get("progress") or {}
        if kind in ("snapshot", "progress"):
            self.current, self.total = data.get("current") or self.current, data.get("total") or self.total
        elif kind == "requeued":
            self.again = time.monotonic()
        elif kind in ("succeeded", "failed", "canceled"):
            self.status = kind
        return bool(self.status)

    @property
    def share(self) -> float:
        return self.current / self.total


class Teller:
    """Keeps the books of the story."""

    def __init__(
        self, terminal: Terminal, received: Received, base_url: str, database: str, workers: list[Child]
    ) -> None:
        self.terminal = terminal
        self.received = received
        self.client = Client(terminal, base_url)
        self.database = database
        self.workers = workers  # those that are alive
        self.operations: list[str] = []  # the URL of every 202 we were given
        self.emails = 0  # how many must have arrived by now
        self.pushes = 0
        self.triggers = 0

    async def close(self) -> None:
        await self.client.http.aclose()

    @property
    def staff(self) -> str:
        """The workers there are, by their process ids."""
        pids = " and ".join(str(worker.pid) for worker in self.workers)
        return f"worker process{'' if len(self.workers) == 1 else 'es'} {pids}"

    async def at_work_on(self, watched: Watched) -> Child:
        """The worker that has taken up this report: it says so."""
        job = watched.url.rpartition("/")[2]
        found: list[Child] = []

        async def listen(worker: Child) -> None:
            await worker.line(f"report {job}: ")
            found.append(worker)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for worker in self.workers:
                tasks.start_soon(listen, worker)
        [worker] = found
        return worker

    def accepted(self, url: str, total: int = 1) -> Watched:
        self.operations.append(url)
        return Watched(url, total)

    async def arrived(self, *, emails: int = 0, pushes: int = 0, triggers: int = 0) -> None:
        """Expect so many more effects, and wait until they are there."""
        self.emails += emails
        self.pushes += pushes
        self.triggers += triggers
        calls = self.pushes + self.triggers
        await self.received.until(lambda r: len(r.letters) >= self.emails and len(r.calls) >= calls)

    async def turned_away(self, times: int) -> None:
        """Wait until the mail server has refused so many messages."""
        await self.received.until(lambda r: len(r.refused) >= times)

    async def start_report(self, title: str, rows: int, delay_ms: int, fail_at: int | None = None) -> Watched:
        body = {"title": title, "rows": rows, "delay_ms": delay_ms, "fail_at": fail_at}
        answer = await self.client.call("POST", "/api/reports", body, show=("Location", "Retry-After"))
        return self.accepted(answer.headers["Location"], rows)

    async def watch(self, watched: Watched, label: str) -> None:
        """Follow an operation to its end with a bar."""

        def see(name: str, data: dict[str, Any]) -> bool:
            ended = watched.see(name, data)
            self.terminal.bar(label, watched.share, f"row {watched.current} of {watched.total}")
            return ended

        await self.client.follow(watched.url, see)
        self.terminal.bar_done()

    async def watch_again(self, watched: Watched) -> None:
        """The same for the report of the killed worker; its bar appears once it runs again."""

        def see(name: str, data: dict[str, Any]) -> bool:
            ended = watched.see(name, data)
            if watched.again:
                self.terminal.bar("report", watched.share, f"row {watched.current} of {watched.total}")
            return ended

        await self.client.follow(watched.url, see)
        self.terminal.bar_done()

    async def wait_for_lease(self, watched: Watched, killed: float) -> None:
        """Show how the dead worker's lease runs out, until its job is back in the queue."""
        while not watched.again and not watched.status:
            waited = time.monotonic() - killed
            self.terminal.bar("lease ", waited / WITHIN, f"{waited:.0f} s of at most {WITHIN:.0f} s")
            await anyio.sleep(0.25)

    async def settled(self, job: str, timeout: float = 10) -> dict[str, Any]:
        """A job by the command line, when it has ended."""
        with anyio.fail_after(timeout):
            while True:
                found: dict[str, Any] = await offpath(self.database, "jobs", "show", job)
                if found["state"] in ("succeeded", "failed", "canceled"):
                    return found
                await anyio.sleep(0.1)

    async def file_is_whole(self, url: str, rows: int) -> None:
        answer = await self.client.call("GET", url)
        lines = answer.text.splitlines()
        self.terminal.check(answer.status_code == 200 and len(lines) == rows + 1, f"its file has all {rows} rows")
