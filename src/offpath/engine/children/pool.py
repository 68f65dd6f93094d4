"""The children of one worker, and one attempt in one of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal as signals
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core.checks import shown
from ...core.job import Job
from ...core.memory import in_words
from ...core.memory import memory as bytes_of
from ...core.outcome import Canceled, Done, Errored, Outcome, Snoozed
from ...errors import ConfigurationError
from ...observe import signal
from ...settings import Settings
from ...tasks import Ready, Registry
from ...tracing import current
from .. import failures
from ..clock import Clock
from ..plans import Plan
from ..progress import Reporter
from ..slot import NEVER, Slot, labels
from . import launch, logs
from .child import Child, Gone
from .wire import Message

OVERDUE = "the process was killed: it had been told to stop, and did not"
START = 120.0  # s for an interpreter to start and to import the application
CLOSING = 10.0  # s for a child to close what its providers hold
KILLED = 5.0  # s for the kernel to take a killed process away
PAUSES = (0.5, 30.0)  # s, first and longest, that a slot rests when one start after the other fails
SPARES = 2  # children that may die before an attempt has begun in them
WATCH = 0.1  # s between two looks at the memory of a child that has a limit
STATM = Path("/proc/self/statm")


class Pool:
    """At most as many children at work as the lane has slots; idle ones wait for the next attempt."""

    def __init__(self, registry: Registry, settings: Settings, clock: Clock) -> None:
        """ConfigurationError when a task is declared where no other process could import it."""
        self._registry, self._settings, self._clock = registry, settings, clock
        self._boot = launch.boot(registry, settings)
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._failed = 0  # starts in a row
        self._told = ""  # the last reason that was logged
        self._closing = False
        limited = any((task := registry.get(name)) and task.options.memory for name in registry.names())
        if limited and not STATM.exists():
            signal("process.unlimited", system=sys.platform)

    def pids(self) -> tuple[int, ...]:
        """Of all processes there are. Any thread."""
        return tuple(child.pid for child in tuple(self._all) if child.pid is not None)

    # -- one attempt -------------------------------------------------------------------------------------------------

    async def run(self, slot: Slot, plan: Plan, job: Job, reporter: Reporter | None) -> Outcome:
        """Have it made in a child; failures.InChild when it fails. The attempt's time begins when a child is ready."""
        for spare in range(SPARES, -1, -1):
            child = await self._take(slot, plan, job)
            try:
                message = await self._in(child, slot, plan, job, reporter)
            except Gone as gone:
                if spare and not child.begun and slot.why is None:
                    continue  # it died before it had begun: not this attempt's doing
                how = OVERDUE if slot.killed else _how(gone)
                raise failures.died(how, plan.policy.retry) from None
            slot.noticed = message["noticed"]
            return _outcome(message)
        raise AssertionError

    async def _in(self, child: Child, slot: Slot, plan: Plan, job: Job, reporter: Reporter | None) -> Message:
        slot.unbegun = None  # from here on the child decides when
        self._begin(slot, plan, job)
        slot.threaded, slot.process = True, child
        over: list[int] = []
        watching = self._watch(child, plan, over)
        try:
            return await child.run(self._message(plan, job, reporter), _Hears(child, job, reporter))
        except Gone:
            if over:
                raise failures.too_large(_too_much(over[0], plan), plan.policy.retry) from None
            raise
        finally:
            slot.threaded, slot.process = False, None
            if watching is not None:
                watching.cancel()
            self._give(child)

    def _begin(self, slot: Slot, plan: Plan, job: Job) -> None:
        now = slot.started = self._clock.elapsed()
        slot.limit = now + plan.timeout
        if job.deadline is not None:
            slot.limit = min(slot.limit, now + (job.deadline - self._clock.now()) / 1e6)

    def _message(self, plan: Plan, job: Job, reporter: Reporter | None) -> Message:
        trace = current()
        carried = {}
        for name, (variable, _) in self._registry.carried.items():
            with contextlib.suppress(LookupError):  # it has no value here
                carried[name] = _carried(name, variable.get())
        return {
            "say": "run",
            "job": list(job),
            "trace": None if trace is None else [trace.traceparent, trace.state],
            "carried": carried,
            "reports": reporter is not None and job.watched,
            "memory": limit_of(plan),
        }

    def _watch(self, child: Child, plan: Plan, over: list[int]) -> _Every | None:
        limit = limit_of(plan)
        if limit is None or not STATM.exists():
            return None

        def look() -> None:
            held = rss(child.pid)
            if held > limit and not over:
                over.append(held)
                child.kill()

        return _Every(WATCH, look)

    # -- children ----------------------------------------------------------------------------------------------------

    async def _take(self, slot: Slot, plan: Plan, job: Job) -> Child:
        while self._idle:
            child = self._idle.pop()
            if not self._retired(child):
                return child
        # A start does not count as the attempt's time; only the job's own deadline goes on meanwhile.
        if slot.why is None:
            slot.limit = NEVER
            if job.deadline is not None:
                slot.limit = self._clock.elapsed() + (job.deadline - self._clock.now()) / 1e6
                slot.started = slot.limit
        child = Child(launch.refreshed(self._boot))
        self._all.add(child)
        child.gone.add_done_callback(lambda _: self._lost(child))
        try:
            async with asyncio.timeout(START):
                await asyncio.shield(child.ready)
        except TimeoutError:
            child.kill()
            raise await self._unready(f"it was not ready after {START:g} s", plan) from None
        except Gone as gone:
            raise await self._unready(str(gone) or _how(gone), plan) from None
        except BaseException:  # told to stop while it started
            child.kill()
            raise
        self._failed, self._told = 0, ""
        return child

    async def _unready(self, why: str, plan: Plan) -> failures.InChild:
        """No child could be had. It is told once; and whoever goes on failing does so in measured steps."""
        if why != self._told:
            self._told = why
            signal("process.failed", error=why)
        self._failed += 1
        if self._failed > 1:
            await asyncio.sleep(self._clock.spread(min(PAUSES[0] * 2 ** min(self._failed - 2, 10), PAUSES[1])))
        return failures.unready(why, plan.policy.retry)

    def _give(self, child: Child) -> None:
        if self._closing or self._retired(child):
            return
        self._idle.append(child)

    def _retired(self, child: Child) -> bool:
        """Whether it is to be used no more; then it has been asked to leave."""
        settings = self._settings
        if child.gone.done():
            return True
        old = (
            child.runs >= settings.recycle_jobs
            or asyncio.get_running_loop().time() - child.began >= settings.recycle_age
            or (settings.recycle_memory is not None and child.rss > settings.recycle_memory)
        )
        if child.told or old:
            child.leave()
            asyncio.get_running_loop().call_later(CLOSING, child.kill)
            return True
        return False

    def _lost(self, child: Child) -> None:
        self._all.discard(child)
        if child in self._idle:
            self._idle.remove(child)

    async def close(self) -> None:
        """Let all of them go. Afterwards none is left, nor its thread."""
        self._closing = True
        self._idle.clear()
        children = tuple(self._all)
        for child in children:
            child.leave()
        await _gone(children, CLOSING)
        for child in children:
            if not child.gone.done():
                child.kill()
        await _gone(children, KILLED)
        for child in children:
            if child.gone.done():
                child.join(1.0)


class _Every:
    """Call something again and again, until cancelled."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._seconds, self._call = seconds, call
        self._again()

    def _again(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._tick)

    def _tick(self) -> None:
        self._again()
        self._call()

    def cancel(self) -> None:
        self._handle.cancel()


class _Hears:
    """What a child says during an attempt."""

    def __init__(self, child: Child, job: Job, reporter: Reporter | None) -> None:
        self._child, self._job, self._reporter = child, job, reporter
        self._waiting: set[asyncio.Task[None]] = set()

    def __call__(self, message: Message) -> None:
        if message["say"] == "log":
            logs.heard(message["record"], labels(self._job))
        elif message["say"] == "progress" and self._reporter is not None:
            pending = self._reporter(message["line"])
            if isinstance(pending, Ready):
                self._written(message["n"], pending.result())
            else:
                task = asyncio.get_running_loop().create_task(self._wait(message["n"], pending))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    async def _wait(self, n: int, pending: Any) -> None:
        self._written(n, await pending)

    def _written(self, n: int, ok: bool) -> None:
        self._child.say({"say": "written", "n": n, "ok": ok})


def _outcome(message: Message) -> Outcome:
    said = message["outcome"]
    match said["kind"]:
        case "done":
            return Done(said["result"])
        case "snoozed":
            return Snoozed(said["delay"])
        case "canceled":
            return Canceled(said["reason"])
        case _:
            raise failures.InChild(Errored(said["error"], said["retryable"]), said["exception"], said["text"])


async def _gone(children: tuple[Child, ...], seconds: float) -> None:
    left = [child.gone for child in children if not child.gone.done()]
    if left:
        await asyncio.wait(left, timeout=seconds)


def limit_of(plan: Plan) -> int | None:
    said = plan.task.options.memory
    return None if said is None else bytes_of(said, "memory")


def rss(pid: int | None) -> int:
    """Bytes of memory that a process holds; 0 when it is gone or the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _page() -> int:
    import resource

    return resource.getpagesize()


PAGE = _page()


def _too_much(held: int, plan: Plan) -> str:
    return f"its process held {in_words(held)}, and memory={plan.task.options.memory!r} allows no more than that"


def _how(gone: Gone) -> str:
    """How a process ended, in words."""
    code = gone.code
    if code is None:
        return f"the process could not be started: {gone}"
    if code >= 0:
        how = f"the process ended with exit code {code} in the middle of the attempt"
    else:
        try:
            name = signals.Signals(-code).name
        except ValueError:
            name = "an unnamed one"
        how = f"the process died of signal {-code} ({name})"
        if -code == signals.SIGKILL:
            how += ", as when the kernel has run out of memory"
    return f"{how}: {gone}" if str(gone) else how


def _carried(name: str, value: object) -> str:
    """What a context variable holds, as JSON: nothing that comes from another process is ever unpickled."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"the context variable {name!r} is carried into processes and holds {shown(value)}, which is no plain JSON "
            f"data ({error}): carry text, numbers, lists or dicts"
        ) from None
