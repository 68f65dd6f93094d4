"""Which jobs are meant: what `jobs.list(…)`, `jobs.count(…)` and the bulk calls are told, checked. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

from ..errors import ConfigurationError
from .checks import check_name, flag, shown
from .ids import at_moment
from .job import LIVE, TERMINAL, State
from .options import SECOND
from .retry import Seconds, seconds

NAMES: Mapping[str, State] = MappingProxyType({state.name.lower(): state for state in State})


class JobFilter(NamedTuple):
    """All given parts must hold. No states = all of them.

    key_prefix  jobs with a key that begins so
    before      µs: enqueued before then (of a job that lives), ended before then (of one that has ended)
    error       ended with an error of this kind ("timeout"), or of an exception of this class ("shop.CardDeclined")
    outstanding ended, and not run again yet; no change of many jobs (`core.bulk`), which never is
    """

    states: tuple[int, ...] = ()
    queue: str | None = None
    task: str | None = None
    owner: str | None = None
    key_prefix: str | None = None
    before: int | None = None
    error: str | None = None
    outstanding: bool = False


class Which(TypedDict, total=False):
    """Which jobs; all that is given must hold.

    state        one or several of scheduled, waiting, ready, running, succeeded, failed, canceled
    queue, task, owner   by name; an owner in every tenant
    key_prefix   its key begins so
    older_than   enqueued longer ago than that; of what has ended: ended longer ago
    error        ended with this kind of error (raised, timeout, deadline, quarantined, …), or with an exception of this
                 class, as the job's `error` has it: "ValueError", "shop.errors.CardDeclined"
    outstanding  True: ended, and not run again yet; no change of many jobs, which never is
    """

    state: str | Iterable[str]
    queue: str
    task: str
    owner: str
    key_prefix: str
    older_than: Seconds
    error: str
    outstanding: bool


PARTS = tuple(Which.__annotations__)


def select(which: Mapping[str, Any], now: int) -> JobFilter:
    """The rows that `which` means at `now` (µs). ConfigurationError for what means nothing."""
    for name in which:
        if name not in PARTS:
            raise ConfigurationError(f"there is no filter {name!r}; there are {', '.join(PARTS)}")
    texts: dict[str, str | None] = {}
    for name in ("queue", "task", "owner", "key_prefix", "error"):
        given = which.get(name)
        texts[name] = None if given is None else check_name(given, name)
    before: int | None = None
    if which.get("older_than") is not None:
        before = max(0, now - round(seconds(which["older_than"], "older_than") * SECOND))
    return JobFilter(
        states=states_of(which.get("state")),
        before=before,
        outstanding=flag(which.get("outstanding", False), "outstanding"),
        **texts,
    )


def states_of(given: object) -> tuple[int, ...]:
    """States by their names; none = all."""
    if given is None:
        return ()
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    if not names:
        raise ConfigurationError("state names no state; leave it out to mean all of them")
    wrong = [name for name in names if name not in NAMES]
    if wrong:
        raise ConfigurationError(f"a state is one of {', '.join(NAMES)}, not {shown(wrong[0])}")
    return tuple(sorted({int(NAMES[str(name)]) for name in names}))


def narrowed(where: JobFilter, states: Collection[State], default: Collection[State], doing: str) -> JobFilter:
    """`where`, for something that can only be done to jobs in some states; `default` when it names none.

    ConfigurationError for a state it cannot be done to, and for a filter that says nothing at all: a slip of the pen
    must not mean every job.
    """
    if where == JobFilter():
        raise ConfigurationError(
            f"{doing} needs to be told which jobs: a queue, a task, a state or another filter "
            f"(to mean all of them: state {' and '.join(s.name.lower() for s in sorted(default))})"
        )
    if wrong := sorted(set(where.states) - set(states)):
        able = ", ".join(state.name.lower() for state in sorted(states))
        raise ConfigurationError(
            f"{doing} is for jobs that are {able}; {State(wrong[0]).name.lower()} ones cannot be meant"
        )
    return where._replace(states=where.states or tuple(sorted(int(state) for state in default)))


def as_json(which: Mapping[str, Any]) -> dict[str, Any]:
    """What was told, as plain data that `select` takes again: states by name, times in seconds."""
    said = {name: value for name, value in which.items() if value is not None}
    if (given := said.get("state")) is not None:
        said["state"] = [State(state).name.lower() for state in states_of(given)]
    if (age := said.get("older_than")) is not None:
        said["older_than"] = seconds(age, "older_than")
    return said


def parted(where: JobFilter) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The live and the ended states that may hold such a job. A live one has no error, and has not ended."""
    states = frozenset(State(state) for state in where.states) or LIVE | TERMINAL
    if where.error is not None:  # of what was canceled, "canceled" is all that its error says
        states &= {State.FAILED, State.CANCELED} if where.error == "canceled" else {State.FAILED}
    live = () if where.outstanding else tuple(sorted(int(s) for s in states & LIVE))
    return live, tuple(sorted(int(s) for s in states & TERMINAL))


def oldest_id(before: int) -> str:
    """Ids made before this moment (µs, to the millisecond) are smaller, all others are greater."""
    return at_moment(before, "0000-0000-000000000000")
