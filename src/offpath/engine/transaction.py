"""The job's own transaction: what the task writes and the note that it is done stand or fall with one commit.

The worker begins it on what `provided(transaction=True)` gave, calls the function, settles the job with its last
statements and commits. Killed before the commit, nothing has happened and the job is delivered again; after it, the job
is done. Whoever has lost the job meanwhile is told so by the settling, and rolls back. So does an attempt whose
transaction cannot pass beside another one (a serialization failure, a deadlock), which is then run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, NamedTuple, TypeVar

from ..core import lifecycle
from ..core.change import Change
from ..core.job import Job, State
from ..core.outcome import Done, Interrupted, Outcome
from ..errors import ConfigurationError, StoreError, StoreUnavailable
from ..ports import Announce, Hint, Pending, Store, Verb, Verdict, locked_here
from . import endings, failures
from .clock import Clock
from .drivers import Driver, Pause, driver_of
from .failures import BrokenTransaction
from .plans import Plan
from .slot import Slot
from .voice import Voice

R = TypeVar("R")
Steps = Generator[Any, Any, R]
"""What it yields is done by whoever drives it, on the loop or in a thread: a Pause, an Ask, or what a driver gave."""

LOCKED_PAUSES = (0.002, 0.005, 0.01, 0.02, 0.05, *[0.1] * 30)  # s, while another transaction has the job's row locked
LOOKS = (0.0, 0.1, 0.4, 1.0)  # s before each look for a commit whose answer was lost


class Ask(NamedTuple):
    """Wait for the store."""

    pending: Pending[Any]


class Ending(NamedTuple):
    """How an attempt has ended.

    outcome  what it says; None: nothing, the job is not ours
    change   what its own transaction has carried into the store: the job is settled
    asked    when someone asked it to stop, and why, where only the settling has met that
    """

    outcome: Outcome | None
    change: Change | None = None
    asked: tuple[int, str] | None = None


class Outside(NamedTuple):
    """What lies around the transactions of a worker.

    announce    told of events once the commit has happened
    one_writer  the database lets one transaction write at a time (SQLite)
    """

    store: Store
    clock: Clock
    announce: Announce
    one_writer: bool


class Own:
    """The transaction of one attempt."""

    def __init__(self, outside: Outside, slot: Slot, plan: Plan, job: Job, given: object, voice: Voice | None) -> None:
        self._store, self._clock, self._announce, self._one_writer = outside
        self._slot, self._plan, self._job, self._voice = slot, plan, job, voice
        self._driver: Driver = driver_of(given)
        self._hints: list[Hint] = []
        self._carries = self._one_writer  # it writes everything that the attempt says, and nobody else meanwhile
        self._settling = False  # the function has returned, and the transaction is still ours

    def begin(self) -> Steps[None]:
        """It leads to where the jobs are, or nothing is called. (A session on SQLite is asked at the end: until its
        first statement it locks nothing.)"""
        try:
            yield from self._driver.begin(self._told)
            if not self._one_writer:
                yield self._run(_nothing())
                if self._voice is not None and self._job.watched:
                    self._carries = yield self._run(self._store.verbs.snapshot())
        except (Exception, asyncio.CancelledError) as error:
            yield from self.undo(error)
            _for_good(error)
            raise
        if self._voice is not None:
            self._voice.own(hold=self._carries)
        if self._one_writer:
            locked_here.set(self._locked)

    def finish(self, result: str | None) -> Steps[Ending]:
        """The function has returned: settle and commit, or roll back."""
        said: Outcome = Done(result)
        slot, job = self._slot, self._job
        outcome = endings.returned(slot, self._plan.executor, said) if slot.why is not None else said
        if outcome is said and slot.asked is not None:
            outcome = failures.stopped()
        if outcome is not said:
            yield from self._back()
            return Ending(outcome)
        try:
            if self._voice is not None and not self._carries:
                yield Ask(self._voice.last())
            yield from self._driver.check()
            self._settling = True
            policy = self._plan.policy
            change = lifecycle.settle(job, said, policy, self._clock.now(), self._clock.chance())
            verdict, at, reason = yield from self._settle(change)
        except (Exception, asyncio.CancelledError) as error:
            yield from self.undo(error)
            _for_good(error)
            raise
        if verdict != "applied":
            yield from self._back()
            if verdict == "changed" and at is not None:
                return Ending(failures.stopped(), asked=(at, reason or ""))
            return Ending(Interrupted("another worker has the job"))  # which the store will refuse, and the log tell
        yield from self._commit()
        return Ending(said, change)

    def _settle(self, change: Change) -> Steps[tuple[Verdict, int | None, str | None]]:
        job, verbs = self._job, self._store.verbs
        worker = job.worker or ""
        if self._voice is not None:
            for verb in self._voice.held():
                yield self._run(verb)
        for pause in LOCKED_PAUSES:
            verdict, at, reason = yield self._run(verbs.settle_one(worker, change))
            if verdict != "changed" or at is not None:
                return verdict, at, reason
            yield Pause(pause)
        raise StoreUnavailable(f"job {job.id} could not be settled: another transaction keeps its row locked")

    def _commit(self) -> Steps[None]:
        try:
            yield from self._driver.commit()
        except (Exception, asyncio.CancelledError) as error:
            yield from self.undo(error)
            if not (yield from self._landed()):
                raise
        if self._voice is not None:
            self._voice.forget()
        if self._hints:
            self._announce(self._hints)

    def _landed(self) -> Steps[bool]:
        """No answer came to the COMMIT, or a bad one. False when history does not have this delivery (yet: then the
        server refuses what we say instead)."""
        for pause in LOOKS:
            yield Pause(pause)
            try:
                found = yield Ask(self._store.read(self._store.verbs.find(self._job.id)))
            except StoreError:
                continue
            ended = None if found is None else found.finished
            return ended is not None and (ended.fence, ended.state) == (self._job.fence, State.SUCCEEDED)
        return False

    def undo(self, error: BaseException) -> Steps[None]:
        """Roll back on the way out with an error, which is the one to tell of."""
        again = not self._one_writer and failures.conflict(error)
        try:
            if again and not self._settling:  # a task that has committed by itself would write that once more
                again = yield from self._driver.whole()
            yield from self._driver.rollback()
        except (Exception, asyncio.CancelledError):
            return  # the connection is lost, and with it what was not committed
        self._slot.conflict = again

    def _back(self) -> Steps[None]:
        """Roll back without an error: if that fails, it is one, lest the provider commits."""
        yield from self._driver.rollback()

    def _run(self, verb: Verb[Any]) -> Any:
        return self._store.run_on(self._driver.tx, _aside(verb, self._hints))

    def _locked(self) -> bool:
        try:
            return self._driver.locked()
        except Exception:  # closed by now
            return False

    def _told(self) -> bool:
        return self._slot.why is not None or self._slot.abandoned


def _for_good(error: BaseException) -> None:
    """A connection that cannot be what it is meant to be will not be another time either."""
    if isinstance(error, ConfigurationError) and not isinstance(error, BrokenTransaction):
        raise BrokenTransaction(str(error)) from error


def _nothing() -> Verb[None]:
    """To run it is to see that the connection leads home."""
    yield from ()


def _aside(verb: Verb[R], hints: list[Hint]) -> Verb[R]:
    """The verb without its hints: they are for after the commit, which is ours."""
    proceed: Callable[[Any], Any] = verb.send
    answer: Any = None
    try:
        while True:
            step = proceed(answer)
            proceed, answer = verb.send, None
            if isinstance(step, Hint):
                hints.append(step)
                continue
            try:
                answer = yield step
            except Exception as error:
                proceed, answer = verb.throw, error
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        answer = None


# ── driving it ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def around(own: Own, call: Callable[[], Awaitable[Any]], encode: Callable[[Any], str] | None) -> Ending:
    """A coroutine function in its own transaction. The end is not interrupted: nobody would know how it went."""
    await on_loop(own.begin())
    try:
        value = await call()
        result = encode(value) if encode is not None else None
    except BaseException as error:
        await _to_the_end(on_loop(own.undo(error)))
        raise
    return await _to_the_end(on_loop(own.finish(result)))


def around_here(own: Own, call: Callable[[], str | None]) -> Ending:
    """A plain function in its own transaction, all of it in this thread; `call` gives the encoded result."""
    here(own.begin())
    try:
        result = call()
    except BaseException as error:
        here(own.undo(error))
        raise
    return here(own.finish(result))


@contextlib.asynccontextmanager
async def without_a_job(given: object) -> AsyncIterator[None]:
    """The transaction alone, where a task is called and nothing is to be settled."""
    driver = driver_of(given)
    try:
        await on_loop(driver.begin(lambda: False))
        yield
        await on_loop(driver.check())
    except BaseException:
        await on_loop(driver.rollback())
        raise
    await on_loop(driver.commit())


async def on_loop(steps: Steps[R]) -> R:
    proceed: Callable[[Any], Any] = steps.send
    answer: Any = None
    try:
        while True:
            step = proceed(answer)
            proceed = steps.send
            try:
                match step:
                    case Pause(seconds):
                        await asyncio.sleep(seconds)
                        answer = None
                    case Ask(pending):
                        answer = await pending
                    case _:
                        answer = await step if inspect.isawaitable(step) else step
            except (Exception, asyncio.CancelledError) as error:
                proceed, answer = steps.throw, error
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        answer = None  # an exception kept here would keep this frame, and all it knows, alive


def here(steps: Steps[R]) -> R:
    proceed: Callable[[Any], Any] = steps.send
    answer: Any = None
    try:
        while True:
            step = proceed(answer)
            proceed = steps.send
            try:
                match step:
                    case Pause(seconds):
                        time.sleep(seconds)
                        answer = None
                    case Ask(pending):
                        answer = pending.result()
                    case _:
                        answer = _at_hand(step)
            except Exception as error:
                proceed, answer = steps.throw, error
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        answer = None


def _at_hand(step: Any) -> Any:
    if not inspect.isawaitable(step):
        return step
    if inspect.iscoroutine(step):
        step.close()
    raise BrokenTransaction("a plain function needs a synchronous connection: make it `async def`, or give it another")


async def _to_the_end(work: Coroutine[Any, Any, R]) -> R:
    """Whoever tells us to stop meanwhile is heard afterwards, by the slot."""
    task = asyncio.get_running_loop().create_task(work)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            if asyncio.get_running_loop().is_closed():
                raise
    return task.result()
