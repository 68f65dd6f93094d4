"""The inbox: messages that have become jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from .rows import NewJob, Round
from .steps import Verb

Taking = Literal["new", "known", "unwanted", "unreadable"]


class Taken(NamedTuple):
    """What has become of a message, for good: it may be acknowledged.

    outcome  "new": it has become jobs. "known": it had before, and nothing was written. "unwanted": no handler asks for
             its type. "unreadable": no job could be made of it
    why      of "unreadable": one sentence
    jobs     ids of the new jobs; of an unreadable message that was kept, of the one that stands for it
    """

    outcome: Taking
    why: str = ""
    jobs: tuple[str, ...] = ()


class Letter(NamedTuple):
    """A message that could not be read, as it came.

    id       of the job that was made for it; later ones, made by `retry`, name it in their arguments
    job      of the newest of them: as long as that one is kept, so is this
    task     whose arguments it would not be; "": nobody's, it could not be read at all
    kind     of the broker that brought it; `source`, as JSON: [address, shape, group]; `place`: for people
    body     all of it, or of one that is too large the first part
    size     bytes it had, `digest`: their SHA-256, as hex
    message  the rest of it, as JSON: headers, type, key, id, reply_to, correlation
    """

    id: str
    job: str
    task: str
    kind: str
    source: str
    place: str
    body: bytes
    size: int
    digest: str
    message: str
    at: int


class Entry(NamedTuple):
    """One job that a message asks for.

    task, source, id  by which it is known when it comes again; no id: it cannot be
    line     jobs of one line run one after the other, in the order in which they were taken; None: as they come
    letter   kept beside the job; None: all that there is to keep is in its arguments
    """

    task: str
    source: str
    id: str | None
    new: NewJob
    line: str | None = None
    letter: Letter | None = None


class InboxVerbs(Protocol):
    """A part of `Verbs`."""

    def take(self, entries: Sequence[Entry], seconds: float) -> Verb[list[bool]]:
        """Insert the jobs of those that are not known, and know all of them for so long: which of them were new."""
        ...

    def depth(self, queue: str, limit: int) -> Verb[int]:
        """How many jobs of the queue are ready or wait in a line, up to `limit`."""
        ...

    def letter(self, id: str) -> Verb[Letter | None]: ...

    def reread(self, id: str, job: str, entries: Sequence[Entry], seconds: float) -> Verb[list[bool]]:
        """`take`, of a letter that `job` has read."""
        ...

    def free_lines(self, limit: int, round: Round | None = None) -> Verb[int]:
        """Let those go that wait in a line behind nobody, in the next `limit` lines after `round.after`. (The end of a
        job frees the next one, unless both are in transactions that do not see each other.)"""
        ...
