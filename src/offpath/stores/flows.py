"""The verbs of flows. A part of `SqlVerbs`, whose `write` calls `advance` when parts of flows have ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..core import joins, lifecycle
from ..core.change import Change
from ..core.flow import Edge
from ..core.job import Job, State
from ..core.joins import Ended
from ..ports import Enqueued, Hint, NewJob, Statement, Verb
from ..ports.flows import FlowRows, NewFlow, NodeRow
from . import rows
from .advance import Advance, edges_of, link, pages
from .shared import SharedVerbs


class FlowVerbs(SharedVerbs):
    """See `ports.flows.FlowVerbs`."""

    # ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue_flow(self, new: NewFlow) -> Verb[Enqueued]:
        [said] = yield from self.enqueue([new.flow])
        if said.existing:
            return said
        for jobs in pages(new.parts):
            yield from self._insert(jobs)
        yield from link(self.sql, new.edges)
        ready = {part.job.queue for part in new.parts if part.job.state is State.READY}
        yield Hint("work", tuple(sorted(ready)))
        return said

    def flow(self, id: str) -> Verb[FlowRows | None]:
        edges: list[Edge] = yield Statement(self.sql["flow.edges"], {"flow": id}, edges_of)
        if not edges:
            return None
        ids = {id} | {edge.parent for edge in edges} | {edge.child for edge in edges}
        params = {"flow": id, "ids": rows.dumps(sorted(ids))}
        nodes: list[NodeRow] = yield Statement(self.sql["flow.nodes"], params, _nodes)
        return FlowRows(sorted(nodes), sorted(edges))

    def insert(self, jobs: Sequence[NewJob]) -> Verb[None]:
        """Without keys, and nobody is told."""
        return self._insert(jobs)

    # ── the lock ─────────────────────────────────────────────────────────────────────────────────────────────────

    def hold_flows(self, ids: Iterable[str]) -> Verb[dict[str, Job]]:
        """The rows of these flows, held until the end of the transaction; those that have ended are missing."""
        wanted = rows.dumps(sorted(set(ids)))
        found: list[Job] = yield Statement(self.sql["flow.hold"], {"ids": wanted}, rows.jobs)
        return {job.id: job for job in found}

    def try_flows(self, ids: Iterable[str]) -> Verb[set[str]]:
        """Of these flows, those that are held now, or are no more; whoever has another is not waited for."""
        wanted = rows.dumps(sorted(set(ids)))
        held: list[str] = yield Statement(self.sql["flow.try"], {"ids": wanted}, rows.column)
        return set(held)

    # ── the end of parts ─────────────────────────────────────────────────────────────────────────────────────────

    def advance(self, changes: Sequence[Change], now: int) -> Verb[None]:
        """These changes have ended parts (and are written): what follows from that."""
        flows = yield from self.hold_flows(change.flow for change in changes if change.flow is not None)
        parts = [change for change in changes if change.flow in flows and change.id != change.flow]
        if parts:
            ended = yield from self._ended(parts)
            yield from Advance(self, flows, now).run(parts, ended)

    def cancel_flow(self, flow: Job, reason: str, now: int) -> Verb[None]:
        """Someone asked a flow, which is held, to stop: every part of it."""
        wish = lifecycle.ask(flow, reason, now)
        if wish is None:
            return
        yield from self.put([wish._replace(events=())], now)
        held = flow._replace(cancel_at=wish.cancel_at, cancel_reason=wish.cancel_reason)
        then = Advance(self, {flow.id: held}, now)
        yield from then.stop(flow.id, reason)
        if wish.events and then.waits[flow.id] > 0:
            yield from self.tell([wish._replace(state=State.RUNNING)], now)

    def idle(self, job: Job) -> Verb[bool]:
        """A handler that waits for a failure: it ends with its flow, and not by itself."""
        return job.state is State.WAITING and bool(
            (yield Statement(self.sql["flow.handler"], {"id": job.id}, rows.value))
        )

    def forget_edges(self, now: int, limit: int) -> Verb[int]:
        gone: int = yield Statement(self.sql["flow.forget"], {"now": now, "limit": limit}, rows.value)
        return gone

    def _ended(self, parts: Sequence[Change]) -> Verb[list[Ended]]:
        bad = [part.id for part in parts if part.state is not State.SUCCEEDED]
        tasks: dict[str, str] = {}
        if bad:
            tasks = yield Statement(self.sql["flow.tasks"], {"ids": rows.dumps(bad)}, dict)
        return [
            Ended(part.id, State.SUCCEEDED, part.result)
            if part.state is State.SUCCEEDED
            else Ended(
                part.id,
                part.state,
                None,
                part.error,
                joins.failure(tasks.get(part.id, ""), part.id, part.state, part.error),
            )
            for part in parts
        ]


def _nodes(found: list[Any]) -> list[NodeRow]:
    return [NodeRow(*row) for row in found]
