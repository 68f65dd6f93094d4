"""Settling all kinds of changes in one transaction, the way that waits for nobody."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.change import Change
from ...core.job import State
from ...ports import Hint, Verb, Verdict
from ..verbs import NOW, Asked
from .verbs import PostgresVerbs


def settle(verbs: PostgresVerbs, worker: str, changes: Sequence[Change]) -> Verb[tuple[list[Verdict], Asked]]:
    """All kinds of changes, in one transaction: what passes its guard is locked first."""
    if flows := {change.flow for change in changes if change.flow is not None and change.state > State.RUNNING}:
        return (yield from _settle_parts(verbs, worker, changes, flows))
    return (yield from _settle(verbs, worker, changes))


def _settle_parts(
    verbs: PostgresVerbs, worker: str, changes: Sequence[Change], flows: set[str]
) -> Verb[tuple[list[Verdict], Asked]]:
    """A flow is held before any of its parts. One that somebody else holds is as a row that he has locked: its parts
    are left out, and sent again."""
    held = yield from verbs.try_flows(flows)
    free = [
        n
        for n, change in enumerate(changes)
        if change.flow is None or change.flow in held or change.state <= State.RUNNING
    ]
    if len(free) == len(changes):
        return (yield from _settle(verbs, worker, changes))
    verdicts: list[Verdict] = ["changed"] * len(changes)
    asked: Asked = {
        change.id: (change.cancel_at if change.seen_cancel else None, change.cancel_reason) for change in changes
    }
    if free:
        said, known = yield from _settle(verbs, worker, [changes[n] for n in free])
        for n, verdict in zip(free, said, strict=True):
            verdicts[n] = verdict
        asked |= known
    return verdicts, asked


def _settle(verbs: PostgresVerbs, worker: str, changes: Sequence[Change]) -> Verb[tuple[list[Verdict], Asked]]:
    verdicts, asked = yield from verbs.refused(worker, changes)
    good = [change for change, verdict in zip(changes, verdicts, strict=True) if verdict == "applied"]
    if good:
        now = yield NOW
        yield from verbs.write(good, now)
    if any(change.state is State.READY for change in good):
        yield Hint("work")  # given back (a worker that shuts down): another one may start it at once
    return verdicts, asked
