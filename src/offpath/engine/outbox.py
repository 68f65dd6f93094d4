"""The jobs that send: events of the outbox, and the answers of jobs that have ended.

Whichever job of a line runs sends all that is in it, in order, and ends the jobs of what it has sent. Who else sends at
the same time (a worker that was taken for dead) sends from the head too: an event may be sent twice, and never before
one of its key that was committed earlier has been.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from .. import cloudevents
from ..cloudevents import CloudEvent
from ..core.answers import SCHEMA, SOURCE, TYPE
from ..core.outbox import CAP, FIRST, SHARDS, behind
from ..core.outcome import clean
from ..core.trace import Trace, parse
from ..errors import BrokerRefused, OffpathError, Snooze, StoreUnavailable
from ..observe import signal
from ..ports import Message, Outgoing, Store
from ..ports.outbox import Line, OutboxRow
from .post import Away, Post

TURN = 30.0  # s after which a job lets the next one of its line go on
TOGETHER = 4 << 20  # characters of messages that are sent at once, as long as it is more than one message


class Undeliverable(OffpathError):
    """The broker will not take this event, whatever one does. `jobs.retry(id)` sends it again."""


class Publisher:
    """One attempt of the job that sends an event, with all others of its line. `first`: no attempt was before it."""

    def __init__(self, store: Store, post: Post, job: str, *, first: bool = True) -> None:
        self._store, self._post, self._job, self._first = store, post, job, first

    async def run(self, event: str, shard: int) -> None:
        """Snooze when the broker is away, or the database, or others are to go on. Undeliverable when the broker will
        not take this job's own event, or there is none to send again."""
        try:
            await self._run(event, shard)
        except StoreUnavailable as error:
            raise Snooze(FIRST) from error  # it is not about the event: no attempt is spent

    async def _run(self, event: str, shard: int) -> None:
        until = monotonic() + TURN
        own = False  # it has been in its line in this attempt
        while True:
            line = await self._look(shard)
            if line.own is None and not own:
                own = True  # it has been confirmed, unless this job is to send again what another could not
                if await self._take_back(event, shard):
                    continue
            if line.own is not None:
                if line.own.aside:
                    raise Undeliverable(line.own.error or "it was taken out of its line")
                own = True
            if dead := [row for row in line.rows if not row.live]:
                await self._put_aside([(row, None) for row in dead])
            if monotonic() > until and (line.rows or line.own is not None):
                if line.own is not None:
                    raise Snooze(0)  # behind those of its line that have waited meanwhile
                return
            if rows := [row for row in line.rows if row.live]:
                try:
                    await self._send(rows)
                except Away as away:
                    if line.own is None:
                        return  # the others have jobs of their own
                    raise Snooze(_later(line, away.pause)) from away
            elif not line.rows:
                return

    async def _look(self, shard: int) -> Line:
        return await self._store.read(self._store.verbs.line(shard, self._job, self._post.page))

    async def _take_back(self, event: str, shard: int) -> bool:
        """It was refused once, and somebody has asked for it again (`jobs.retry`). False for a job that is no such
        repetition: its event has been sent. What is not there to be sent again is no success."""
        verbs = self._store.verbs
        me = await self._store.read(verbs.find(self._job))
        if me is None or me.job is None or me.job.retry_of is None:
            return False
        if await self._store.perform(lambda: verbs.take_back(event, shard, self._job)):
            return True
        if await self._store.read(verbs.in_outbox(event, shard)):
            raise Snooze(CAP)  # another job is about to send it, or to say that it cannot
        if self._first:
            raise Undeliverable("it is not in the outbox any more: it was sent, or forgotten with the job that failed")
        return False  # by an attempt before this one

    async def _put_aside(self, found: Sequence[tuple[OutboxRow, str | None]]) -> None:
        await self._store.perform(lambda: self._store.verbs.put_aside(found))

    # -- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, rows: list[OutboxRow]) -> None:
        await self._post.ready()
        rows = _together(rows)
        try:
            said = await self._sent(rows)
        except Away as away:  # those that it has need not be sent again
            if had := [rows[place] for place in away.confirmed]:
                await self._confirmed(had)
            raise
        taken = [row for row, refusal in zip(rows, said, strict=True) if refusal is None]
        refused = [(row, refusal) for row, refusal in zip(rows, said, strict=True) if refusal is not None]
        if taken:
            await self._confirmed(taken)
        if refused:
            for row, refusal in refused:
                signal(
                    "outbox.refused", broker=self._post.kind, event=row.id, type=row.subject, address=row.address,
                    error=str(refusal),
                )  # fmt: skip
            await self._put_aside([(row, clean(str(refusal))) for row, refusal in refused])

    async def _confirmed(self, taken: Sequence[OutboxRow]) -> None:
        await self._store.perform(lambda: self._store.verbs.confirmed(taken))
        signal("outbox.published", broker=self._post.kind, events=len(taken))

    async def _sent(self, rows: list[OutboxRow]) -> list[Exception | None]:
        """What the broker said of each. What cannot even be made a message, or makes the client fail, is refused alone:
        the others must not stop behind it."""
        said: list[Exception | None] = []
        outgoing: list[Outgoing] = []
        for row in rows:
            try:
                outgoing.append(outgoing_of(row, self._post.kind))
                said.append(None)
            except OffpathError as error:
                said.append(error)
        if not outgoing:
            return said
        places = [place for place, error in enumerate(said) if error is None]
        try:
            answers = iter(await self._answers(outgoing))
        except Away as away:
            away.confirmed = [places[at] for at in away.confirmed]
            raise
        return [next(answers) if one is None else one for one in said]

    async def _answers(self, outgoing: list[Outgoing]) -> Sequence[Exception | None]:
        try:
            return await self._post.send(outgoing)
        except Away:
            raise
        except Exception as error:
            if len(outgoing) == 1:
                raise  # an attempt of this job has failed
            return await self._one_by_one(outgoing, error)

    async def _one_by_one(self, outgoing: list[Outgoing], error: Exception) -> Sequence[Exception | None]:
        found: list[Exception | None] = []
        for place, one in enumerate(outgoing):
            try:
                found += await self._post.send([one])
            except Away as away:
                away.confirmed = [at for at in range(place) if found[at] is None]
                raise
            except Exception as alone:
                found.append(alone)
        if all(isinstance(one, Exception) and not isinstance(one, BrokerRefused) for one in found):
            raise await self._post.lost(error)  # it is not about one of them
        return found


def _together(rows: list[OutboxRow]) -> list[OutboxRow]:
    """The first of them, as many as fit."""
    size = 0
    for n, row in enumerate(rows):
        size += len(row.message)
        if n and size > TOGETHER:
            return rows[:n]
    return rows


def _later(line: Line, pause: float) -> float:
    """When the job that asked looks again. How many are before it in its line is told by the numbers, near enough."""
    if line.own is None or line.own.seq == line.rows[0].seq:
        return pause
    return behind(pause, max(1, (line.own.seq - line.rows[0].seq) // SHARDS), random.random())


def outgoing_of(row: OutboxRow, kind: str) -> Outgoing:
    """An event as it goes to a broker of this kind. OffpathError for what cannot."""
    trace: Trace | None = None
    if row.plain:
        message = Message(row.message.encode(), {}, "application/json", row.key, row.id)
    else:
        event = cloudevents.loads(row.message)
        message = cloudevents.encode(event, kind)._replace(key=row.key, id=row.id)
        if (parent := event.extensions.get("traceparent")) is not None:
            trace = parse([str(parent)], [str(event.extensions.get("tracestate", ""))])
    return Outgoing(row.address, row.subject, message, row.direct, trace=trace)


async def answer(
    post: Post, source: str, to: str, event: str, ended: Mapping[str, Any], correlation: str | None
) -> None:
    """Tell whoever asked how a job has ended. Snooze when the broker is away; Undeliverable when it will not;
    BrokerUnavailable when the address, which a message may have chosen, is all that gives trouble: that costs an
    attempt."""
    at = datetime.fromtimestamp(ended["finishedAt"] / 1e6, UTC)
    made: CloudEvent[Any] = CloudEvent(
        type=TYPE.format(state=ended["state"]),
        data={**ended, "finishedAt": cloudevents.canonical(at)},
        source=source or SOURCE,
        id=event,
        subject=ended["id"],
        time=at,
        dataschema=SCHEMA,
        extensions={} if correlation is None else {"correlationid": correlation},
    )
    try:
        await post.ready()
        message = cloudevents.encode(made, post.kind)._replace(correlation=correlation)
        [refusal] = await post.send([Outgoing(to, made.type, message, True, True)])
    except Away as away:
        raise Snooze(away.pause) from away
    if refusal is not None:
        signal("outbox.refused", broker=post.kind, event=event, type=made.type, address=to, error=str(refusal))
        raise Undeliverable(str(refusal)) from refusal
    signal("outbox.published", broker=post.kind, events=1)
