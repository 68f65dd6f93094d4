"""The application whose workers die around their commits: `offpath --app tests.acceptance.once:jobs worker`.

Each job writes one receipt into a table of the application's own, in the job's own transaction. Some jobs take their
worker with them (SIGKILL), once each, at a moment of theirs: before the settling, before the COMMIT, after it.
ONCE_DATABASE is the store's URL, ONCE_FOLDER where the ledger is, and which deaths have been died.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from offpath import Context, Offpath, Retry, provided
from offpath.core import lifecycle
from offpath.integrations.sqlalchemy import immediate
from offpath.stores.sqlite import exchange

from .ledger import Ledger

URL = os.environ["ONCE_DATABASE"]
FOLDER = Path(os.environ["ONCE_FOLDER"])
MOMENTS = ("before the settling", "before the commit", "after the commit")
EVERY = 10  # jobs, one of them deadly
INSERT = text("insert into receipt (job, n, fence) values (:job, :n, :fence)")

# Thirty deaths take neighbours along, and by chance one of them three times. That it is quarantined then is shown
# elsewhere (test_kill.py); here every job is to succeed.
lifecycle.MAX_CRASHES = exchange.MAX_CRASHES = 1_000  # type: ignore[misc, attr-defined]

jobs = Offpath(URL, lease=2, poll=0.2)
ledger = Ledger(FOLDER / "ledger.jsonl")


def moment(n: int) -> str | None:
    return MOMENTS[n // EVERY % len(MOMENTS)] if n % EVERY == 0 else None


def die(session: Session | AsyncSession, at: str) -> None:
    """If it is this job's moment, and it has not died yet. The note it leaves tells in which delivery."""
    n, fence = session.info.get("delivery", (None, 0))
    if n is None or moment(n) != at:
        return
    try:
        note = os.open(FOLDER / f"death-{n}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return
    os.write(note, str(fence).encode())
    os.kill(os.getpid(), signal.SIGKILL)


class MortalSession(Session):
    def commit(self) -> None:
        die(self, "before the commit")
        super().commit()
        die(self, "after the commit")


class MortalAsyncSession(AsyncSession):
    async def commit(self) -> None:
        die(self, "before the commit")
        await super().commit()
        die(self, "after the commit")


@jobs.provider(lifetime="attempt")
def session() -> Iterator[MortalSession]:
    engine = immediate(create_engine(URL))
    with MortalSession(engine) as made:
        yield made
    engine.dispose()


@jobs.provider(lifetime="attempt")
async def async_session() -> AsyncIterator[MortalAsyncSession]:
    engine = create_async_engine(URL.replace("postgresql", "postgresql+asyncpg", 1))
    async with MortalAsyncSession(engine) as made:
        yield made
    await engine.dispose()


def begun(ctx: Context, n: int) -> dict[str, Any]:
    ledger.write("start", job=ctx.job, n=n, attempt=ctx.attempt, fence=ctx.fence)
    return {"job": ctx.job, "n": n, "fence": ctx.fence}


@jobs.task(retry=Retry(max_attempts=1))  # a crash spends no attempt
def plain(ctx: Context, n: int, session: MortalSession = provided(transaction=True)) -> int:
    session.info["delivery"] = n, ctx.fence
    session.execute(INSERT, begun(ctx, n))
    die(session, "before the settling")
    return ctx.fence


@jobs.task(retry=Retry(max_attempts=1))
async def coroutine(ctx: Context, n: int, session: MortalAsyncSession = provided(transaction=True)) -> int:
    session.info["delivery"] = n, ctx.fence
    await session.execute(INSERT, begun(ctx, n))
    die(session, "before the settling")
    return ctx.fence


def main() -> None:
    """`python -m tests.acceptance.once COUNT`: enqueue, print the ids as a JSON array."""
    jobs.migrate()
    count = int(sys.argv[1])
    if URL.startswith("sqlite"):
        made = plain.enqueue_many_sync([plain.call(n=n) for n in range(count)])
    else:
        made = coroutine.enqueue_many_sync([coroutine.call(n=n) for n in range(count)])
    print(json.dumps([job.id for job in made]))


if __name__ == "__main__":
    main()
