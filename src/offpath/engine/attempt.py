"""One attempt in full dress: hooks, context, providers, then the function, on the loop, in a thread or in a child.

The slots run a plain coroutine in place; everything else comes through here. Whatever goes wrong is raised: the slot
turns it into an outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from ..core.change import Change
from ..core.job import Job, State, principal
from ..core.outcome import Done, Errored, Expired, Outcome
from ..core.schedule import tick_of
from ..core.trace import trace_id
from ..observe import signal
from ..tasks import AttemptInfo, Authorizer, Context, HookKind
from ..tracing import within
from . import failures, hooks
from .children.pool import Pool
from .inject import Scope, Shared
from .plans import Plan
from .slot import Slot, Stop, in_context, labels
from .threads import Threads
from .transaction import Ending, Outside, Own, around, around_here
from .voice import Voice

R = TypeVar("R")

REPEATS = 10  # times in a row that an attempt is run again whose own transaction could not pass beside another
REPEAT_PAUSES = (0.01, 1.0)  # s, first and longest, before it is: half of it on average, twice as long each time


class Stage(NamedTuple):
    """What the attempts of one worker have in common."""

    outside: Outside
    threads: Threads
    shared: Shared
    pool: Pool | None  # where some task runs in processes
    authorizer: Authorizer | None  # may whoever started the job still have it done?
    lost: Callable[[Slot], None]  # the store has refused a write of this attempt: another worker has the job


async def attempt(stage: Stage, worker: str, slot: Slot, plan: Plan, job: Job, given: dict[str, Any]) -> Outcome | None:
    """Run one job; gives what it says, or None when it has nothing to say."""
    slot.unbegun = job
    if stage.authorizer is not None and not await may(stage.authorizer, job, stage.threads):
        return failures.revoked()
    if before := plan.hooks.get("before"):
        await hooks.run("before", before, info(job, plan), stage.threads)
    if plan.wanted.transaction is None:
        return await _run(stage, worker, slot, plan, job, given)
    return await _repeated(stage, worker, slot, plan, job, given)


async def _repeated(
    stage: Stage, worker: str, slot: Slot, plan: Plan, job: Job, given: dict[str, Any]
) -> Outcome | None:
    """Run it in a transaction of its own; again, with all that it is given made anew, when that could not pass beside
    another. It is the same attempt: nothing of it stands, so the store hears nothing and none is spent."""
    clock, base = stage.outside.clock, contextvars.copy_context()
    pause, longest = REPEAT_PAUSES
    for repeat in range(1, REPEATS + 1):
        slot.conflict = False
        try:
            return await in_context(_run(stage, worker, slot, plan, job, given), base.copy().run)
        except Exception as exc:
            if not (slot.conflict and slot.why is None and failures.conflict(exc)):
                raise
            if job.once or isinstance(exc, plan.policy.retry.give_up_on):
                raise
            signal("attempt.repeated", **labels(job), repeat=repeat, error=failures.text(exc))
        await asyncio.sleep(pause * clock.chance())
        pause = min(2 * pause, longest)
        given = plan.decode(job.args)  # the function may have changed them
    return await in_context(_run(stage, worker, slot, plan, job, given), base.copy().run)


async def _run(stage: Stage, worker: str, slot: Slot, plan: Plan, job: Job, given: dict[str, Any]) -> Outcome | None:
    """The call with its context and providers."""
    voice = _voice(stage, worker, slot, plan, job) if plan.task.takes_context else None
    failure: BaseException | None = None
    ending = Ending(None)
    try:
        async with Scope(stage.shared) as scope:
            try:
                if plan.executor == "process":
                    ending = await _in_child(stage, slot, plan, job, voice)
                else:
                    run = _on_loop if plan.executor == "async" else _in_thread
                    ending = await run(stage, slot, plan, job, given, scope, voice)
            except BaseException as exc:
                failure = exc
                raise
            if ending.change is not None and ending.outcome is not None:
                slot.carried = ending.outcome, ending.change
            if ending.asked is not None and slot.asked is None:
                slot.asked = ending.asked
    except BaseException as exc:
        if slot.carried is None:
            raise
        _closing_failed(plan, job, exc)
    finally:
        if voice is not None:
            await (voice if voice.spoken else voice.progress).close()
    if failure is not None:  # a provider has swallowed it; the attempt has failed all the same
        raise failure
    return ending.outcome


async def may(authorizer: Authorizer, job: Job, threads: Threads) -> bool:
    """Asked before each attempt, of jobs that are somebody's. One that raises fails the attempt: nothing is done."""
    who = principal(job)
    if who is None:
        return True
    if inspect.iscoroutinefunction(authorizer):
        return bool(await authorizer(who))
    said = await threads.run(functools.partial(authorizer, who))  # plain code may block: never on the loop
    return bool(await said if inspect.isawaitable(said) else said)


def _closing_failed(plan: Plan, job: Job, exc: BaseException) -> None:
    """What a provider does after the commit cannot undo it."""
    signal(
        "attempt.hook_failed",
        **labels(job),
        kind="provider",
        hook=plan.wanted.transaction or "",
        error=f"{failures.name(exc)}: {failures.text(exc)}",
    )


async def _on_loop(
    stage: Stage, slot: Slot, plan: Plan, job: Job, given: dict[str, Any], scope: Scope, voice: Voice | None
) -> Ending:
    for name, recipe in plan.wanted.parameters.items():
        given[name] = await scope.get(recipe)
    context: tuple[Context[Any], ...] = ()
    if voice is not None:
        deps = ... if plan.wanted.deps is None else await scope.get(plan.wanted.deps)
        context = (_context(slot, plan, job, voice, deps, (0, slot.handle)),)
    if plan.wanted.transaction is not None:
        own = Own(stage.outside, slot, plan, job, given[plan.wanted.transaction], voice)
        return await around(own, lambda: _called(slot, plan, given, *context), plan.encode)
    slot.unbegun = None
    value = await plan.fn(*context, **given)
    if context:
        context[0].finish()
    # Encoded before the providers close: a lazy attribute of a model may still need its session.
    return Ending(Done(plan.encode(value) if plan.encode is not None else None))


async def _called(slot: Slot, plan: Plan, given: dict[str, Any], *context: Context[Any]) -> Any:
    slot.unbegun = None
    value = await plan.fn(*context, **given)
    for ctx in context:
        ctx.finish()
    return value


async def _in_thread(
    stage: Stage, slot: Slot, plan: Plan, job: Job, given: dict[str, Any], scope: Scope, voice: Voice | None
) -> Ending:
    wanted = plan.wanted
    for recipe in (*wanted.parameters.values(), *((wanted.deps,) if wanted.deps else ())):
        await scope.prepare(recipe)

    slot.unbegun = None  # from here on the thread decides when

    def work() -> Ending:
        failure: BaseException | None = None
        ending = Ending(None)
        with contextlib.ExitStack() as stack:
            try:
                for name, recipe in wanted.parameters.items():
                    given[name] = scope.here(recipe, stack)
                context: tuple[Context[Any], ...] = ()
                if voice is not None:
                    deps = ... if wanted.deps is None else scope.here(wanted.deps, stack)
                    context = (_context(slot, plan, job, voice, deps, (threading.get_ident(), None)),)
                if wanted.transaction is None:
                    ending = Ending(Done(call(plan, given, *context)))
                else:
                    own = Own(stage.outside, slot, plan, job, given[wanted.transaction], voice)
                    ending = around_here(own, lambda: call(plan, given, *context))
            except BaseException as exc:
                failure = exc
                raise
        if failure is not None:
            raise failure
        return ending

    return await in_thread(stage.threads, slot, work)


async def _in_child(stage: Stage, slot: Slot, plan: Plan, job: Job, voice: Voice | None) -> Ending:
    """Arguments, providers and result are the child's; hooks, progress and the verdict stay here."""
    assert stage.pool is not None  # noqa: S101
    return Ending(await stage.pool.run(slot, plan, job, None if voice is None else voice.progress))


def call(plan: Plan, given: dict[str, Any], *context: Context[Any]) -> str | None:
    """Call a plain function and encode what it returns."""
    value = plan.fn(*context, **given)
    for ctx in context:
        ctx.finish()
    return plan.encode(value) if plan.encode is not None else None


async def in_thread(threads: Threads, slot: Slot, work: Callable[[], R]) -> R:
    """Run it in a thread; meanwhile the slot cannot be stopped by cancelling it."""
    slot.threaded = True
    try:
        return await threads.run(work)
    finally:
        slot.threaded = False


def _voice(stage: Stage, worker: str, slot: Slot, plan: Plan, job: Job) -> Voice:
    def stale() -> None:
        if slot.job is job:
            stage.lost(slot)

    def told() -> Stop | None:
        return slot.why if slot.job is job else "lost"

    return Voice(
        stage.outside.store, worker, job, stage.outside.clock, stage.threads, stale, told, plan.task.desk.vault
    )


def _context(slot: Slot, plan: Plan, job: Job, voice: Voice, deps: Any, home: tuple[int, object]) -> Context[Any]:
    def canceled() -> bool:
        if slot.job is not job:  # the attempt is over; whoever still asks should stop
            return True
        if slot.why is None:
            return False
        slot.noticed = True
        return True

    return Context(
        job.id,
        job.attempt,
        job.fence,
        sink=voice.progress,
        canceled=canceled,
        deps=deps,
        principal=principal(job),
        flow=job.flow,
        ticked=tick_of(job.options),
        task=(plan.task.name, plan.task.version),
        notebook=voice.notebook,
        outputs=voice.emit,
        home=home,
    )


async def after(
    stage: Stage, plan: Plan, job: Job, outcome: Outcome, change: Change, error: BaseException | None, duration: float
) -> None:
    """The hooks that follow an attempt, once `change` is in the store: they cannot delay it."""
    told = replace(info(job, plan), outcome=outcome, error=error, duration=duration)
    failed = isinstance(outcome, Errored | Expired)
    kinds: list[HookKind] = ["after"]
    if failed:
        kinds.append("failure")
    if failed and change.state is State.FAILED:
        kinds.append("exhausted")
    with within(job):
        for kind in kinds:
            await hooks.run(kind, plan.hooks.get(kind, ()), told, stage.threads)


def info(job: Job, plan: Plan) -> AttemptInfo:
    return AttemptInfo(
        job=job.id,
        task=job.task,
        queue=job.queue,
        attempt=job.attempt,
        max_attempts=plan.policy.max_attempts,
        key=job.key,
        owner=job.owner,
        trace=trace_id(job.id, job.options),
    )
