"""`offpath.bulk`: a job of ours that does something to many jobs, off the path of whoever asks for it.

Each page is one transaction with how far it has come, under the job's fence: whoever goes on, after a crash too, begins
behind the last page, and a late worker changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..core import bulk as core
from ..core.audit import Act, ActFilter
from ..core.bulk import ACTIONS, END, QUEUE, TASK, Reached
from ..core.call import Call
from ..core.checks import shown
from ..core.ids import moment_of
from ..core.job import Principal
from ..core.options import SECOND, CallOptions, TaskOptions
from ..core.retry import Backoff, Retry
from ..core.selection import as_json
from ..errors import ConfigurationError, LeaseLost
from ..ports import Enqueued, Maker, NewOperation, Pending, Store, Verb
from ..tasks import Context
from .acting import noted
from .bulk import Bulk, Tally
from .desk import Counter
from .managing import Managing

ATTEMPTS = 20  # the database may be away for a while
OPTIONS = TaskOptions(
    queue=QUEUE,
    retry=Retry(max_attempts=ATTEMPTS, backoff=Backoff.exponential(first=1, cap=60)),
    timeout=None,
)


def known(desk: Counter) -> None:
    """The task is one of this application's: of every worker, and of whoever asks for it."""
    if desk.registry.get(TASK) is None:
        desk.register(_runner(desk), OPTIONS, TASK, 1, {})


def bulk(
    desk: Counter, action: str, which: Mapping[str, Any], reason: str | None = None, max_attempts: int | None = None
) -> Bulk:
    """What is to be done, checked. ConfigurationError."""
    jobs = Managing()
    jobs._desk = desk
    filters: Any = dict(which)
    if reason is not None and action != "cancel":
        raise ConfigurationError("a reason is for cancel")
    if max_attempts is not None and action != "retry":
        raise ConfigurationError("max_attempts is for retry")
    try:
        if action == "retry":
            return jobs.retry_many(max_attempts=max_attempts, **filters)
        if action == "cancel":
            return jobs.cancel_many(**filters) if reason is None else jobs.cancel_many(reason=reason, **filters)
        if action == "delete":
            return jobs.delete_many(**filters)
    except ConfigurationError as error:  # nobody here has called a method
        raise ConfigurationError(str(error).replace(f"{action}_many", action)) from None
    raise ConfigurationError(f"an action is one of {', '.join(ACTIONS)}, not {shown(action)}")


def begin(
    desk: Counter,
    by: Principal,
    action: str,
    which: Mapping[str, Any],
    reason: str | None = None,
    max_attempts: int | None = None,
) -> Pending[Enqueued]:
    """Enqueue the job that does it, for `by`. It is nobody's operation: whoever may look at all jobs follows it there,
    and who may not is not told how many there are. That it began is recorded with the first page that changes any.
    ConfigurationError."""
    bulk(desk, action, which, reason, max_attempts)
    known(desk)
    said = {"action": action, "filter": as_json(which), "reason": reason, "max_attempts": max_attempts, "actor": by.id}
    call = Call(TASK, 1, json.dumps(said), OPTIONS, CallOptions(owner=by.id), watched=True, tenant=by.tenant)
    new = desk.new_job(call, NewOperation(by.tenant, core.NOBODY, TASK, action))
    store = desk.store

    def verb() -> Verb[Enqueued]:
        [made] = yield from store.verbs.enqueue([new])
        return made

    return store.perform(verb)


def _runner(desk: Counter) -> Callable[..., Any]:
    async def run(
        context: Context,
        action: str,
        filter: dict[str, object],
        actor: str,
        reason: str | None = None,
        max_attempts: int | None = None,
    ) -> dict[str, int]:
        store = desk.store
        which: dict[str, Any] = dict(filter)
        if "older_than" in which:  # as of when it was asked for
            which["older_than"] += (store.now() - moment_of(context.job)) / SECOND
        reached = core.from_memory(await store.read(store.verbs.step_result(context.job, core.STEP.name)))
        log = _Fenced(store, context, action, actor, reached)
        tally = Tally(0, 0, 0) if reached is None else Tally(*reached[:3])
        try:
            async for now in bulk(desk, action, which, reason, max_attempts).logged(log):
                tally = now
        except asyncio.CancelledError:
            if context.canceled:  # for good; after an interruption it goes on
                await asyncio.shield(store.perform(log.ended(tally, "canceled")))
            raise
        except Exception as error:
            if context.attempt >= ATTEMPTS:
                await store.perform(log.ended(tally, f"failed: {type(error).__name__}"))
            raise
        return tally._asdict()

    return run


class _Fenced:
    """The log of one attempt: how far it has come, and in the end an act, both under the job's fence."""

    def __init__(
        self,
        store: Store,
        context: Context,
        action: str,
        actor: str,
        reached: Reached | None,
    ) -> None:
        self.skip = frozenset({context.job})
        self._store, self._context, self._action, self._actor = store, context, action, actor
        self._reached = reached

    def reached(self) -> Reached | None:
        return self._reached

    def page(self, reached: Reached, *, first: bool) -> Verb[None]:
        said = yield from self._guarded(reached)
        if first:
            yield from noted(self._store, self._act(f"jobs.{self._action}", said))

    def ended(self, tally: Tally, how: str = "succeeded") -> Maker[None]:
        job, verbs = self._context.job, self._store.verbs
        action = f"jobs.{self._action}.ended"

        def verb() -> Verb[None]:
            # Who is stopped may not have heard of a page that is written.
            before = core.from_memory((yield from verbs.step_result(job, core.STEP.name)))
            told = tally if before is None else max(tally, Tally(*before[:3]))
            said = yield from self._guarded(Reached(*told, END))
            if not told.done:
                return
            # When it is run again after this, and before it was settled, it is told once.
            if not (yield from verbs.acts(ActFilter(action=action, target=job), None, 1)):
                yield from verbs.note([self._act(action, {**said, **told._asdict(), "outcome": how})])

        return verb

    def _act(self, action: str, said: Mapping[str, Any]) -> Act:
        by = self._context.principal
        return Act(self._actor, action, self._context.job, said, None if by is None else by.tenant)

    def _guarded(self, reached: Reached) -> Verb[dict[str, Any]]:
        """How far it has come, remembered and told; what it is about, as of now: an owner that is named in it may have
        been erased since it began. LeaseLost, and nothing of the transaction stays, when another worker has the job."""
        verbs, context = self._store.verbs, self._context
        found = yield from verbs.find(context.job)
        job = None if found is None else found.job
        if job is None or job.worker is None or job.fence != context.fence:
            raise LeaseLost(f"job {context.job} is another worker's by now")
        guard, memory = (job.id, job.fence, job.worker), [(core.STEP, core.as_memory(reached))]
        told = yield from verbs.progress(*guard, core.as_progress(reached, self._action))
        if not told or not (yield from verbs.remember_steps(*guard, memory)):
            raise LeaseLost(f"job {context.job} is another worker's by now")
        held = yield from verbs.find(context.job)  # as it stays until this is committed
        args = None if held is None or held.job is None else held.job.args
        said: dict[str, Any] = json.loads(args or "{}")
        return {name: said[name] for name in ("filter", "reason", "max_attempts") if said.get(name) is not None}
