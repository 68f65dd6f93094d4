"""What an exception says about its attempt. Nothing a handler raises can hurt the slot it ran in.

Exceptions are foreign code: their `__str__` may raise, their causes may form a circle, a group may hold ten thousand.
So everything here is bounded and every call into them is guarded.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from ..core import outcome as core
from ..core.outcome import MAX_DETAIL, MAX_TRACEBACK, Canceled, Errored, ErrorKind, Interrupted, Outcome, Snoozed
from ..core.retry import Retry
from ..errors import (
    ArgumentError,
    Cancel,
    ConfigurationError,
    LeaseLost,
    Problem,
    ProcessDied,
    ProcessFailure,
    ResultError,
    Snooze,
    StepError,
    StoreError,
)
from ..privacy.known import scrub

MAX_CHAIN = 5  # causes followed
MAX_MEMBERS = 5  # members of an exception group shown
MAX_FRAMES = 30
CONFLICTS = ("40001", "40P01")  # SQLSTATE: serialization failure, deadlock
TOO_LATE = "the deadline passed while the attempt ran"


class InChild(ProcessFailure):
    """An attempt that has failed in a child, with the outcome that was worked out there."""

    def __init__(self, outcome: Errored, exception: str, text: str) -> None:
        ProcessFailure.__init__(self, exception, text)
        self.outcome = outcome


class Died(InChild, ProcessDied):
    """No child has lived to say it."""

    def __init__(self, outcome: Errored, text: str) -> None:
        InChild.__init__(self, outcome, "offpath.errors.ProcessDied", text)


class UnreadableOptions(ConfigurationError):
    """What the job's row says of how it is run cannot be read."""


class BrokenTransaction(ConfigurationError):
    """What the task wrote and its success are not one transaction, and will not be the next time."""


def outcome(exc: BaseException, retry: Retry) -> Outcome:
    """The outcome of an attempt that ended with `exc`."""
    if isinstance(exc, InChild):
        return exc.outcome
    if isinstance(exc, Snooze):
        return Snoozed(exc.seconds)
    if isinstance(exc, Cancel):
        return Canceled(text(exc))
    if isinstance(exc, LeaseLost):
        return Interrupted("another worker has the job")  # which the store will refuse, and the log tell
    if isinstance(exc, ResultError):
        return Errored(error("result", "Result cannot be stored", detail=text(exc)), retryable=False)
    title, detail, status, kind, public = _told(exc)
    if broken := isinstance(exc, BrokenTransaction | StepError):
        title = "Steps have changed" if isinstance(exc, StepError) else "Not one transaction"
    said = error(
        "raised",
        title,
        detail=detail,
        status=status,
        type=kind,
        public=public,
        exception=name(exc),
        traceback=trace(exc),
    )
    return Errored(said, allows(retry, exc) and not broken)


def conflict(exc: BaseException | None) -> bool:
    """PostgreSQL would not let this transaction pass beside another one: it is rolled back, and the same again will do.
    By a driver, by SQLAlchemy, Django or a store about one; what a task raises because of it is the task's word."""
    for _ in range(MAX_CHAIN):
        if exc is None:
            return False
        if _attribute(exc, "sqlstate") in CONFLICTS or _attribute(exc, "pgcode") in CONFLICTS:
            return True
        wraps = isinstance(exc, StoreError) or type(exc).__module__ == "django.db.utils"
        inner = exc.__cause__ if wraps else _attribute(exc, "orig")
        exc = inner if isinstance(inner, BaseException) else None
    return False


def error(kind: ErrorKind, title: str, **said: Any) -> str:
    """`core.outcome.error`, without credentials and secrets that the attempt knows."""
    cut: dict[str, Any] = {name: scrub(value) if isinstance(value, str) else value for name, value in said.items()}
    return core.error(kind, scrub(title), **cut)


def undecodable(exc: BaseException) -> Errored:
    """The stored arguments do not fit the task any more, or the stored options cannot be read: another attempt would
    meet the same text."""
    title = "Options cannot be read" if isinstance(exc, UnreadableOptions) else "Arguments do not fit the task"
    where: dict[str, Any] = {"argument": exc.argument} if isinstance(exc, ArgumentError) and exc.argument else {}
    said = error("undecodable", title, detail=text(exc), exception=name(exc), **where)
    return Errored(said, retryable=False)


def revoked() -> Errored:
    """Whoever started it may no more: nothing was done, and nothing will be."""
    return Errored(error("revoked", "Principal revoked", status=403), retryable=False)


def died(how: str, retry: Retry) -> Died:
    """The process of the attempt died."""
    return Died(Errored(error("died", "Process died", detail=how), allows(retry, ProcessDied(how))), how)


def too_large(how: str, retry: Retry) -> Died:
    """It was killed because it held more than it may."""
    return Died(Errored(error("memory", "Memory limit", detail=how), allows(retry, ProcessDied(how))), how)


def unready(why: str, retry: Retry) -> Died:
    """There could be no process for the attempt: its function was not called."""
    said = error("died", "No process", detail=f"a process for the attempt could not be started: {why}")
    return Died(Errored(said, allows(retry, ProcessDied(why))), f"could not be started: {why}")


def outgrown(exc: MemoryError, limit: str, retry: Retry) -> Errored:
    """It asked for more at once than its limit, and was refused."""
    said = error("memory", "Memory limit", detail=limit, exception=name(exc), traceback=trace(exc))
    return Errored(said, allows(retry, exc))


def timeout(limit: float | None, retry: Retry, *, abandoned: bool) -> Errored:
    """The attempt ran longer than it may; `abandoned` when it would not stop even then."""
    said = error("timeout", "Timeout", detail=too_long(limit, abandoned=abandoned), abandoned=abandoned)
    return Errored(said, allows(retry, TimeoutError()))


def too_long(limit: float | None, *, abandoned: bool) -> str:
    said = "the attempt ran longer than it may" if limit is None else f"the attempt ran longer than {limit:g} s"
    return f"{said} and did not stop when told to: it has been abandoned" if abandoned else said


def late(*, abandoned: bool) -> Errored:
    """The job's deadline passed while the attempt ran."""
    return Errored(error("deadline", "Deadline exceeded", detail=TOO_LATE, abandoned=abandoned), retryable=False)


def unstorable(exc: BaseException) -> Errored:
    """The store refuses this job's outcome for good."""
    return Errored(error("result", "Result cannot be stored", detail=text(exc), exception=name(exc)), retryable=False)


def stopped() -> Canceled:
    """It was told to stop because someone asked; the reason they gave is in the job's own record."""
    return Canceled("cancel requested")


def interrupted(*, begun: bool) -> Interrupted:
    """It was told to stop because we stop; `begun` unless its function was certainly not called."""
    return Interrupted("shutdown", begun)


def allows(retry: Retry, exc: BaseException) -> bool:
    """`Retry.allows`; a cancellation that nobody asked for is an ordinary failure."""
    try:
        if isinstance(exc, asyncio.CancelledError):
            return not isinstance(exc, retry.give_up_on)
        return retry.allows(exc)
    except BaseException:  # a metaclass with an __instancecheck__ that raises
        return False


def _told(exc: BaseException) -> tuple[str, str | None, int | None, str | None, bool]:
    """(title, detail, status, type, public): public only for what was written for clients to read."""
    if isinstance(exc, Problem):
        return exc.title, exc.detail, exc.status, exc.type, True
    status = _attribute(exc, "status_code")
    if isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599:
        # The HTTPException of Starlette, FastAPI and others, known by its shape: raised to be shown.
        detail = _attribute(exc, "detail")
        try:
            title = HTTPStatus(status).phrase
        except ValueError:
            title = "Error"
        return title, detail if isinstance(detail, str) else None, status, None, isinstance(detail, str)
    return name(exc), text(exc) or None, None, None, False


def _attribute(exc: BaseException, attribute: str) -> Any:
    try:
        return getattr(exc, attribute, None)
    except BaseException:
        return None


def name(exc: BaseException) -> str:
    """Its class, with the module unless it is a builtin."""
    try:
        kind = type(exc)
        if issubclass(kind, ProcessFailure):
            return str(exc.exception)  # type: ignore[attr-defined]
        module, qualified = str(kind.__module__), str(kind.__qualname__)
    except BaseException:
        return "unknown exception class"
    return qualified if module == "builtins" else f"{module}.{qualified}"


def text(exc: BaseException) -> str:
    """Its message, or a word about why there is none."""
    try:
        said = str(exc)
    except BaseException as second:
        return f"(the message could not be read: {type(second).__name__})"
    said = scrub(said)
    return said if len(said) <= MAX_DETAIL else said[:MAX_DETAIL] + "…"


def trace(exc: BaseException) -> str:
    """Where it was raised and what caused it, the cause first; no local variables, they may hold secrets."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen and len(parts) < MAX_CHAIN:
        seen.add(id(current))
        parts.append("".join(_lines(current, depth=0)))
        current = _before(current)
    return scrub("\nled to:\n\n".join(reversed(parts)))[-MAX_TRACEBACK:]


def _before(exc: BaseException) -> BaseException | None:
    if exc.__cause__ is not None:
        return exc.__cause__
    return None if exc.__suppress_context__ else exc.__context__


def _lines(exc: BaseException, depth: int) -> Iterator[str]:
    try:
        frames = traceback.StackSummary.extract(traceback.walk_tb(exc.__traceback__), limit=-MAX_FRAMES)
        # The first frames are the engine's own; a reader wants the handler's.
        yield from traceback.StackSummary.from_list([f for f in frames if not f.filename.startswith(_HERE)]).format()
    except BaseException as second:
        yield f"  (no traceback: {type(second).__name__})\n"
    yield f"{name(exc)}: {text(exc)}\n"
    if isinstance(exc, BaseExceptionGroup) and depth < 2:
        for member in exc.exceptions[:MAX_MEMBERS]:
            yield from ("  | " + line for line in _lines(member, depth + 1))
        if len(exc.exceptions) > MAX_MEMBERS:
            yield f"  | … and {len(exc.exceptions) - MAX_MEMBERS} more\n"


_HERE = __file__.rpartition("failures.py")[0]
