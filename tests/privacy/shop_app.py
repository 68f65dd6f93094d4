"""The application of test_canary.py: a module, since tasks of its own process import it. Every secret it is given comes
from outside; what it does with them is what careless code does."""

import logging
import os
import threading
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from offpath import Context, Offpath, Retry
from offpath.admin import Admin
from offpath.integrations.fastapi import Accepted, Acceptor, Caller, Operations
from offpath.metrics import Health, Metrics
from offpath.privacy import Secret
from offpath.webhooks import Webhooks

log = logging.getLogger("shop")
jobs = Offpath(
    os.environ.get("CANARY_DATABASE", "sqlite:///canary.db"),
    secret_keys=os.environ.get("CANARY_KEY") or (),
    redact=[r"acct-\w+"],
    poll=0.05,
)
ONCE = Retry(max_attempts=1)


@dataclass
class Order:
    card: Secret[str]
    pins: list[Secret[int]]


@dataclass
class Receipt:
    card: str


def spill(order: Order, where: str) -> None:
    card = order.card.reveal()
    pin = order.pins[0].reveal()
    log.warning("%s charges %s with %s", where, card, pin, extra={"body": f"card={card}"})
    parts = {"listed": [1, card], "mapped": {"card": {"of": card}}, "thing": Receipt(card), "pin": pin, "count": 3}
    log.warning("%s in parts", where, extra=parts | {"body": f"{Receipt(card)}"})
    try:
        raise LookupError(f"{where}: no account for {card}; acct-canaryown at https://u:canaryurl@bank.example/")
    except LookupError as error:
        log.exception("failed")
        raise RuntimeError(f"{where}: {card!r} refused, Authorization: Bearer canarybearer.x") from error


@jobs.task(retry=ONCE)
async def on_loop(ctx: Context, order: Order) -> None:
    card = order.card.reveal()
    await ctx.progress(1, of=2, message=f"charging {card}")
    await ctx.events.emit("charging", {"card": card, "url": "redis://:canaryredis@cache/0"})
    spill(order, "loop")


@jobs.task(retry=ONCE)
def in_thread(order: Order) -> None:
    other = threading.Thread(target=log.warning, args=("in a thread of its own: %s", order.card.reveal()))
    other.start()
    other.join()
    spill(order, "thread")


@jobs.task(retry=ONCE, executor="process")
def in_process(order: Order) -> None:
    spill(order, "process")


@jobs.task(retry=ONCE)
async def gives(ctx: Context, card: Secret[str]) -> Secret[str]:
    async def ask() -> Secret[str]:
        return Secret.of("canary-step-" + card.reveal())

    step = await ctx.step("ask", ask)
    log.info("step %s", step.reveal())
    return Secret.of("canary-result-" + card.reveal())


@jobs.batch(size=5, wait=0.1, retry=ONCE)
async def together(cards: list[Secret[str]]) -> None:
    log.info("batch of %s", [card.reveal() for card in cards])
    raise ValueError(cards[0].reveal())


MAY = {"keeper": {"offpath.read", "offpath.write", "offpath.arguments"}, "reader": {"offpath.read"}}


def who(request: Request) -> Caller:
    name = request.headers.get("x-as", "ann")
    return Caller(name, "", frozenset(MAY.get(name, ())))


webhooks = Webhooks(
    jobs,
    key="a key that is only for the tests",
    operations_url="http://shop.example/operations",
    callbacks=["*"],
    allow_private=True,
    schedule=[0],
)
api = FastAPI()
operations = Operations(jobs, caller=who, webhooks=webhooks, admin=Admin())
api.include_router(operations.router)
api.mount("/dashboard", operations.dashboard)
api.mount("/metrics", Metrics(jobs, token="metrics-token"))
api.mount("/health", Health(jobs))
Accept = Annotated[Acceptor, Depends(operations.acceptor)]


@api.post("/charges", status_code=202)
async def charge(body: dict[str, str], accept: Accept) -> Accepted[Secret[str]]:
    return await accept.using(callback=body.get("callback"))(gives, card=body["card"])


@api.post("/orders", status_code=202)
async def order(body: dict[str, str], accept: Accept) -> Accepted[None]:
    order = Order(Secret.of(body["card"]), [Secret.of(424242)])
    return await accept.using(callback=body.get("callback"))(on_loop, order=order)
