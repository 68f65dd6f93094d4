"""The demo's hands: requests that are timed and printed, an event stream that is followed, the command line."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2

from .terminal import Terminal

Seen = Callable[[str, dict[str, Any]], bool]
"""Is given each event's name and data; True ends the watching."""


class Client:
    """Speaks HTTP as one of the development users."""

    def __init__(self, terminal: Terminal, base_url: str) -> None:
        self.terminal = terminal
        self.base_url = base_url
        self.http = httpx2.AsyncClient(base_url=base_url, timeout=10, trust_env=False)

    async def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        user: str = "alice",
        prefer: str | None = None,
        show: tuple[str, ...] = (),
        quiet: bool = False,
    ) -> httpx2.Response:
        """One request. Prints it with its answer time and the answer's headers named in `show`, unless `quiet`."""
        headers = {"Authorization": f"Bearer dev-{user}"} | ({"Prefer": prefer} if prefer else {})
        start = time.perf_counter()
        answer = await self.http.request(method, url, json=body, headers=headers)
        seconds = time.perf_counter() - start
        if not quiet:
            what = f"{method} {url.removeprefix(self.base_url)}" + (f"  (Prefer: {prefer})" if prefer else "")
            notes = [f"{name}: {answer.headers[name]}" for name in show if name in answer.headers]
            self.terminal.request(what, answer.status_code, seconds, *notes)
        return answer

    async def operation(self, url: str) -> dict[str, Any]:
        answer = await self.call("GET", url, quiet=True)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def follow(self, url: str, seen: Seen, *, timeout: float = 60) -> None:
        """Read an operation's server-sent events until `seen` says that it has seen enough, or the stream ends."""
        headers = {"Authorization": "Bearer dev-alice", "Accept": "text/event-stream"}
        with anyio.fail_after(timeout):
            async with self.http.stream("GET", f"{url}/events", headers=headers, timeout=timeout) as answer:
                answer.raise_for_status()
                async for event in httpx2.EventSource(answer):
                    if event.data and seen(event.event, json.loads(event.data)):
                        return


def _typed() -> str:
    """How a person who has started the demo may call offpath's command line."""
    script = Path(sys.executable).with_name("offpath")
    return shlex.quote(os.path.relpath(script)) if script.exists() else f"{shlex.quote(sys.executable)} -m offpath"


OFFPATH = _typed()


async def offpath(database: str, *arguments: str) -> Any:
    """The command line of offpath, as a person would call it; gives its JSON output."""
    command = [sys.executable, "-m", "offpath", "--database", database, *arguments, "--json"]
    done = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError(f"offpath {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr.decode()}")
    return json.loads(done.stdout)
