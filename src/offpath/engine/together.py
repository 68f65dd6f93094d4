"""The call of a batch: hooks for each job, providers once, then the function, on the loop or in a thread.

What it says of each job is left with the job. What it raises is raised: the lane makes it the outcome of all that have
none of their own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, NoReturn

from ..core.batches import answers
from ..core.job import principal
from ..core.outcome import Done, Outcome
from ..core.schedule import tick_of
from ..errors import StepError
from ..ports import Pending
from ..tasks import Context
from ..tracing import within
from . import failures, hooks
from .attempt import Stage, in_thread, info, may
from .batches import Member
from .inject import Scope
from .plans import Plan
from .slot import Slot, Stop
from .voice import Voice


async def together(stage: Stage, worker: str, slot: Slot, plan: Plan, members: Sequence[Member]) -> None:
    slot.unbegun = slot.job
    able = [member for member in members if await _permitted(stage, plan, member)]
    if not able:
        return
    for member in able:
        if before := plan.hooks.get("before"):
            await hooks.run("before", before, info(member.job, plan), stage.threads)
    voices = [_voice(stage, worker, slot, able, member) for member in able] if plan.task.takes_context else []
    failure: BaseException | None = None
    said: Said = []
    try:
        async with Scope(stage.shared) as scope:
            try:
                run = _on_loop if plan.executor == "async" else _in_thread
                said = await run(stage, slot, plan, able, scope, voices)
            except BaseException as exc:
                failure = exc
                raise
    finally:
        for voice in voices:
            await voice.close()
    if failure is not None:  # a provider has swallowed it; the attempt has failed all the same
        raise failure
    for member, one in zip(able, said, strict=True):
        member.said = one


async def _permitted(stage: Stage, plan: Plan, member: Member) -> bool:
    """May whoever started it still have it done? If not, nothing is done, of this one."""
    if stage.authorizer is None:
        return True
    try:
        if await may(stage.authorizer, member.job, stage.threads):
            return True
        member.said = failures.revoked(), None
    except Exception as exc:
        member.said = failures.outcome(exc, plan.policy.retry), exc
    return False


Said = list[tuple[Outcome, BaseException | None]]


def _said(plan: Plan, returned: object, count: int, *context: Context[Any]) -> Said:
    said = [_one(plan, entry) for entry in answers(plan.task.name, returned, count)]
    for ctx in context:
        for n, one in enumerate(ctx.each):
            try:
                one.finish()
            except StepError as error:
                said[n] = failures.outcome(error, plan.policy.retry), error
    return said


def _one(plan: Plan, entry: object) -> tuple[Outcome, BaseException | None]:
    if not isinstance(entry, BaseException):
        try:
            return Done(plan.encode(entry) if plan.encode is not None else None), None
        except Exception as exc:
            entry = exc
    return failures.outcome(entry, plan.policy.retry), entry


async def _on_loop(
    stage: Stage, slot: Slot, plan: Plan, able: Sequence[Member], scope: Scope, voices: Sequence[Voice]
) -> Said:
    given = {name: await scope.get(recipe) for name, recipe in plan.wanted.parameters.items()}
    context: tuple[Context[Any], ...] = ()
    if voices:
        deps = ... if plan.wanted.deps is None else await scope.get(plan.wanted.deps)
        context = (_context(slot, plan, able, voices, deps, (0, slot.handle)),)
    slot.unbegun = None
    returned = await plan.fn(*context, **{plan.parameter: [member.value for member in able]}, **given)
    return _said(plan, returned, len(able), *context)


async def _in_thread(
    stage: Stage, slot: Slot, plan: Plan, able: Sequence[Member], scope: Scope, voices: Sequence[Voice]
) -> Said:
    wanted = plan.wanted
    for recipe in (*wanted.parameters.values(), *((wanted.deps,) if wanted.deps else ())):
        await scope.prepare(recipe)
    slot.unbegun = None  # from here on the thread decides when

    def work() -> Said:
        failure: BaseException | None = None
        said: Said = []
        with contextlib.ExitStack() as stack:
            try:
                given = {name: scope.here(recipe, stack) for name, recipe in wanted.parameters.items()}
                context: tuple[Context[Any], ...] = ()
                if voices:
                    deps = ... if wanted.deps is None else scope.here(wanted.deps, stack)
                    context = (_context(slot, plan, able, voices, deps, (threading.get_ident(), None)),)
                returned = plan.fn(*context, **{plan.parameter: [member.value for member in able]}, **given)
                said = _said(plan, returned, len(able), *context)
            except BaseException as exc:
                failure = exc
                raise
        if failure is not None:
            raise failure
        return said

    return await in_thread(stage.threads, slot, work)


def _voice(stage: Stage, worker: str, slot: Slot, able: Sequence[Member], member: Member) -> Voice:
    def stale() -> None:
        member.lost = True
        if slot.batch is not None and member in slot.batch and all(one.lost for one in able):
            stage.lost(slot)

    batch = slot.batch

    def told() -> Stop | None:
        return slot.why if slot.batch is batch else "lost"

    vault = None if slot.plan is None else slot.plan.task.desk.vault
    return Voice(stage.outside.store, worker, member.job, stage.outside.clock, stage.threads, stale, told, vault)


def _no_steps() -> NoReturn:
    raise StepError("a batch is many jobs, and a step is one job's: ctx.each[n].step(…)")


def _context(
    slot: Slot, plan: Plan, able: Sequence[Member], voices: Sequence[Voice], deps: Any, home: tuple[int, object]
) -> Context[Any]:
    """One for all, and in `each` one for each job."""
    batch = slot.batch

    def canceled() -> bool:
        if slot.batch is not batch:  # the attempt is over; whoever still asks should stop
            return True
        if slot.why is None:
            return False
        slot.noticed = True
        return True

    def of(member: Member) -> Callable[[], bool]:
        return lambda: member.asked is not None or member.lost or canceled()

    def one(member: Member, voice: Voice) -> Context[Any]:
        job = member.job
        with within(job):  # its trace is its own
            return Context(
                job.id, job.attempt, job.fence, sink=voice.progress, canceled=of(member), deps=deps,
                principal=principal(job), flow=job.flow, ticked=tick_of(job.options),
                task=(plan.task.name, plan.task.version), notebook=voice.notebook, outputs=voice.emit, home=home,
            )  # fmt: skip

    each = tuple(one(member, voice) for member, voice in zip(able, voices, strict=True))
    first = able[0].job
    return Context(
        first.id, first.attempt, first.fence, sink=lambda line: Every([voice.progress(line) for voice in voices]),
        canceled=canceled, deps=deps, each=each, notebook=_no_steps, home=home,
        outputs=lambda line: Every([voice.emit(line) for voice in voices]),
    )  # fmt: skip


class Every:
    """Many of `Pending[bool]` as one: true when all are."""

    def __init__(self, pending: Sequence[Pending[bool]]) -> None:
        self._pending = pending

    def __await__(self) -> Generator[Any, None, bool]:
        answers = []
        for one in self._pending:
            answers.append((yield from one.__await__()))
        return all(answers)

    def result(self, timeout: float | None = None) -> bool:
        answers = [one.result(timeout) for one in self._pending]
        return all(answers)
