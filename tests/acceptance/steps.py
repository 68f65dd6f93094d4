"""The application whose workers die around their steps: `offpath --app tests.acceptance.steps:jobs worker`.

Each job does its parts as steps; every effect, and every result that a step has given, is in the ledger. Some jobs take
their worker with them (SIGKILL), once each, at a moment of theirs: when a step is about to be done, when it is done and
not remembered, when it is remembered. STEPS_DATABASE is the store's URL, STEPS_FOLDER where the ledger is, and which
deaths have been died.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from uuid import uuid4

from offpath import Context, Offpath, Retry

from .ledger import Ledger

FOLDER = Path(os.environ["STEPS_FOLDER"])
MOMENTS = ("done", "remembered", "before")
EVERY = 4  # jobs, one of them deadly
PARTS = 4

jobs = Offpath(os.environ["STEPS_DATABASE"], lease=3, poll=0.2)
ledger = Ledger(FOLDER / "ledger.jsonl")


def moment(n: int) -> str | None:
    return MOMENTS[n // EVERY % len(MOMENTS)] if n % EVERY == 0 else None


def die(n: int, part: int, at: str) -> None:
    """In its third part, if it is this job's moment and it has not died yet."""
    if part != 2 or moment(n) != at:
        return
    try:
        (FOLDER / f"death-{n}").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def do(job: str, fence: int, n: int, part: int) -> str:
    die(n, part, "before")
    token = uuid4().hex  # whoever does it again gets another one
    ledger.write("effect", job=job, fence=fence, part=part, token=token)
    die(n, part, "done")
    return token


def kept(ctx: Context, n: int, part: int, token: str) -> str:
    ledger.write("kept", job=ctx.job, fence=ctx.fence, part=part, token=token)
    die(n, part, "remembered")
    return token


@jobs.task(retry=Retry(max_attempts=1))  # a crash spends no attempt
def plain(ctx: Context, n: int) -> list[str]:
    return [
        kept(ctx, n, part, ctx.step(f"part-{part}", do, ctx.job, ctx.fence, n, part).result()) for part in range(PARTS)
    ]


@jobs.task(retry=Retry(max_attempts=1))
async def coroutine(ctx: Context, n: int) -> list[str]:
    return [
        kept(ctx, n, part, await ctx.step(f"part-{part}", do, ctx.job, ctx.fence, n, part)) for part in range(PARTS)
    ]


def main() -> None:
    """`python -m tests.acceptance.steps COUNT`: enqueue, print the ids as a JSON array."""
    jobs.migrate()
    count = int(sys.argv[1])
    calls = [(plain if n // EVERY % 2 else coroutine).call(n=n) for n in range(count)]
    print(json.dumps([job.id for job in jobs.desk.submit_sync([call.core for call in calls], None)]))


if __name__ == "__main__":
    main()
