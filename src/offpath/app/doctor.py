"""What is wrong with an application's home of jobs, and what to do about it: asked of the database, of the rows in it,
and of the brokers. Nothing is written. What the rows say is decided in `core/health.py`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import replace

from ..core.health import Check, Part, Vitals, few, judge
from ..errors import BrokerUnavailable, ConfigurationError, StoreError
from ..ports import Store
from ..settings import Settings
from . import places
from .facade import Offpath

PATIENCE = 10.0  # s for a broker's answer
STRIDE = 20_000  # jobs that one statement looks at
LONG = 60.0  # s, a transaction that is open for longer is a long one, where nobody says otherwise


def examine(jobs: Offpath, long: float, budget: float = math.inf) -> list[Check]:
    """Everything there is to say; StoreError when the database cannot be used at all. Of live jobs, as many as `budget`
    (seconds) allows are looked at, the oldest first: what is stuck is among them."""
    store = jobs.store
    lacking = store.lacking()
    checks = [*store.doctor(long), *secrets(jobs), *brokers(jobs.settings)]
    if lacking:
        detail = f"the database lacks {few(lacking)}; jobs were not looked at"
        return [*checks, Check("schema", "problem", detail, "run `offpath migrate`")]
    checks.append(Check("schema", "ok", "every migration of this version has been applied"))
    try:
        vitals = _vitals(store, budget)
    except StoreError as error:  # somebody has locked the tables, or we may not read them: the rest still helps
        return [*checks, Check("jobs", "problem", f"could not be looked at: {error}", "see the checks above")]
    return [*checks, *judge(vitals, jobs.settings.lease)]


def _vitals(store: Store, budget: float) -> Vitals:
    began, parts = time.monotonic(), list[Part]()
    after: str | None = ""
    while after is not None and (not parts or time.monotonic() - began < budget):
        more, after = store.read(store.verbs.survey(after, STRIDE)).result()
        parts += more
    return store.read(store.verbs.vitals(parts, whole=after is None)).result()


def secrets(jobs: Offpath) -> list[Check]:
    """Whether what tasks take as a Secret is sealed in the database."""
    names = [name for name in jobs.registry.names() if (task := jobs.registry.get(name)) and task.secret]
    if not names:
        return []
    if jobs.settings.secret_keys:
        return [Check("secrets", "ok", f"sealed for {few(names)}")]
    detail = f"{few(names)} {'takes' if len(names) == 1 else 'take'} a Secret, which is stored as it is"
    return [Check("secrets", "warning", detail, "set secret_keys= of Offpath(…), or OFFPATH_SECRET_KEYS")]


def brokers(settings: Settings) -> list[Check]:
    """Whether the broker of events and that of hints can be reached with what their URLs say."""
    checks = []
    said = {"broker": settings.broker or settings.transport, "transport": settings.transport if settings.broker else ""}
    for name, url in said.items():
        if url:
            checks.append(asyncio.run(_reached(name, replace(settings, broker=url))))
    return checks


async def _reached(name: str, settings: Settings) -> Check:
    try:
        broker = places.make_broker(settings)
        try:
            async with asyncio.timeout(PATIENCE):
                await broker.open()
        finally:
            with contextlib.suppress(BrokerUnavailable, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await broker.close()
    except (BrokerUnavailable, ConfigurationError, TimeoutError) as error:
        said = str(error) or f"no answer within {PATIENCE:g} s"
        return Check(name, "problem", said, f"see {name}= of Offpath(…), or OFFPATH_{name.upper()}; nothing is lost")
    if broker.kind == "http":
        return Check(name, "ok", "events are sent over HTTP; whether somebody takes them is seen when one is sent")
    return Check(name, "ok", f"{broker.kind} answers")
