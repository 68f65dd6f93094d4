"""What follows from the end of parts of flows, in the transaction that ends them: read rows, let `core/joins.py`
decide, write. The rows of the flows are held, so that all of this is done by one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ..core import joins as core
from ..core import lifecycle
from ..core.change import Change
from ..core.flow import Book, Edge, Policy
from ..core.job import Job, State
from ..core.joins import Ended
from ..core.policy import Retention
from ..ports import Hint, NewJob, Statement, Verb
from . import rows

T = TypeVar("T")
PAGE = 1_000  # rows of one statement
NONE, CALLED, ALL = 0, 1, 2  # which handlers are among the rest of a flow


class Verbs(Protocol):
    """What it needs of the other verbs."""

    sql: Mapping[str, str]

    def kept(self, job: Job) -> Retention: ...
    def put(self, changes: Sequence[Change], now: int) -> Verb[None]: ...
    def tell(self, changes: Sequence[Change], now: int) -> Verb[None]: ...
    def insert(self, jobs: Sequence[NewJob]) -> Verb[None]: ...


class Advance:
    """One transaction's worth of what follows, over all the flows it concerns."""

    def __init__(self, verbs: Verbs, flows: Mapping[str, Job], now: int) -> None:
        self.verbs, self.sql, self.flows, self.now = verbs, verbs.sql, flows, now
        self.waits = {id: job.waits for id, job in flows.items()}
        self.books = {id: Book.of(job) for id, job in flows.items()}
        self.broken: dict[str, Ended] = {}
        self.queues: set[str] = set()  # that have new work
        self.asked: list[str] = []
        self.moot: dict[str, list[str]] = {}

    def run(self, parts: Sequence[Change], ended: Sequence[Ended]) -> Verb[None]:
        for part in parts:
            self.waits[str(part.flow)] -= 1
        wave = list(ended)
        while wave:
            wave = yield from self._wave(wave)
        for id, end in self.broken.items():
            if self.books[id].failed is None:
                self.books[id] = self.books[id]._replace(failed=end.error)
                told = core.named(end.failure)
                yield from self._stop(id, f"{told} of the same flow did not succeed", NONE)
        for id, losers in self.moot.items():
            yield from self._drop(id, losers)
        yield from self._end()

    def stop(self, id: str, reason: str) -> Verb[None]:
        yield from self._stop(id, reason, CALLED)
        yield from self._end()

    # ── what waits for what has ended ────────────────────────────────────────────────────────────────────────────

    def _wave(self, ended: Sequence[Ended]) -> Verb[list[Ended]]:
        """One generation: what follows at once; gives the parts that this has ended in turn."""
        params = {"ids": rows.dumps([one.id for one in ended])}
        edges: list[Edge] = yield Statement(self.sql["flow.out"], params, edges_of)
        made = core.step(ended, edges)
        yield from self._decide(made.decided)
        for edge in edges:
            if edge.parent in made.moot:
                self.moot.setdefault(edge.flow, []).append(edge.parent)
        for child, end in made.lost.items():
            if child in self.flows:
                self.broken.setdefault(child, end)
        children: dict[str, Job] = {}
        if wanted := (made.met.keys() | made.lost.keys() | made.caught.keys()) - self.flows.keys():
            params = {"ids": rows.dumps(sorted(wanted))}
            found: list[Job] = yield Statement(self.sql["flow.hold"], params, rows.jobs)
            children = {job.id: job for job in found if job.state is State.WAITING}
        changes: list[Change] = []
        wave: list[Ended] = []
        for child, end in made.lost.items():
            if (job := children.pop(child, None)) is not None:
                change = lifecycle.cancel(job, f"{core.named(end.failure)} did not succeed", self._kept(job), self.now)
                assert change is not None  # noqa: S101 - it waits
                changes.append(change)
                wave.append(end._replace(id=child, state=State.CANCELED, result=None))
        for child, why in made.heavy.items():
            if (job := children.pop(child, None)) is not None:
                changes.append(lifecycle.unfit(job, why, self._kept(job), self.now))
                wave += self._over(changes[-1:], [job])
        due: list[Job] = []
        fewer: list[tuple[str, int]] = []
        moves: list[Any] = []
        for child, count in made.met.items():
            if (job := children.get(child)) is not None:
                if job.waits <= count:
                    due.append(job)
                else:
                    fewer.append((child, -count))
        for child, end in made.caught.items():
            if (job := children.get(child)) is not None and end.failure is not None:
                takes = next((edge.takes for edge in edges if edge.child == child and edge.takes), None)
                moves.append(self._start(job, core.merged(job.args, takes, end.failure)))
                self.waits[str(job.flow)] += 1
        if due:
            started, given_up = yield from self._due(due)
            moves += started
            changes += given_up
            wave += self._over(given_up, due)
        if fewer:  # (not to a number: one of `due` may have added to it)
            yield Statement(self.sql["flow.more"], {"rows": rows.dumps(fewer)}, rows.nothing)
        if moves:
            yield Statement(self.sql["flow.move"], {"rows": rows.dumps(moves)}, rows.nothing)
        if changes:
            yield from self.verbs.put(changes, self.now)
            for change in changes:
                self.waits[str(change.flow)] -= 1
        return wave

    def _decide(self, edges: Sequence[Edge]) -> Verb[None]:
        for page in pages(edges):
            decided = [(edge.parent, edge.child, edge.outcome, edge.value) for edge in page]
            yield Statement(self.sql["flow.decide"], {"rows": rows.dumps(decided)}, rows.nothing)

    def _due(self, due: Sequence[Job]) -> Verb[tuple[list[Any], list[Change]]]:
        """All that these jobs waited for is there: they may run, become many, or cannot."""
        params = {"ids": rows.dumps([job.id for job in due])}
        edges: list[Edge] = yield Statement(self.sql["flow.into"], params, edges_of)
        by_child: dict[str, list[Edge]] = {}
        for edge in edges:
            by_child.setdefault(edge.child, []).append(edge)
        moves: list[Any] = []
        changes: list[Change] = []
        for job in due:
            ways = by_child[job.id]
            takes = next((edge.takes for edge in ways if edge.takes is not None), None)
            if any(edge.spread for edge in ways):
                changes.append((yield from self._spread(job, takes, core.compose(ways))))
                continue
            args = core.merged(job.args, takes, core.compose(ways)) if takes is not None else job.args
            if (why := core.too_large(args)) is not None:
                changes.append(lifecycle.unfit(job, why, self._kept(job), self.now))
            else:
                moves.append(self._start(job, args))
        return moves, changes

    def _spread(self, job: Job, takes: str | None, value: str) -> Verb[Change]:
        """One part becomes one for each element of a list; it has ended then, and they are in its place."""
        id = str(job.flow)
        book = self.books[id]
        made, why = core.spread(job, takes, value, self.now, book.parts)
        if made is None:
            return lifecycle.unfit(job, why, self._kept(job), self.now)
        params = {"ids": rows.dumps([job.id])}
        edges: list[Edge] = yield Statement(self.sql["flow.out"], params, edges_of)
        for page in pages(made):
            yield from self.verbs.insert([NewJob(one, lifecycle.QUEUED, None) for one in page])
        yield from link(self.sql, core.spread_edges(edges, job, made))
        more = [(e.child, len(made)) for e in edges if e.child != id and e.policy is not Policy.CATCH]
        yield Statement(self.sql["flow.more"], {"rows": rows.dumps(more)}, rows.nothing)
        self.books[id] = book._replace(parts=book.parts + len(made))
        self.waits[id] += len(made)
        if made:
            self.queues.add(job.queue)
        return lifecycle.replaced(job, self._kept(job), self.now)

    @staticmethod
    def _over(changes: Sequence[Change], due: Sequence[Job]) -> list[Ended]:
        """What has ended instead of starting: replaced by many, or unfit."""
        tasks = {job.id: job.task for job in due}
        return [
            Ended(change.id, change.state, "[]")
            if change.state is State.SUCCEEDED
            else Ended(
                change.id,
                change.state,
                None,
                change.error,
                core.failure(tasks[change.id], change.id, change.state, change.error),
            )
            for change in changes
        ]

    def _start(self, job: Job, args: str) -> tuple[str, int, int, str, int]:
        """It runs from now on, in the order in which it became ready, unless it is for later."""
        later = job.run_at > self.now
        if not later:
            self.queues.add(job.queue)
        state = lifecycle.MOVES[job.state]["later" if later else "due"]
        return job.id, int(state), 0, args, max(job.run_at, self.now)

    # ── what is needed no more ───────────────────────────────────────────────────────────────────────────────────

    def _stop(self, flow: str, reason: str, handlers: int) -> Verb[None]:
        params = {"flow": flow, "handlers": handlers}
        found: list[Job] = yield Statement(self.sql["flow.rest"], params, rows.jobs)
        yield from self._cancel(flow, found, reason)

    def _drop(self, flow: str, losers: Sequence[str]) -> Verb[None]:
        """Those that have lost a race, and what only they wait for."""
        edges: list[Edge] = yield Statement(self.sql["flow.edges"], {"flow": flow}, edges_of)
        alone = core.unneeded(edges, losers)
        params = {"flow": flow, "handlers": NONE}
        found: list[Job] = yield Statement(self.sql["flow.rest"], params, rows.jobs)
        yield from self._cancel(flow, [job for job in found if job.id in alone], "another one was first")

    def _cancel(self, flow: str, found: Sequence[Job], reason: str) -> Verb[None]:
        """Those that wait end at once, those that run are asked; nothing follows from it."""
        if not found:
            return
        wishes = [(job, lifecycle.cancel(job, reason, self._kept(job), self.now)) for job in found]
        changes = [change for _, change in wishes if change is not None]
        yield Statement(self.sql["flow.moot"], {"ids": rows.dumps([job.id for job in found])}, rows.nothing)
        if changes:
            yield from self.verbs.put(changes, self.now)
        self.waits[flow] -= sum(change.state is State.CANCELED for change in changes)
        self.asked += [change.id for change in changes if change.state is State.RUNNING]

    # ── the flows themselves ─────────────────────────────────────────────────────────────────────────────────────

    def _end(self) -> Verb[None]:
        """Where they stand now; those whose last part has ended, end."""
        changes: list[Change] = []
        for id, flow in self.flows.items():
            waits, book = self.waits[id], self.books[id]
            if flow.watched and flow.cancel_at is None:
                yield from self._progress(flow, book, waits)
            book = self.books[id] = book._replace(begun=True)
            if waits <= 0:
                params = {"flow": id, "handlers": ALL}
                idle: list[Job] = yield Statement(self.sql["flow.rest"], params, rows.jobs)
                gone = [lifecycle.cancel(job, "there was no failure", self._kept(job), self.now) for job in idle]
                if idle:
                    yield from self.verbs.put([change for change in gone if change is not None], self.now)
                changes.append((yield from self._conclude(flow, book)))
        open_ = [(id, int(State.WAITING), n, self.books[id].text(), self.flows[id].run_at)
                 for id, n in self.waits.items() if n > 0]  # fmt: skip
        if open_:
            yield Statement(self.sql["flow.move"], {"rows": rows.dumps(open_)}, rows.nothing)
        if changes:
            yield from self.verbs.put(changes, self.now)
            over = [(change.id, change.expires_at, int(change.state is not State.SUCCEEDED)) for change in changes]
            yield Statement(self.sql["flow.close"], {"rows": rows.dumps(over)}, rows.nothing)
        if self.queues:
            yield Hint("work", tuple(sorted(self.queues)))
        if self.asked:
            yield Hint("cancel", tuple(self.asked))

    def _conclude(self, flow: Job, book: Book) -> Verb[Change]:
        result: str | None = None
        said = book.failed
        if said is None and flow.cancel_at is None:
            params = {"ids": rows.dumps([flow.id])}
            edges: list[Edge] = yield Statement(self.sql["flow.into"], params, edges_of)
            result = core.compose(edges)
            if (why := core.too_large(result)) is not None:
                return lifecycle.unfit(flow, why, self._kept(flow), self.now)
        return lifecycle.conclude(flow, result, said, self._kept(flow), self.now)

    def _progress(self, flow: Job, book: Book, waits: int) -> Verb[None]:
        told = Change(flow.id, 0, False, State.RUNNING, 0, 0, 0)
        if not book.begun:
            yield from self.verbs.tell([told._replace(events=(lifecycle.started(1),))], self.now)
        params = {"id": flow.id, "progress": book.progress(waits), "now": self.now}
        yield Statement(self.sql["progress.write"], params, rows.nothing)
        yield Statement(self.sql["progress.event"], params, rows.nothing)
        yield Hint("event", (flow.id,))

    def _kept(self, job: Job) -> Retention:
        return self.verbs.kept(job)


def link(sql: Mapping[str, str], edges: Sequence[Edge]) -> Verb[None]:
    """Insert edges."""
    for page in pages(edges):
        texts = rows.dumps([(*e[:4], int(e.policy), int(e.race), int(e.spread), *e[7:]) for e in page])
        yield Statement(sql["flow.link"], {"rows": texts}, rows.nothing)


def pages(found: Sequence[T]) -> Iterator[Sequence[T]]:
    return (found[start : start + PAGE] for start in range(0, len(found), PAGE))


def edges_of(found: list[Any]) -> list[Edge]:
    return [
        Edge(flow, parent, child, path, Policy(policy), bool(race), bool(spread), takes, outcome, value)
        for flow, parent, child, path, policy, race, spread, takes, outcome, value in found
    ]
