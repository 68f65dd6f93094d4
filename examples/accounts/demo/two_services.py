"""`python3 dev.py demo --broker NAME`: two services, and what travels between them.

The accounts service changes an organization and says so; the auth service, with processes and a database of its own,
hears of it and takes the links of thousands of members away. Whatever is claimed with "ok" has been looked at, in the
auth service's own ledger.
"""

import asyncio
import json
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from ..processes import Child
from .carriers import Carrier
from .client import Client, offpath
from .services import PATIENCE, Services
from .teller import Watched
from .terminal import Terminal

LEASE = float(os.environ.get("OFFPATH_LEASE") or 15)
QUICK = 1.0  # s: an answer that waited for nobody, on such a machine too
ENDED = ("succeeded", "failed", "canceled")
BEFORE = 3  # members who are unlinked by a list, before the organization's switch
OFF = {"op": "replace", "path": "/allow-custom-sso", "value": False}

INTRODUCTION = """
Two services, each with a process, a worker and a database of its own. Between them:
{carrier}.
The accounts service knows organizations; the auth service knows how {members:,} members of one of them sign in.
"""


async def tell(terminal: Terminal, folder: Path, kind: str, members: int) -> None:
    services = Services(folder, members)
    async with services.between(kind) as between:
        terminal.say(INTRODUCTION.strip().format(carrier=between.name, members=members))
        codes: list[int] = []
        try:
            await services.start_auth_api()
            _, accounts_url = await asyncio.gather(services.start_auth_worker(), services.start_accounts())
            story = Story(terminal, services, between, accounts_url)
            try:
                await story.all()
            finally:
                await story.close()
        finally:
            with anyio.CancelScope(shield=True):
                codes = await services.stop()
        terminal.check(not any(codes), f"asked to stop, all {len(codes)} processes ended with exit code 0")


class Story:
    def __init__(self, terminal: Terminal, services: Services, between: Carrier, accounts_url: str) -> None:
        self.terminal = terminal
        self.services = services
        self.between = between
        self.accounts = Client(terminal, accounts_url)
        self.auth = Client(terminal, f"http://127.0.0.1:{services.auth_port}")

    async def close(self) -> None:
        await self.accounts.http.aclose()
        await self.auth.http.aclose()

    async def all(self) -> None:
        await self.a_list()
        await self.the_switch()
        await self.half_way()
        await self.without_a_broker()
        await self.the_rest()
        await self.summary()

    async def a_list(self) -> None:
        check = self.terminal.check
        self.terminal.title("The auth service by itself: a list of members, off the request's path")
        await self.auth.call("GET", "/sso-links?organization=1")
        ids = list(range(1, BEFORE + 1))
        answer = await self.auth.call("POST", "/sso-links/unlink", {"members": ids}, show=("Location", "Retry-After"))
        watched = Watched(answer.headers["Location"], BEFORE)
        await self.auth.follow(watched.url, watched.see, timeout=PATIENCE)
        done = await self.auth.operation(watched.url)
        self.terminal.say(f"The operation {watched.status}: {json.dumps(done.get('result'))}")
        check(answer.status_code == 202, "a list is answered with 202 and an operation to watch")
        check((await self.links(1))["unlinked"] == BEFORE, f"{BEFORE} links are gone, by the ledger")

    async def the_switch(self) -> None:
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("The accounts service: organization 1 may no longer use its own sign-on")
        await self.accounts.call("PATCH", "/org/1", {"op": "test", "path": "/id", "value": 1}, quiet=True)
        answer, seconds = await self.switch(1, "alice")
        say("One commit: the row, the event that tells of it, and the job that publishes the event.")
        check(answer["allow-custom-sso"] is False, "the organization is changed")
        check(seconds < QUICK, f"answered in {seconds * 1000:.0f} ms: nothing waited for {self.many(1)} members")
        await self.switch(1, "alice")
        say("The same once more changes nothing, so nothing is told (the last chapter counts).")

    async def half_way(self) -> None:
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("The auth service hears of it, and its worker is killed half-way")
        [doomed] = self.services.workers
        rest = self.services.members[1] - BEFORE
        await doomed.line(f"of {rest}", PATIENCE)
        job = self.at_work(doomed, rest)
        say(f"In its worker, process {doomed.pid}, the event has become job {job}. Batches of 500:")
        share = await self.watch(1, until=0.5)
        code = await doomed.kill()
        self.services.workers.remove(doomed)
        self.killed = time.monotonic()
        self.terminal.bar_done()
        left = await self.links(1)
        check(code == -9, f"process {doomed.pid} is gone (kill -9), it could not say good-bye")
        check(
            share < 1 and left["linked"] > 0,
            f"{left['unlinked']:,} links were gone then, {left['linked']:,} were still there",
        )
        check(left["linked"] + left["unlinked"] == self.services.members[1], "and none between: a batch is one commit")
        other = await self.services.start_auth_worker()
        say(f"Another worker, process {other.pid}, starts. The dead one's lease is {LEASE:g} s; until it has run out,")
        say("nobody else takes its job up.")
        self.job = job

    async def without_a_broker(self) -> None:
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("Meanwhile: what carries the events goes away")
        await self.between.away()
        say(self.between.gone)
        answer, seconds = await self.switch(2, "admin")
        check(answer["allow-custom-sso"] is False, "organization 2 is changed all the same")
        check(seconds < QUICK, f"answered in {seconds * 1000:.0f} ms: a request does not meet the broker")
        await self.services.publisher.line("broker.failed", PATIENCE)
        waiting = [job for job in await self.published() if job["state"] not in ENDED]
        states = ", ".join(job["state"] for job in waiting)
        check(len(waiting) == 1, f"its event is in the outbox, and the job that publishes it is not done ({states})")
        await self.between.back()
        say(self.between.again)
        await self.watch(2)
        self.terminal.bar_done()
        there = await self.links(2)
        check(there["linked"] == 0, f"the event has arrived, and organization 2's {there['unlinked']:,} links are gone")

    async def the_rest(self) -> None:
        self.terminal.title("Back to organization 1, half done by a worker that is dead")
        await self.watch(1)
        self.terminal.bar_done()
        [worker] = self.services.workers
        await worker.line(f"unlink {self.job}: attempt", PATIENCE)
        self.terminal.check(True, f"the job was taken up by process {worker.pid}, and went on with the links left")

    async def summary(self) -> None:
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("The books, checked")
        books = {organization: await self.links(organization) for organization in self.services.members}
        published = await self.all_ended(self.published)
        consumed = await self.all_ended(self.consumed)
        width = 34
        states = Counter(job["state"] for job in published)
        say(f"{'events published (accounts)':{width}}{_counted(states)}")
        say(f"{'jobs from events (auth)':{width}}{_counted(Counter(job['state'] for job in consumed))}")
        for organization, there in books.items():
            count = f"{there['unlinked']:,} of {self.services.members[organization]:,}"
            say(f"{f'links gone, organization {organization}':{width}}{count}")
        say(f"{'links still there':{width}}{sum(there['linked'] for there in books.values())}")
        say(f"{'links that went twice':{width}}{sum(there['twice'] for there in books.values())}")
        check(states == {"succeeded": 2}, "one event for each change is published; none for what changed nothing")
        check([job["state"] for job in consumed] == ["succeeded"] * 2, "each event became one job, whatever went wrong")
        check(all(job["attempt"] == 1 for job in consumed), "a worker's death and a broker's spend no attempt")
        gone = {organization: there["unlinked"] for organization, there in books.items()}
        check(gone == self.services.members, "every link is gone")
        check(all(there["twice"] == 0 for there in books.values()), "and each exactly once, by the ledger")

    # -- what the chapters share --------------------------------------------------------------------------------------

    def many(self, organization: int) -> str:
        return f"{self.services.members[organization]:,}"

    async def links(self, organization: int) -> dict[str, Any]:
        answer = await self.auth.call("GET", f"/sso-links?organization={organization}", user="admin", quiet=True)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def switch(self, organization: int, user: str) -> tuple[dict[str, Any], float]:
        """Turn an organization's own sign-on off; the answer, and how long it took."""
        start = time.perf_counter()
        answer = await self.accounts.call("PATCH", f"/org/{organization}", OFF, user=user)
        seconds = time.perf_counter() - start
        found: dict[str, Any] = answer.raise_for_status().json()
        return found, seconds

    async def watch(self, organization: int, until: float = 1.0) -> float:
        """A bar of the links that are gone, by the ledger, until so large a share is; that share."""
        total = self.services.members[organization]
        with anyio.fail_after(PATIENCE + LEASE):
            while True:
                gone = (await self.links(organization))["unlinked"]
                self.terminal.bar("links", gone / total, f"{gone:,} of {total:,} are gone")
                if gone / total >= until:
                    return float(gone / total)
                await anyio.sleep(0.05)  # the ledger is a table: it tells nobody

    def at_work(self, worker: Child, total: int) -> str:
        """The job that this worker unlinks so many members in."""
        for line in worker.lines:
            if found := re.search(rf"unlink (\S+): \d+ of {total}\b", line):
                return found[1]
        raise RuntimeError(f"process {worker.pid} unlinks nobody")

    async def published(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await offpath(
            self.services.accounts_database, "jobs", "list", "--task", "offpath.publish"
        )
        return found

    async def consumed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await offpath(
            self.services.auth_database, "jobs", "list", "--task", "unlink_organization"
        )
        return found

    async def all_ended(self, look: Callable[[], Awaitable[list[dict[str, Any]]]]) -> list[dict[str, Any]]:
        """These jobs, when each of them has ended."""
        with anyio.fail_after(PATIENCE):
            while True:
                found = await look()
                if all(job["state"] in ENDED for job in found):
                    return found
                await anyio.sleep(0.1)


def _counted(states: Counter[str]) -> str:
    return f"{sum(states.values())}: {', '.join(f'{n} {state}' for state, n in sorted(states.items()))}"
