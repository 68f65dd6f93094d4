"""A worker process to be killed, stopped and woken again: `python -m tests.engine.child DATABASE LEDGER LEASE RENEW`.

Every line of the ledger is one write of one process: "start <job> <pid> <fence>", "told …" (its attempt was cancelled),
"end …" (its function returned).
"""

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from offpath.engine.worker import Worker
from offpath.tasks import Context

from .kit import App


def declare(app: App, ledger: Path) -> dict[str, object]:
    def write(word: str, ctx: Context) -> None:
        with ledger.open("ab", buffering=0) as file:
            file.write(f"{word} {ctx.job} {os.getpid()} {ctx.fence}\n".encode())

    async def nap(ctx: Context, seconds: float) -> str:
        """Only the first attempt takes its time."""
        write("start", ctx)
        try:
            await asyncio.sleep(seconds if ctx.fence == 1 else 0)
        except asyncio.CancelledError:
            write("told", ctx)
            raise
        write("end", ctx)
        return str(ctx.fence)

    async def gated(ctx: Context, gate: str) -> str:
        """Until that file is there: another process has no better way to tell."""
        write("start", ctx)
        while not Path(gate).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return str(ctx.fence)

    async def block(ctx: Context, gate: str) -> str:
        """Hold the event loop, not the interpreter, until that file is there."""
        write("start", ctx)
        while ctx.fence == 1 and not Path(gate).exists():
            time.sleep(0.01)  # noqa: ASYNC251
        return str(ctx.fence)

    def stuck(ctx: Context) -> None:
        write("start", ctx)
        threading.Event().wait(600)

    def die(ctx: Context) -> None:
        write("start", ctx)
        os.kill(os.getpid(), signal.SIGKILL)

    def hold(ctx: Context, seconds: float) -> str:
        """Hold the interpreter: no thread of this process runs, the keeper's neither."""
        write("start", ctx)
        if ctx.fence == 1:
            ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        return str(ctx.fence)

    return {
        "nap": app.task(nap),
        "gated": app.task(gated),
        "block": app.task(block, timeout=1),
        "patient_block": app.task(block, name="patient_block"),
        "stuck": app.task(stuck),
        "die": app.task(die),
        "hold": app.task(hold),
    }


async def main(database: str, ledger: str, lease: str, renew: str) -> None:
    app = App(Path(database), lease=float(lease), renew=float(renew), cancel_grace=0.2)
    declare(app, Path(ledger))
    app.store.open()
    worker = Worker(app.store, app.transport, app.registry, app.settings)
    # Ends with its parent: the pipe closes.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    await worker.run(signals=True)
    app.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
