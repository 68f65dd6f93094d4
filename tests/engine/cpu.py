"""Tasks that run in processes. Tests and children import this module; it must be importable by name."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from offpath import Backoff, Cancel, Context, Offpath, Retry, Snooze, provided, trace_headers

if os.environ.get("CPU_BROKEN"):
    raise ImportError("no such library")

ONCE = Retry(max_attempts=1)
log = logging.getLogger("cpu")
jobs = Offpath("sqlite:///is-replaced.db")
who: contextvars.ContextVar[str] = contextvars.ContextVar("who")
stray: contextvars.ContextVar[str] = contextvars.ContextVar("stray", default="unset")
jobs.carry(who)


def note(file: str, text: str) -> None:
    """One line of one write: what happened, in which process."""
    with open(file, "ab", buffering=0) as ledger:
        ledger.write(f"{text} {os.getpid()}\n".encode())


@jobs.task(executor="process", retry=ONCE)
def add(a: int, b: int) -> dict[str, int]:
    return {"sum": a + b, "pid": os.getpid()}


@jobs.task(executor="process", retry=ONCE)
async def add_later(a: int, b: int) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"sum": a + b, "pid": os.getpid()}


@jobs.task(executor="process", retry=ONCE)
def look(ctx: Context) -> dict[str, Any]:
    """What a process attempt sees of itself."""
    return {
        "job": ctx.job,
        "attempt": ctx.attempt,
        "fence": ctx.fence,
        "principal": None if ctx.principal is None else ctx.principal.id,
        "trace": ctx.trace and ctx.trace.trace_id,
        "sent": trace_headers()["traceparent"].split("-")[1],
        "canceled": ctx.canceled,
        "who": who.get("nobody"),
        "stray": stray.get(),
        "main": threading.current_thread() is threading.main_thread(),
    }


@jobs.task(executor="process", retry=Retry(max_attempts=3, backoff=Backoff.fixed(0)))
def fails(ctx: Context, kind: str) -> str:
    match kind:
        case "value":
            raise ValueError(f"attempt {ctx.attempt}")
        case "snooze" if ctx.fence == 1:
            raise Snooze(0)
        case "cancel":
            raise Cancel("customer left")
        case "exit":
            sys.exit(3)
        case "result":
            return object()  # type: ignore[return-value]
        case _:
            pass
    return f"fence {ctx.fence}"


@jobs.task(executor="process", retry=Retry(max_attempts=2, backoff=Backoff.fixed(0)))
def dies(file: str, how: str) -> None:
    note(file, how)
    log.warning("about to die by %s", how)
    match how:
        case "segv":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            ctypes.string_at(0)
        case "exit":
            os._exit(7)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "deaf":
            os.closerange(3, 100)
        case _:
            pass


@jobs.task(executor="process", retry=ONCE, timeout=None)
def stays(file: str, deaf: bool = False) -> str:
    """Runs until it is stopped; a deaf one does not mind being told."""
    note(file, "began")
    while True:
        try:
            time.sleep(60)
        except asyncio.CancelledError:
            note(file, "told")
            if not deaf:
                raise


@jobs.task(executor="process", retry=ONCE, timeout=None)
async def stays_async(file: str, deaf: bool = False) -> str:
    note(file, "began")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note(file, "told")
            if not deaf:
                raise


@jobs.task(executor="process", retry=ONCE, timeout=None)
def polite(ctx: Context, file: str) -> str:
    """Swallows its CancelledError, looks at `ctx.canceled` and returns: that is no success."""
    note(file, "began")
    while not ctx.canceled:
        with contextlib.suppress(asyncio.CancelledError):
            time.sleep(60)
    return "half done"


@jobs.task(executor="process", retry=ONCE, timeout=None)
def spins(file: str) -> int:
    """In the interpreter or in C: nothing but a kill ends it."""
    note(file, "began")
    ctypes.PyDLL(None).usleep(10**9)
    return 0


@jobs.task(executor="process", retry=ONCE, timeout=None)
def family(file: str) -> None:
    """Starts a process of its own and waits for it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(file, f"grandchild {child.pid}")
    child.wait()


@jobs.task(executor="process", retry=ONCE, memory="96MiB")
def eats(mebibytes: int, at_once: bool = False, and_stays: bool = False) -> int:
    held = bytearray(mebibytes << 20) if at_once else [b"x" * (1 << 20) for _ in range(mebibytes)]
    if and_stays:
        time.sleep(600)
    return len(held)


@jobs.task(executor="process", retry=ONCE)
def grows(mebibytes: int) -> int:
    """Leaks, without a limit."""
    _leaked.append(b"x" * (mebibytes << 20))
    return os.getpid()


_leaked: list[bytes] = []


@jobs.task(executor="process", retry=ONCE)
def talks() -> str:
    log.debug("nobody wants this")
    log.info("hello %s", "there", extra={"order": 7, "odd": object()})
    print("on its own", end="")
    try:
        raise ValueError("inside")
    except ValueError:
        log.exception("it failed")
    return str(os.getpid())


@jobs.task(executor="process", retry=ONCE)
async def reports(ctx: Context, lines: int) -> list[bool]:
    """The first line and the last are awaited; what lies between need not be."""
    said = [await ctx.progress(0, of=lines, unit="lines")]
    for line in range(1, lines):
        ctx.progress(line)
    said.append(await ctx.progress(lines, message="done"))
    return said


@jobs.task(executor="process", retry=ONCE)
def reports_plainly(ctx: Context) -> bool:
    return ctx.progress(1, of=1).result(60)


class Pool:
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.uses = 0


class Connection:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.failed = False


@dataclass
class Deps:
    pool: Pool


@jobs.provider
async def pool() -> AsyncIterator[Pool]:
    made = Pool(f"made in {os.getpid()}")
    yield made
    if file := os.environ.get("CPU_LEDGER"):
        note(file, "closed")


@jobs.provider(lifetime="attempt")
def connection(pool: Pool) -> Iterator[Connection]:
    made = Connection(pool)
    try:
        yield made
    except ValueError:
        if file := os.environ.get("CPU_LEDGER"):
            note(file, "rolled back")
        raise


@jobs.provider
def deps(pool: Pool) -> Deps:
    return Deps(pool)


@jobs.task(executor="process", retry=ONCE)
def uses(fail: bool = False, connection: Connection = provided()) -> list[Any]:
    connection.pool.uses += 1
    if fail:
        raise ValueError
    return [os.getpid(), connection.pool.kind, connection.pool.uses]


@jobs.task(executor="process", retry=ONCE)
async def uses_deps(ctx: Context[Deps]) -> list[Any]:
    ctx.deps.pool.uses += 1
    return [os.getpid(), ctx.deps.pool.kind, ctx.deps.pool.uses]


@jobs.task(executor="process", retry=ONCE)
def enqueues() -> str:
    return beside.enqueue_sync(1).id


@jobs.task(executor="process", retry=ONCE)
def has_a_loop() -> int:
    """A plain function may run a loop of its own, as in a thread."""
    return asyncio.run(asyncio.sleep(0, 5))


# -- the same on the loop and in a thread ------------------------------------------------------------------------------

release = threading.Event()  # lets go of what would not stop


@jobs.task(retry=ONCE, timeout=None)
async def stays_on_loop(file: str, deaf: bool = False) -> str:
    note(file, "began")
    while not release.is_set():
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            if not deaf:
                raise
    return "late"


@jobs.task(retry=ONCE, timeout=None)
def stays_in_thread(ctx: Context, file: str, deaf: bool = False) -> str:
    note(file, "began")
    while not release.wait(0.02):
        if not deaf and ctx.canceled:
            raise Cancel("told")
    return "late"


@jobs.task(retry=ONCE)
async def blocks(path: str) -> None:
    """Holds the loop until somebody writes to the pipe."""
    with open(path, "rb") as pipe:
        pipe.read(1)


@jobs.task
async def logs_on_loop() -> None:
    log.info("on the loop")


@jobs.task
def logs_in_thread() -> None:
    log.info("in a thread")


@jobs.task(executor="process", retry=ONCE)
def logs_in_process() -> None:
    log.info("in a process")


@jobs.task
async def beside(n: int) -> int:
    """A neighbour on the loop."""
    return n


@jobs.task
def who_in_thread() -> str:
    return who.get("nobody")


@jobs.task
async def who_on_loop() -> str:
    return who.get("nobody")


if __name__ == "__main__":
    jobs.run_worker()
