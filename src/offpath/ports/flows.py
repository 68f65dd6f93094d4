"""Flows: what goes into a store and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..core.flow import Edge
from .rows import Enqueued, NewJob
from .steps import Verb


class NewFlow(NamedTuple):
    """A flow to insert: its own row, its parts' and the edges between them."""

    flow: NewJob
    parts: Sequence[NewJob]
    edges: Sequence[Edge]


class NodeRow(NamedTuple):
    """A job of a flow, live or finished; `state` as the database stores it."""

    id: str
    task: str
    state: int
    attempt: int


class FlowRows(NamedTuple):
    """A flow as it stands: all its jobs, its own row among them, and its edges (without what travels on them).

    Jobs that history has forgotten are missing.
    """

    nodes: list[NodeRow]
    edges: list[Edge]


class FlowVerbs(Protocol):
    """The verbs of flows, among those of `ports.Verbs`."""

    def enqueue_flow(self, new: NewFlow) -> Verb[Enqueued]:
        """Insert all of it; when a live flow has its key, nothing, and that one's id."""
        ...

    def flow(self, id: str) -> Verb[FlowRows | None]:
        """None: there is no such flow (any more)."""
        ...
