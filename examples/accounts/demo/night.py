"""`python3 dev.py demo --break`: the reference application on a bad night, for an operator who has never seen it.

Four things are wrong, and each can be found and mended from outside, with the dashboard or the command line alone:

* The mail relay got a new release, which renamed a header field: it refuses every order confirmation, and says so.
* Somebody has paused a queue, and gone home;
* so a schedule is late whose jobs stand in that queue.
* A customer's receiver answered 410 while it was deployed, so its webhooks were switched off.

What reaches the outside is counted by who receives it.
"""

import os
import shlex
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from ..processes import FLAG, Child
from ..receivers import Call, Received, receivers
from .client import OFFPATH, Client
from .terminal import Terminal

ORDERS = 40
CONTACTS = 4  # users there are: what `sync-contacts` sends
HOOK, SWITCH = "/hooks/acme", "/relay/old-names"
REFUSAL = (
    "554 5.6.0 relay 2.0, deployed 02:47: no header field Delivery-Id (Message-ID until 2.0)."
    " To have the old name taken: curl -X POST {url}"
)
WHY = "load test, back in an hour -- tom"
ALERTS = ("a schedule is late", "a webhook endpoint is off", "order confirmations fail")
PATIENCE = 60.0  # s for what takes moments, on a machine that has other things to do

RINGS = """
3 a.m. The phone rings: {alerts}.
You did not write this service. {orders} customers wait to hear of their orders.

In a browser          {base_url}/dashboard/
  sign in with        dev-admin
On the command line   {export}
  begin with          {offpath} alerts list
                      {offpath} doctor
                      {offpath} jobs list --state failed --limit 5

Find out why, mend it, and run again what has failed. docs/how-to/operate.md knows the way.
This terminal tells what arrives out there. Ctrl-C ends it all.
"""


class Night:
    """The service, and what is wrong with it."""

    def __init__(self, terminal: Terminal, folder: Path, received: Received, receiver: str) -> None:
        self.terminal = terminal
        self.received = received
        self.database = f"sqlite:///{folder / 'night.db'}"
        self.switch = f"{receiver}{SWITCH}"
        self.client: Client

    @property
    def environment(self) -> dict[str, str]:
        """With which the command line finds the application."""
        return {"OFFPATH_APP": "examples.accounts.app:jobs", "ACCOUNTS_DATABASE": self.database}

    # -- breaking it --------------------------------------------------------------------------------------------------

    async def breaks(self, start_worker: Callable[[], Awaitable[None]]) -> None:
        """What happened until now, in the order in which it did. No worker runs before the queue is paused."""
        received = self.received
        received.refusal = REFUSAL.format(url=self.switch)
        received.refusing_mail = True
        received.gone.add(HOOK)
        received.switches[SWITCH] = self._old_names
        await self.admin("POST", "/queues/low/pause", {"reason": WHY})
        await start_worker()
        await self.admin("POST", "/schedules/sync-contacts/run")
        endpoint = {"url": f"{self.switch.removesuffix(SWITCH)}{HOOK}", "events": ["operation.succeeded"]}
        await self.ask("POST", "/webhooks/endpoints", endpoint)
        await self.ask("POST", "/api/reports", {"title": "Sales", "rows": 2, "delay_ms": 0})
        for number in range(ORDERS):
            body = {"items": [{"product": ("lamp", "desk", "chair")[number % 3], "quantity": 1}]}
            await self.ask("POST", "/api/orders", body)
        await self.until(self._broken)
        received.gone.discard(HOOK)

    def _old_names(self) -> None:
        self.received.refusing_mail = False

    async def _broken(self) -> bool:
        """Every alert is raised, and every confirmation is dead."""
        seen = await self.admin("GET", "")
        raised = {alert["name"] for alert in seen["alerts"]}
        return raised >= set(ALERTS) and seen["totals"]["failed_outstanding"]["count"] == ORDERS

    async def check(self) -> None:
        check = self.terminal.check
        seen = await self.admin("GET", "")
        [low] = [one for one in (await self.admin("GET", "/queues"))["items"] if one["name"] == "low"]
        alerts = sorted(alert["name"] for alert in seen["alerts"])
        check(tuple(alerts) == ALERTS, f"{len(alerts)} alerts are raised: {', '.join(alerts)}")
        check(
            not self.received.letters, f"{len(self.received.refused)} e-mails and calls were refused, none got through"
        )
        check(low["paused"] and low["ready"] > 0, f"queue low is paused, and {low['ready']} jobs stand in it")
        check(seen["endpoints"]["disabled"] == 1, "a customer's webhooks are off")

    # -- what is well again -------------------------------------------------------------------------------------------

    def confirmed(self) -> int:
        return len({letter.subject for letter in self.received.letters})

    def calls(self, path: str, event: str = "") -> list[Call]:
        return [
            call for call in self.received.calls if call.path == path and (not event or call.body.get("event") == event)
        ]

    def beats(self) -> bool:
        """The queue goes on: the late schedule's jobs run, and so did what stood behind them."""
        return (
            bool(self.calls("/downstream", "heartbeat"))
            and len(self.calls("/downstream", "contact.synced")) >= CONTACTS
        )

    def told(self) -> bool:
        return bool(self.calls(HOOK))

    def once(self) -> bool:
        """No order is confirmed twice, no contact synced twice, and the customer heard of the report once."""
        effects = Counter(letter.subject for letter in self.received.letters)
        effects.update(f"contact {call.body['user']['id']}" for call in self.calls("/downstream", "contact.synced"))
        effects.update(f"hook {call.body.get('data', {}).get('id', call.id)}" for call in self.calls(HOOK))
        return max(effects.values(), default=0) == 1 and self.received.duplicates == 0

    async def mended(self) -> None:
        """Tells of each thing as it becomes well, and returns when all of them are."""
        start = time.monotonic()
        check, until = self.terminal.check, self.received.until

        async def confirmations() -> None:
            await until(lambda _: self.confirmed() >= ORDERS, timeout=None)
            check(True, f"{ORDERS} of {ORDERS} order confirmations have arrived")

        async def queue() -> None:
            await until(lambda _: self.beats(), timeout=None)
            check(True, f"queue low goes on: {CONTACTS} contacts are synced, and the heartbeat is back")

        async def webhooks() -> None:
            await until(lambda _: self.told(), timeout=None)
            check(True, "the customer has heard of the report")

        async with anyio.create_task_group() as tasks:
            for wait in (confirmations, queue, webhooks):
                tasks.start_soon(wait)
        check(self.once(), "each of these exactly once, by the books of who received them")
        self.seconds = time.monotonic() - start

    # -- hands --------------------------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: Any = None, *, user: str = "alice") -> Any:
        answer = await self.client.call(method, path, body, user=user, quiet=True)
        return answer.raise_for_status().json()

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        return await self.ask(method, f"/admin{path}", body, user="admin")

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        with anyio.fail_after(PATIENCE):
            while not await holds():  # noqa: ASYNC110
                await anyio.sleep(0.2)  # other processes get there, and say so to nobody here


async def tell(terminal: Terminal, folder: Path, auto: bool) -> None:
    async with receivers() as (received, smtp_url, http_url):
        night = Night(terminal, folder, received, http_url)
        os.environ.update(
            ACCOUNTS_DATABASE=night.database,
            ACCOUNTS_DATA_DIR=str(folder / "files"),
            ACCOUNTS_SMTP_URL=smtp_url,
            ACCOUNTS_PUSH_URL=f"{http_url}/push",
            ACCOUNTS_DOWNSTREAM_URL=f"{http_url}/downstream",
            ACCOUNTS_ALLOW_PRIVATE_WEBHOOKS="1",
            ACCOUNTS_HEARTBEAT="2",
        )
        terminal.title("A small user service (examples/accounts), an API and a worker, and a bad night")
        children: list[Child] = []
        codes: list[int] = []

        async def start(*command: str) -> Child:
            child = await Child.start(*command, FLAG)
            children.append(child)
            return child

        async def worker() -> None:
            await (await start("examples.accounts.worker")).line("worker.started", PATIENCE)

        try:
            api = await start("examples.accounts.serve", "--no-worker", "--port", "0")
            base_url = (await api.line("ready ", PATIENCE)).removeprefix("ready ")
            night.client = Client(terminal, base_url)
            try:
                await night.breaks(worker)
                await night.check()
                ring(night, base_url)
                if auto:
                    from .mending import Operator

                    await Operator(night).mends()
                else:
                    await waits(night)
            finally:
                await night.client.http.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                codes = [await child.stop() for child in reversed(children)]
        terminal.check(not any(codes), "asked to stop, worker and API ended with exit code 0")


def ring(night: Night, base_url: str) -> None:
    night.terminal.title("The phone rings")
    export = " ".join(["export", *(f"{name}={shlex.quote(value)}" for name, value in night.environment.items())])
    alerts = ", ".join(ALERTS)
    said = RINGS.format(alerts=alerts, orders=ORDERS, base_url=base_url, export=export, offpath=OFFPATH)
    night.terminal.say(said.strip())


async def waits(night: Night) -> None:
    """For the operator, and then for Ctrl-C."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await night.mended()
                night.terminal.say(
                    f"Mended in {night.seconds:.0f} s. Look around as long as you like; Ctrl-C ends it all."
                )

            tasks.start_soon(watch)
            async for _ in signals:
                break
            tasks.cancel_scope.cancel()
