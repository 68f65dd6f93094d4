"""What the ending of an attempt means when it had been told to stop, and when it had not."""

from __future__ import annotations

import json

from ..core.job import Job
from ..core.outcome import Errored, Outcome
from ..observe import signal
from . import failures
from .slot import Executor, Slot, labels


def raised(slot: Slot, exc: BaseException) -> Outcome | None:
    """It ended with an exception, told to stop or of its own accord. None: the job is not ours, say nothing."""
    if slot.why is None:
        assert slot.plan is not None  # noqa: S101
        return failures.outcome(exc, slot.plan.policy.retry)
    return stopped(slot)


def returned(slot: Slot, executor: Executor, outcome: Outcome) -> Outcome | None:
    """It returned although it had been told to stop. A coroutine must have swallowed its cancellation, and a plain
    function that has seen `ctx.canceled` may have left its work half done: neither return counts as success. One that
    knows nothing of it has done its work, only late: to do it again would help nobody.
    """
    if executor != "async" and not slot.noticed:
        return outcome if slot.why != "lost" else None
    return stopped(slot)


def after_all(
    slot: Slot, executor: Executor, outcome: Outcome, job: Job, seconds: float
) -> tuple[Outcome | None, BaseException | None]:
    """What `returned` makes of it, with the exception behind that; told when it counts although its time was up."""
    said = returned(slot, executor, outcome)
    if said is not outcome:
        return said, fault(slot, None)
    if slot.why in ("timeout", "deadline"):
        signal("attempt.overran", **labels(job), seconds=seconds)
    return said, None


def stopped(slot: Slot) -> Outcome | None:
    """It stopped because it was told to, or is given up because it did not."""
    plan = slot.plan
    assert plan is not None  # noqa: S101
    match slot.why:
        case "cancel":
            return failures.stopped()
        case "interrupt":
            # One that is given up may still call its function: it counts as begun.
            return failures.interrupted(begun=slot.abandoned or slot.unbegun is not slot.job)
        case "deadline":
            return failures.late(abandoned=slot.abandoned)
        case "timeout":
            return failures.timeout(plan.policy.timeout, plan.policy.retry, abandoned=slot.abandoned)
        case _:
            return None


def fault(slot: Slot, exc: BaseException | None) -> BaseException | None:
    """The exception that hooks and the log are shown: of an attempt whose time was up not the cancellation by which it
    was told so."""
    match slot.why:
        case "timeout":
            assert slot.plan is not None  # noqa: S101
            limit = slot.plan.policy.timeout
            shown: BaseException = TimeoutError(failures.too_long(limit, abandoned=slot.abandoned))
        case "deadline":
            shown = TimeoutError(failures.TOO_LATE)
        case _:
            return exc
    shown.__cause__ = exc
    return shown


def record(slot: Slot, outcome: Outcome | None, fault: BaseException | None) -> None:
    """End the span of the attempt in this slot."""
    span, slot.span = slot.span, None
    if span is None:
        return
    error: tuple[str, str] | None = None
    if isinstance(outcome, Errored):
        if fault is not None and slot.why is None:
            error = failures.name(fault), failures.text(fault)
        else:
            said = json.loads(outcome.error)
            error = said["kind"], said.get("detail") or said["title"]
    span.end("lost" if outcome is None else type(outcome).__name__.lower(), error)
