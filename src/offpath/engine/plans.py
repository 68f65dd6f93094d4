"""Everything about a job's task that is the same for many jobs, looked up once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.batches import Batch
from ..core.job import Job
from ..core.options import Executor
from ..core.policy import Policy
from ..core.trace import unstamped
from ..errors import ConfigurationError
from ..tasks import Hook, HookKind, Registry, Task, parted
from .failures import UnreadableOptions
from .inject import Recipes, Wanted

MAX_PLANS = 1000  # options may differ from job to job (a timeout computed per call)


@dataclass(frozen=True, slots=True)
class Plan:
    """How jobs of one task, in one queue, with the same options, are run.

    timeout   seconds, infinite when there is none
    encode    None when the result is not kept
    batch     how many of its jobs are one call; None: one. Then `parameter` is given their list
    executor  where its function runs; of one that runs in a child, all but `policy` and `hooks` is the child's to know
    secret    its jobs' arguments may have secrets in them, which are cut out of what the attempt leaves
    lean      it wants neither context nor providers, no hook listens and nobody is asked: it is run in place
    """

    task: Task[..., Any]
    fn: Callable[..., Any]
    decode: Callable[[str], dict[str, Any]]
    encode: Callable[[Any], str] | None
    policy: Policy
    timeout: float
    executor: Executor
    wanted: Wanted
    hooks: Mapping[HookKind, tuple[Hook, ...]]
    lean: bool
    batch: Batch | None
    parameter: str
    secret: bool = False


def nothing(args: str) -> dict[str, Any]:
    """The arguments of a job that another process decodes."""
    return {}


def refusing(why: ConfigurationError) -> Callable[[str], dict[str, Any]]:
    """In place of a decoder: the job's options cannot be read, and it fails as with arguments that cannot."""

    def refuse(args: str) -> dict[str, Any]:
        raise UnreadableOptions(str(why))

    return refuse


class Plans:
    """Plans by (task, version, queue, options)."""

    def __init__(self, registry: Registry, recipes: Recipes, *, inside: bool = False) -> None:
        """`inside`: of a child, which runs everything itself."""
        self._registry, self._recipes, self._inside = registry, recipes, inside
        self._plans: dict[tuple[str, int, str, str | None], Plan] = {}

    def of(self, job: Job) -> Plan | None:
        """The plan for this job; None when its task, or that version of it, is not known here."""
        options = job.options if job.options is None else unstamped(job.options)  # each job has a trace of its own
        return self._plans.get((job.task, job.version, job.queue, options)) or self._make(job, options)

    def _make(self, job: Job, options: str | None) -> Plan | None:
        task = self._registry.get(job.task)
        if task is None or job.version not in task.versions():
            return None
        shared, _ = parted(options)
        if shared != options:  # tenants and ticks may be many, and share their plans
            return self.of(job._replace(options=shared))
        unreadable: ConfigurationError | None = None
        try:
            policy = task.policy(job.queue, options)
        except ConfigurationError as e:
            unreadable, policy = e, task.policy(job.queue, None)
        wanted = self._recipes.of(task)
        hooks = self._hooks(task)
        away = task.executor == "process" and not self._inside
        plan = Plan(
            task=task,
            fn=self._registry.around(task.fn),
            decode=refusing(unreadable) if unreadable else nothing if away else task.decoder(job.version),
            encode=task.encode_result if policy.keep_result else None,
            policy=policy,
            timeout=float("inf") if policy.timeout is None else policy.timeout,
            executor=task.executor,
            wanted=wanted,
            hooks=hooks,
            lean=not (away or task.takes_context or wanted.any or hooks or self._registry.authorizer),
            batch=None if unreadable else task.batch,
            parameter=task.parameter,
            secret=task.secret,
        )
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[job.task, job.version, job.queue, options] = plan
        return plan

    def _hooks(self, task: Task[..., Any]) -> Mapping[HookKind, tuple[Hook, ...]]:
        """The task's own and the application's; only kinds that someone listens to."""
        kinds: tuple[HookKind, ...] = ("before", "after", "failure", "exhausted")
        both: dict[HookKind, tuple[Hook, ...]] = {
            kind: (*task.hooks[kind], *self._registry.hooks[kind]) for kind in kinds
        }
        return {kind: hooks for kind, hooks in both.items() if hooks}
