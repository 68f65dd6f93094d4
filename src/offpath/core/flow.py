"""Flows: jobs that wait for jobs. What a graph may be, which rows it becomes, and what the end of a part means. Pure.

A flow is a job itself (task `offpath.flow`): it waits until its last part has ended, is never run, and its id is the
flow's. Its parts are jobs with `flow` set. Between them are edges: a parent's result travels on one to the child.

A part that has failed or was canceled ends its edges by their policy:

    cancel     the child cannot run, nor can what waits for it (the default); a failure that comes to the flow so has
               failed it, and the rest of its parts are canceled
    continue   the child runs, and is given a `Failure` in place of the result
    catch      the child is a handler: it runs only then, and is given the `Failure`

A race is several parents for one place (`any_of`): the first that succeeds decides it; it is lost when all have failed.
A part that is spread (`then_each`) becomes as many parts as the list it is given has elements.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from .call import Call
from .job import Job, State
from .progress import advance, as_json

TASK = "offpath.flow"
MAX_PARTS = 10_000
MAX_EDGES = 100_000
MAX_HANDED = 1 << 20  # bytes of arguments that a child may be made of
MAX_ALTOGETHER = 16 << 20  # bytes that the end of one part may hand on, over all of its children


class Policy(IntEnum):
    """What becomes of a child whose parent did not succeed. The number is what the database stores."""

    CANCEL = 0
    CONTINUE = 1
    CATCH = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """How an earlier link of a flow ended, where not with a result.

    task    its name
    job     its id
    state   "failed" or "canceled"
    error   the stored error as plain data, without its traceback: "kind", "title", perhaps "detail" (see
            `core/outcome.py`)
    """

    task: str
    job: str
    state: str
    error: dict[str, Any]


# ── a graph, before it is rows ───────────────────────────────────────────────────────────────────────────────────────


class Way(NamedTuple):
    """From an earlier part (its number) to the one that has it.

    path    where in the child's value its own belongs: "" all of it, "2" the third of a list, "2/0" the first in that
    race    the first success of all ways of the same path is enough
    silent  it hands nothing on
    """

    parent: int
    path: str = ""
    policy: Policy = Policy.CANCEL
    race: bool = False
    silent: bool = False


class Part(NamedTuple):
    """One link. `takes` is the parameter that is given what its parents hand on; None: it takes nothing of it."""

    call: Call
    ways: tuple[Way, ...] = ()
    takes: str | None = None
    spread: bool = False

    @property
    def handler(self) -> bool:
        return any(way.policy is Policy.CATCH for way in self.ways)


class Graph(NamedTuple):
    """`ways` lead to the flow itself, from its ends; each part is after those that it waits for."""

    parts: tuple[Part, ...]
    ways: tuple[Way, ...]


def check(graph: Graph) -> None:
    """ConfigurationError for what can be no flow."""
    if not graph.parts:
        raise ConfigurationError("a flow has no part: give it a call, task.call(…)")
    if len(graph.parts) > MAX_PARTS:
        raise ConfigurationError(
            f"a flow has at most {MAX_PARTS:,} parts, and this one has {len(graph.parts):,}: let a part do several "
            "elements, or make several flows"
        )
    edges = sum(len(part.ways) for part in graph.parts) + len(graph.ways)
    if edges > MAX_EDGES:
        raise ConfigurationError(
            f"a flow has at most {MAX_EDGES:,} edges, and this one has {edges:,}: put one part between those many "
            "parents and their many children"
        )
    for number, part in enumerate(graph.parts):
        name = part.call.task
        if any(not 0 <= way.parent < number for way in part.ways):
            raise ConfigurationError(f"{name} waits for itself: a flow has no cycles")
        if len({way.parent for way in part.ways}) < len(part.ways):
            raise ConfigurationError(
                f"{name} has the same parent twice: one call is one job; make another, task.call(…)"
            )
        if part.call.using.key is not None:
            raise ConfigurationError(f"{name} is part of a flow, and a key is the whole flow's: flow.using(key=…)")
        if part.call.using.callback is not None:
            raise ConfigurationError(f"{name} is part of a flow, and a callback is the whole flow's")
        if part.handler and (part.call.using.deadline is not None or part.call.options.deadline is not None):
            raise ConfigurationError(f"{name} handles failures, late ones too: it cannot have a deadline")
        if part.takes is not None:
            for way in part.ways:
                if not way.silent:
                    _hands_on(graph.parts[way.parent], part, way)


def _hands_on(parent: Part, child: Part, way: Way) -> None:
    call = parent.call
    kept = call.options.keep_result if call.using.keep_result is None else call.using.keep_result
    if not kept and way.policy is not Policy.CATCH:
        raise ConfigurationError(
            f"{child.call.task} takes the result of {call.task}, which keeps none: leave out keep_result=False, or "
            f"give a complete call, then({child.call.task}.call(…))"
        )


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Book(NamedTuple):
    """What the flow's row says of it, in its arguments.

    parts   how many there are, without handlers; `waits` of the row counts down from it
    begun   one of them has ended
    failed  the stored error that the flow ends with
    """

    parts: int
    begun: bool = False
    failed: str | None = None

    @classmethod
    def of(cls, flow: Job) -> Book:
        return cls(**json.loads(flow.args))

    def text(self) -> str:
        said = {name: value for name, value in self._asdict().items() if value}
        return json.dumps(said, ensure_ascii=False, separators=(",", ":"))

    def progress(self, waits: int) -> str:
        """As `ctx.progress` would say it."""
        done = max(0, self.parts - waits)
        return as_json(advance(None, done, self.parts, "jobs"))


class Edge(NamedTuple):
    """One row. `child` is a part, or the flow itself.

    takes    the child's parameter for it; of an edge to the flow, anything: its value is part of the flow's result
    outcome  how the parent ended (a state); None as long as it has not, or the race is open
    value    JSON text of what the parent hands on
    """

    flow: str
    parent: str
    child: str
    path: str
    policy: Policy
    race: bool
    spread: bool
    takes: str | None
    outcome: int | None = None
    value: str | None = None


def rows(graph: Graph, flow: Job, jobs: Sequence[Job]) -> tuple[Job, list[Job], list[Edge]]:
    """The flow's row, its parts' and the edges, from jobs that know nothing of each other yet."""
    edges: list[Edge] = []
    made: list[Job] = []
    for part, job in zip(graph.parts, jobs, strict=True):
        edges += [_edge(flow.id, jobs[way.parent].id, job.id, way, part) for way in part.ways]
        deadline = job.deadline if part.handler else _bounded(part, job, flow, made)
        waits = 1 if part.handler else _groups(part.ways)
        state = State.WAITING if waits else job.state
        made.append(
            job._replace(flow=flow.id, waits=waits, state=state, deadline=deadline, owner=job.owner or flow.owner)
        )
    edges += [_edge(flow.id, jobs[way.parent].id, flow.id, way, None) for way in graph.ways]
    counted = sum(not part.handler for part in graph.parts)
    args = Book(counted).text()
    whole = flow._replace(flow=flow.id, waits=counted, state=State.WAITING, deadline=None, args=args)
    return whole, made, edges


def _edge(flow: str, parent: str, child: str, way: Way, part: Part | None) -> Edge:
    takes = None if way.silent else part.takes if part is not None else "result"
    spread = part is not None and part.spread
    return Edge(flow, parent, child, way.path, way.policy, way.race, spread, takes)


def _groups(ways: Iterable[Way]) -> int:
    """How many things a part waits for: each parent is one, and a race is one."""
    ways = list(ways)
    return sum(not way.race for way in ways) + len({way.path for way in ways if way.race})


def _bounded(part: Part, job: Job, flow: Job, before: Sequence[Job]) -> int | None:
    """Nothing may start after what it waits for may not: its own deadline, the flow's and its parents'; in a race the
    last of them."""
    bounds = [job.deadline, flow.deadline]
    races: dict[str, list[int | None]] = {}
    for way in part.ways:
        if way.race:
            races.setdefault(way.path, []).append(before[way.parent].deadline)
        elif way.policy is Policy.CANCEL:
            bounds.append(before[way.parent].deadline)
    for group in races.values():
        if known := [bound for bound in group if bound is not None]:
            bounds.append(max(known) if len(known) == len(group) else None)
    return min((bound for bound in bounds if bound is not None), default=None)
