"""Steps: what of a job is remembered, and whether what is asked for now is what was remembered then.

A step is known by its name. Those that the task calls itself (not in a task or thread that it has started) have a place
in its order too, 1, 2, 3, …, and a name that stands at another place than before, or another name at a place, means
that the code has changed under a job that is half done. That is an error, unless the version of the task has been
raised since: then steps are known by their names alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..errors import StepError
from .checks import shown

MAX_NAME = 200  # characters
MAX_STEPS = 10_000  # of one job
FREE = 0  # the position of a step called in a task or thread that the job's task has started: it has no order


class Asked(NamedTuple):
    """A step as the task asks for it.

    position  1 for the first of those that the task calls itself, or FREE
    version   of the step: what was remembered under another is not used
    task      version of the task that asks
    """

    name: str
    position: int
    version: int
    task: int


class Script:
    """The steps of one job as the attempts before this one left them."""

    def __init__(self, remembered: Iterable[Asked]) -> None:
        self._names = {step.name: step for step in remembered}
        self._places = {(step.task, step.position): step.name for step in self._names.values() if step.position != FREE}

    def has(self, asked: Asked) -> bool:
        """True: its result is remembered; False: run it. StepError when it is not what was remembered there."""
        there = self._names.get(asked.name)
        in_order = asked.position != FREE
        if there is not None:
            if there.version != asked.version:
                return False
            if in_order and there.task == asked.task and there.position not in (FREE, asked.position):
                raise StepError(
                    f"step {asked.name!r} was number {there.position} when it was remembered and is number "
                    f"{asked.position} now: {ADVICE}"
                )
            return True
        other = self._places.get((asked.task, asked.position)) if in_order else None
        if other is not None:
            raise StepError(
                f"step {asked.position} was {other!r} when it was remembered and is {asked.name!r} now: {ADVICE}"
            )
        return False


ADVICE = (
    "the steps of a job that is half done must keep their names and their order; raise the task's version when they "
    "change (then they are known by name alone), or let the old jobs end first"
)


def check_name(name: object) -> str:
    """StepError unless it is text of 1 to 200 characters that every store can hold."""
    if not isinstance(name, str):
        raise StepError(f'a step\'s name is text, not {shown(name)}: ctx.step("charge", charge, order)')
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise StepError(f"a step's name is 1 to {MAX_NAME} printable characters, not {shown(name)}")
    return name


def check_version(version: object) -> int:
    """StepError unless it is a whole number from 1 to 32767."""
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= 32767:
        raise StepError(f"a step's version is a whole number from 1 to 32767, not {shown(version)}")
    return version
