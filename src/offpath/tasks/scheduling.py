"""What may be scheduled: a call whose every tick is the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..core.call import Call as CoreCall
from ..core.checks import shown
from ..errors import ArgumentError, ConfigurationError
from .calling import Call
from .schedule import Schedule
from .task import Task


def check_schedule(given: object) -> Schedule:
    if not isinstance(given, Schedule):
        raise ConfigurationError(f'a schedule is, for instance, Schedule.cron("0 8 * * *"), not {shown(given)}')
    return given


def check_call(given: object) -> CoreCall:
    """What is to be scheduled, as a plain value. ConfigurationError for what each tick would have to say anew."""
    if isinstance(given, Task):
        return bare_call(given)
    if not isinstance(given, Call):
        raise ConfigurationError(f"a schedule takes what task.call(…) gives, not {shown(given)}")
    call: CoreCall = given.core
    using = call.using
    for option, value in (("delay", using.delay), ("run_at", using.run_at)):
        if value is not None:
            raise ConfigurationError(f"{option} cannot go with a schedule: that says when (and jitter, how exactly)")
    if using.key is not None:
        raise ConfigurationError("key cannot go with a schedule: it gives its jobs keys of their own, see overlap")
    if isinstance(using.deadline, datetime):
        raise ConfigurationError("a schedule's deadline is a duration from each tick, not one moment")
    return call


def bare_call(task: Task[..., Any]) -> CoreCall:
    """A call without arguments. ConfigurationError when the task needs some."""
    try:
        return task.call().core
    except ArgumentError as error:
        raise ConfigurationError(
            f"task {task.name} needs arguments ({error}): give the schedule a call, "
            f"jobs.schedule(name, when, {task.name}.call(…))"
        ) from None
