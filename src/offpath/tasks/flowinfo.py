"""A flow as it stands, as users read it."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.flow import Policy
from ..core.job import State
from ..ports.flows import FlowRows


@dataclass(frozen=True, slots=True)
class FlowPart:
    """A job of a flow. `task` is None, and `attempt` 0, when its job has been forgotten; `state` is remembered."""

    id: str
    task: str | None
    state: str
    attempt: int


@dataclass(frozen=True, slots=True)
class FlowEdge:
    """`child` waits for `parent`; a child that is the flow itself: its end does. `policy`, when the parent does not
    succeed: "cancel", "continue" or "catch". `race`: the first of several is enough."""

    parent: str
    child: str
    policy: str
    race: bool


@dataclass(frozen=True, slots=True)
class FlowInfo:
    """A flow and its graph. `state` as of a job: "waiting" as long as a part has not ended.

    done   how many parts have ended, of `parts`; a handler that waits for a failure is among the parts
    """

    id: str
    state: str
    parts: list[FlowPart]
    edges: list[FlowEdge]

    @property
    def done(self) -> int:
        return sum(part.state in _ENDED for part in self.parts)


_ENDED = ("succeeded", "failed", "canceled")


def flow_info(id: str, rows: FlowRows) -> FlowInfo:
    known = {node.id: node for node in rows.nodes}
    outcomes = {edge.parent: edge.outcome for edge in rows.edges if edge.outcome is not None}
    ids = sorted({edge.parent for edge in rows.edges} | {edge.child for edge in rows.edges} | known.keys())
    parts: list[FlowPart] = []
    for one in ids:
        if one == id:
            continue
        node = known.get(one)
        if node is None:
            outcome = outcomes.get(one)
            parts.append(FlowPart(one, None, "forgotten" if outcome is None else State(outcome).name.lower(), 0))
        else:
            parts.append(FlowPart(one, node.task, State(node.state).name.lower(), node.attempt))
    own = known.get(id)
    edges = [FlowEdge(e.parent, e.child, Policy(e.policy).name.lower(), e.race) for e in rows.edges]
    return FlowInfo(id, State(own.state).name.lower() if own else "forgotten", parts, edges)
