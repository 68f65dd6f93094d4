"""The outbox: events on their way to a broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .rows import Enqueued, NewJob
from .steps import Verb


class NewEvent(NamedTuple):
    """An event to be sent, and the job that sends it.

    id       of the event
    shard    its line: those of one key are in the same one (`core.outbox.shard_of`)
    address, subject, direct   where it goes, as in `Outgoing`
    plain    the message is no CloudEvent but the body itself, JSON
    message  the event in the JSON format of CloudEvents, so that it is encoded for the broker when it is sent
    """

    id: str
    shard: int
    key: str | None
    address: str
    subject: str
    direct: bool
    plain: bool
    message: str
    new: NewJob


class OutboxRow(NamedTuple):
    """An event in its line. `seq`: of two events of one key, the one that was committed first has the lower one.
    `live`: its job has not ended; it is not to be sent otherwise."""

    seq: int
    id: str
    job: str
    key: str | None
    address: str
    subject: str
    direct: bool
    plain: bool
    message: str
    live: bool


class Own(NamedTuple):
    """The event of the job that asks. `aside`: it is not in its line any more; `error`: why the broker will not have
    it, as text."""

    seq: int
    aside: bool
    error: str | None


class Line(NamedTuple):
    """The first events of a line, and the one of the job that asks; None: it has been confirmed, or never was that
    job's."""

    rows: list[OutboxRow]
    own: Own | None


class OutboxVerbs(Protocol):
    """A part of `Verbs`. All of them are done in one transaction with whatever else is written there."""

    def publish(self, events: Sequence[NewEvent]) -> Verb[list[Enqueued]]:
        """Insert events and their jobs. Whoever publishes for a key waits until others who have, and have not yet
        committed, are done: so the order of `seq` is that of the commits, within a key."""
        ...

    def line(self, shard: int, job: str, limit: int) -> Verb[Line]:
        """The first `limit` events of a line, in order; `job` is the one that asks."""
        ...

    def confirmed(self, sent: Sequence[OutboxRow]) -> Verb[int]:
        """The broker has these: they are forgotten, and those of their jobs that have not begun have succeeded. Gives
        how many events there still were."""
        ...

    def put_aside(self, found: Sequence[tuple[OutboxRow, str | None]]) -> Verb[None]:
        """Take events out of their line, with why; their jobs, as far as they live, are due now, to say so."""
        ...

    def take_back(self, event: str, shard: int, job: str) -> Verb[bool]:
        """An event that was put aside is in its line again, at its old place, and `job` sends it now; False when there
        is none, or its job still lives."""
        ...

    def in_outbox(self, event: str, shard: int) -> Verb[bool]:
        """Whether there is such an event, in line or aside."""
        ...

    def backlog(self) -> Verb[tuple[int, int | None]]:
        """How many events are in line, and since when the oldest is (µs); reads all of them."""
        ...
