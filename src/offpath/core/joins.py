"""What the end of a part of a flow means for what waits for it, and what a child is given. Pure; see `flow.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from .flow import MAX_ALTOGETHER, MAX_HANDED, MAX_PARTS, Edge, Policy
from .ids import at_moment, random_part
from .job import Job, State

# ── the end of a part ────────────────────────────────────────────────────────────────────────────────────────────────


class Ended(NamedTuple):
    """A part that has ended.

    error    the stored error of the part that failed: of this one, or of the one because of which it never ran
    failure  that part as a `Failure`, JSON text; None: nobody is to be told (it succeeded, or nobody needs it)
    """

    id: str
    state: State
    result: str | None = None
    error: str | None = None
    failure: str | None = None


class Step(NamedTuple):
    """What ends of parts mean for what waits for them.

    decided  edges, with outcome and value
    met      of each child, how many of the things that it waits for are there
    lost     children that cannot run, and the part whose failure it is; a flow among them has failed
    caught   handlers, and the part whose failure they are given
    moot     parents that have lost a race, and may be needed no more
    heavy    children of a part that would hand on too much altogether, and why they cannot run
    """

    decided: list[Edge]
    met: dict[str, int]
    lost: dict[str, Ended]
    caught: dict[str, Ended]
    moot: list[str]
    heavy: dict[str, str]


def step(ended: Sequence[Ended], edges: Sequence[Edge]) -> Step:
    """`edges`: all that lead from the ended parts and are not decided, and of races the others of the same place."""
    ends = {one.id: one for one in ended}
    races: dict[tuple[str, str], list[Edge]] = {}
    made = Step([], {}, {}, {}, [], {})
    for edge in sorted(edges, key=_place):
        if edge.race:
            races.setdefault((edge.child, edge.path), []).append(edge)
        elif edge.outcome is None and (end := ends.get(edge.parent)) is not None:
            _decide(made, edge, end)
    for group in races.values():
        _run(made, group, ends)
    _weigh(made)
    return made


def _place(edge: Edge) -> tuple[str, str, str]:
    return edge.child, edge.path, edge.parent


def _decide(made: Step, edge: Edge, end: Ended) -> None:
    good = end.state is State.SUCCEEDED
    if good or edge.policy is Policy.CONTINUE:
        value = end.result if good else end.failure
        hands = edge.takes is not None and edge.policy is not Policy.CATCH
        made.decided.append(edge._replace(outcome=int(end.state), value=value if hands else None))
        if edge.policy is not Policy.CATCH:
            made.met[edge.child] = made.met.get(edge.child, 0) + 1
        return
    made.decided.append(edge._replace(outcome=int(end.state)))
    _lose(made, edge, end)


def _lose(made: Step, edge: Edge, end: Ended) -> None:
    if edge.policy is not Policy.CATCH:
        made.lost.setdefault(edge.child, end)
    elif end.failure is not None:
        made.caught.setdefault(edge.child, end)


def _run(made: Step, group: Sequence[Edge], ends: Mapping[str, Ended]) -> None:
    """One race. It is decided once: its first success closes all its edges."""
    if all(edge.outcome is not None for edge in group):
        return
    fresh = [(edge, ends[edge.parent]) for edge in group if edge.outcome is None and edge.parent in ends]
    won = next((edge for edge, end in fresh if end.state is State.SUCCEEDED or edge.policy is Policy.CONTINUE), None)
    if won is not None:
        for edge in group:
            if edge is won:
                _decide(made, edge, ends[edge.parent])
            elif edge.outcome is None:
                state = ends[edge.parent].state if edge.parent in ends else State.CANCELED
                made.decided.append(edge._replace(outcome=int(state)))
                if edge.parent not in ends and edge.policy is not Policy.CATCH:
                    made.moot.append(edge.parent)
        return
    for edge, end in fresh:
        made.decided.append(edge._replace(outcome=int(end.state)))
    open_ = len(fresh) < sum(edge.outcome is None for edge in group)
    if fresh and not open_:
        _lose(made, *fresh[-1])


def _weigh(made: Step) -> None:
    """Each child has a copy, and all are written while others wait: who would hand on too much hands on nothing.

    The flow is given its result all the same: that is one copy, and it may yet succeed (`settled`).
    """
    given: dict[str, list[int]] = {}
    for n, edge in enumerate(made.decided):
        if edge.value is not None and edge.child != edge.flow:
            given.setdefault(edge.parent, []).append(n)
    for places in given.values():
        if (why := _too_much(_size(made.decided[places[0]].value or ""), len(places))) is not None:
            for n in places:
                edge = made.decided[n]
                made.decided[n] = edge._replace(value=None)
                made.heavy.setdefault(edge.child, why)


def unneeded(edges: Sequence[Edge], moot: Iterable[str]) -> set[str]:
    """Of a whole flow's edges: the parents that have lost a race and what only they wait for: nobody needs them."""
    ways_out: dict[str, list[Edge]] = {}
    ways_in: dict[str, list[str]] = {}
    for edge in edges:
        if edge.policy is not Policy.CATCH:
            ways_out.setdefault(edge.parent, []).append(edge)
        ways_in.setdefault(edge.child, []).append(edge.parent)
    found: set[str] = set()
    asked = list(moot)
    while asked:
        one = asked.pop()
        if one in found or any(edge.outcome is None and edge.child not in found for edge in ways_out.get(one, ())):
            continue
        found.add(one)
        asked += ways_in.get(one, ())
    return found


# ── what a child is given ────────────────────────────────────────────────────────────────────────────────────────────


def compose(edges: Iterable[Edge]) -> str:
    """JSON text of what the parents hand on together, each at its place. Results go in as they were stored."""
    root: dict[str, Any] = {}
    for edge in edges:
        if edge.takes is None or edge.policy is Policy.CATCH:
            continue
        here = root
        for name in edge.path.split("/") if edge.path else ():
            here = here.setdefault("in", {}).setdefault(int(name), {})
        if edge.value is not None or not edge.race:  # who has lost a race hands on nothing
            here["value"] = edge.value
    return _text(root)


def _text(here: Mapping[str, Any]) -> str:
    if "in" in here:
        return f"[{','.join(_text(part) for _, part in sorted(here['in'].items()))}]"
    return here.get("value") or "null"


def merged(args: str, takes: str | None, value: str) -> str:
    """Arguments (JSON text of an object) with one more, given as JSON text."""
    if takes is None:
        return args
    rest = args.strip()[1:-1].strip()
    return f"{{{json.dumps(takes, ensure_ascii=False)}:{value}{',' if rest else ''}{rest}}}"


def too_large(args: str) -> str | None:
    """Why a child cannot be made of this, if it cannot."""
    size = _size(args)
    if size <= MAX_HANDED:
        return None
    return (
        f"what its parents hand on makes arguments of {size:,} bytes as JSON, more than {MAX_HANDED:,}: hand on where "
        "it is (the key of a row, a path) and not the thing itself"
    )


def _too_much(size: int, copies: int, more: int = 0) -> str | None:
    """Why one end cannot hand this on altogether, if it cannot: `size` bytes to each of so many, and `more`."""
    if size * copies + more <= MAX_ALTOGETHER:
        return None
    return (
        f"{size:,} bytes for each of {copies:,} links, {size * copies + more:,} bytes altogether, are more than the "
        f"{MAX_ALTOGETHER:,} that one end may hand on: hand on where it is (an id, the key of a row, a path) and not "
        "the thing itself"
    )


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def elements(value: str) -> list[str] | None:
    """The elements of a JSON list, each as JSON text; None when it is no list."""
    data = json.loads(value)
    if not isinstance(data, list):
        return None
    return [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in data]


def spread(job: Job, takes: str | None, value: str, now: int, parts: int) -> tuple[list[Job] | None, str]:
    """The jobs that one becomes, a microsecond apart, or why it cannot; `parts`: how many the flow has by now."""
    found = elements(value)
    if found is None:
        return None, "it is for each element of a list, and what its parent hands on is none"
    if parts + len(found) > MAX_PARTS:
        return (
            None,
            f"with {len(found):,} more parts the flow has more than {MAX_PARTS:,}: let a part do several elements",
        )
    later = job.run_at > now
    if (much := _too_much(_size(job.args), len(found), sum(map(_size, found)))) is not None:
        return None, much
    made = [
        job._replace(
            id=at_moment(now, random_part(sha256(f"{job.id} {n}".encode()).digest()[:10])),
            args=merged(job.args, takes, one),
            state=State.SCHEDULED if later else State.READY,
            run_at=max(job.run_at, now) + n,
            waits=0,
        )
        for n, one in enumerate(found)
    ]
    why = next((why for one in made if (why := too_large(one.args)) is not None), "")
    return (None if why else made), why


def spread_edges(edges: Iterable[Edge], template: Job, made: Sequence[Job]) -> list[Edge]:
    """What leads to the jobs that `template` has become (it has: decided), and from each of them what led from it."""
    into = [
        Edge(str(template.flow), template.id, job.id, "", Policy.CANCEL, False, False, None, int(State.SUCCEEDED))
        for job in made
    ]
    return into + [
        edge._replace(parent=job.id, path=f"{edge.path}/{n}" if edge.path else str(n), outcome=None, value=None)
        for edge in edges
        if edge.parent == template.id
        for n, job in enumerate(made)
    ]


def named(failure: str | None) -> str:
    """For a reason: the link that a `Failure` (JSON text) is about."""
    return str(json.loads(failure)["task"] or "a link") if failure else "a link"


def failure(task: str, job: str, state: State, error: str | None) -> str:
    """A `Failure` as JSON text."""
    said = json.loads(error) if error else {}
    said.pop("traceback", None)
    data = {"task": task, "job": job, "state": state.name.lower(), "error": said}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
