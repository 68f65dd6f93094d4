"""Schedules declared in code: `jobs.schedule` and `jobs.every`. Workers write them down when they start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, Unpack, overload

from ..core.call import Call as CoreCall
from ..core.options import TaskGiven
from ..core.retry import Retry, Seconds
from ..errors import ConfigurationError
from ..tasks import Call, Schedule, Task, TaskDecorator
from ..tasks.scheduling import bare_call, check_call, check_schedule
from .desk import Counter
from .schedules import Schedules

T = TypeVar("T", bound="Task[..., Any]")


class Scheduling:
    """The part of `Offpath` that declares schedules in code."""

    _desk: Counter

    @property
    def schedules(self) -> Schedules:
        """The schedules there are, to put, pause, run, explain: see `Schedules`."""
        return Schedules(self._desk)

    @overload
    def schedule(self, name: str, when: Schedule, /) -> Callable[[T], T]: ...
    @overload
    def schedule(self, name: str, when: Schedule, call: Call[Any], /) -> None: ...
    def schedule(self, name: str, when: Schedule, call: Call[Any] | None = None, /) -> Callable[[T], T] | None:
        """Declare a schedule in code: `@jobs.schedule("daily-report", Schedule.cron("0 8 * * *"))` above a task that
        needs no arguments, or `jobs.schedule("daily-report", Schedule.cron("0 8 * * *"), render.call("sales"))`.

        Workers write it down when they start, and fire it as long as the code of one that runs declares it; one that
        ends by itself (`--until-empty`, `offpath.testing.drain`) leaves schedules alone. A changed declaration changes
        the schedule; whether it is paused stays as it is. ConfigurationError for what cannot be scheduled, at once.
        """
        check_schedule(when)
        if call is not None:
            self._desk.registry.schedule(name, when, self._own(check_call(call)))
            return None

        def declare(task: T) -> T:
            if not isinstance(task, Task):
                raise ConfigurationError(f"@jobs.schedule({name!r}, …) goes above @jobs.task, not below it")
            self._desk.registry.schedule(name, when, self._own(bare_call(task)))
            return task

        return declare

    def every(
        self,
        interval: Seconds | None = None,
        /,
        *,
        seconds: float = 0,
        minutes: float = 0,
        hours: float = 0,
        at_once: bool = True,
        name: str | None = None,
        **options: Unpack[TaskGiven],
    ) -> TaskDecorator:
        """A task that runs again and again: `@jobs.every(seconds=60)` on a function without arguments (a Context and
        what is provided it may have). At once when the first worker starts, then after each interval; never two at a
        time, however many workers there are: a tick that finds the last run still there is dropped. A run that raises
        Snooze(0) goes on at once.

        A failed run is followed by the next tick rather than by a second attempt, unless `retry` says otherwise. The
        other options are those of `task`.

        at_once  False: the first run is one interval after the first start
        """
        if interval is not None and (seconds or minutes or hours):
            raise ConfigurationError("give every() one interval: a duration, or seconds=, minutes= and hours=")
        if interval is None:
            try:
                interval = timedelta(seconds=seconds, minutes=minutes, hours=hours)
            except (TypeError, OverflowError, ValueError) as wrong:
                raise ConfigurationError(f"every() wants numbers of seconds, minutes or hours: {wrong}") from None
        when = Schedule.every(interval, at_once=at_once)
        options.setdefault("retry", Retry(max_attempts=1))
        register: Callable[[Callable[..., Any]], Task[..., Any]] = self.task(name=name, **options)  # type: ignore[attr-defined]

        def declare(function: Callable[..., Any]) -> Any:
            task = register(function)
            self._desk.registry.schedule(task.name, when, self._own(bare_call(task)))
            return task

        return declare

    def _own(self, call: CoreCall) -> CoreCall:
        if self._desk.registry.get(call.task) is None:
            raise ConfigurationError(f"there is no task {call.task!r} here: the call is another application's")
        return call
