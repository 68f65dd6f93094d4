"""The limits that an application has declared, and which of them a call is under."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..codec import Value
from ..core.limits import MOST_LIMITS, Limit, Placed, Rule, agree, check_limits, lane_of, place
from ..core.options import Queue
from ..errors import ConfigurationError, ResultError
from ..privacy.secret import is_secret

if TYPE_CHECKING:
    from .task import Task

Maker = Callable[[str], str]
"""Stored arguments → lane."""


class Limits:
    """Of all jobs (`everywhere`), of queues, and of tasks as they are added.

    any  whether there are any: most applications have none, and ask no further
    """

    def __init__(self, everywhere: Iterable[Limit] = (), queues: Mapping[str, Queue] | None = None) -> None:
        self._everywhere = place(check_limits(None, everywhere, "Offpath"), "all")
        self._queues = {name: place(queue.under, f"queue:{name}") for name, queue in (queues or {}).items()}
        self._tasks: dict[str, tuple[Placed, ...]] = {}
        self._makers: dict[tuple[str, str], Maker | None] = {}
        self._rules = agree(self._placed())
        self.any = bool(self._rules)

    def _placed(self) -> Iterable[Placed]:
        yield from self._everywhere
        for group in (*self._queues.values(), *self._tasks.values()):
            yield from group

    def rules(self) -> list[Rule]:
        """The numbers of every limit, for the store."""
        return list(self._rules.values())

    def whose(self, name: str) -> tuple[str, str] | None:
        """("queue", "mail") or ("task", "render"): what the limit was declared on whose numbers are stored by this
        name. None: all of the application, several, or nothing that this process has declared."""
        groups = {("all", ""): self._everywhere}
        groups |= {("queue", queue): placed for queue, placed in self._queues.items()}
        groups |= {("task", task): placed for task, placed in self._tasks.items()}
        found = [scope for scope, placed in groups.items() if any(one.name == name for one in placed)]
        return found[0] if len(found) == 1 and found[0][0] != "all" else None

    def add(self, task: Task[..., Any]) -> None:
        """ConfigurationError when a limit is per something that the task does not take, or shares its name with a
        different one."""
        placed = place(task.options.under, f"task:{task.name}")
        for _, limit in placed:
            if isinstance(limit.per, str) and (parameter := limit.per.partition(".")[0]) not in task.passed:
                takes = ", ".join(task.passed) or "none"
                raise ConfigurationError(
                    f"task {task.name} is limited per {limit.per!r}, and has no parameter {parameter!r}; it has {takes}"
                )
        for _, limit in placed:
            if isinstance(limit.per, str) and is_secret(task.passed[limit.per.partition(".")[0]][0]):
                raise ConfigurationError(
                    f"task {task.name} is limited per {limit.per!r}, which is a Secret: a lane bears its value, in the "
                    "clear; limit it per a parameter that may be seen, such as an id or a hash"
                )
        known = (*self._everywhere, *self._queues.get(task.options.queue, ()), *placed)
        if len(known) > MOST_LIMITS:
            raise ConfigurationError(
                f"a job can be under {MOST_LIMITS} limits; task {task.name}, its queue and the application have "
                f"{len(known)} together"
            )
        before = self._tasks.pop(task.name, None)
        try:
            self._rules = agree([*self._placed(), *placed])
        except ConfigurationError:
            if before is not None:
                self._tasks[task.name] = before
            raise
        self._tasks[task.name] = placed
        self._makers.clear()
        self.any = bool(self._rules)

    def keyed(self, task: Task[..., Any], queue: str) -> set[str]:
        """The parameters by which its jobs in that queue are limited."""
        placed = (*self._everywhere, *self._queues.get(queue, ()), *self._tasks.get(task.name, ()))
        return {one.limit.per.partition(".")[0] for one in placed if isinstance(one.limit.per, str)}

    def lane(self, task: Task[..., Any], queue: str, args: str) -> str | None:
        """The lane of a job of `task` in `queue` with these stored arguments; None when no limit holds for it.
        ArgumentError names an argument that jobs cannot be limited by."""
        try:
            maker = self._makers[task.name, queue]
        except KeyError:
            if len(self._makers) >= 1000:  # queues may be named per call: do not grow for ever
                self._makers.clear()
            maker = self._makers[task.name, queue] = self._maker(task, queue)
        return None if maker is None else maker(args)

    def _maker(self, task: Task[..., Any], queue: str) -> Maker | None:
        """A limit of a queue, or of all, that is per a parameter holds for the tasks that have this parameter."""
        wide = [
            one
            for one in (*self._everywhere, *self._queues.get(queue, ()))
            if not isinstance(one.limit.per, str) or one.limit.per.partition(".")[0] in task.passed
        ]
        placed = (*wide, *self._tasks.get(task.name, ()))
        if not placed:
            return None
        if all(one.limit.per is None for one in placed):
            lane = lane_of(placed, {})
            return lambda args: lane
        defaults = _defaults(task)
        return lambda args: lane_of(placed, {**defaults, **json.loads(args)})


def _defaults(task: Task[..., Any]) -> dict[str, Any]:
    """What is not stored when it is not said, as it would be stored."""
    found: dict[str, Any] = {}
    parameters = inspect.signature(task.fn).parameters
    for name, (annotation, required) in task.passed.items():
        if not required:
            try:
                found[name] = json.loads(Value(f"task {task.name}", annotation).encode(parameters[name].default))
            except (ResultError, ConfigurationError):
                continue  # a default that does not fit its type counts as None
    return found
