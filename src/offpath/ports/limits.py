"""What crosses between engine and store about jobs under a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ..core.limits import Rule
from .steps import Verb


class Look(NamedTuple):
    """That a worker wants jobs under a limit too, a part of `Want`.

    room     how many of them
    free     how many could start at once. Who is under a rate, must not be repeated or has seen a worker die comes only
             then: what is fetched ahead may wait here for a while
    cursors  by queue, the lane whose turn was the last (see `Seen`): the next one's is now
    first    they come before the others of this claim, which only have the rest of the room
    eager    there are more of them than room; what is settled in the same exchange need not be waited for
    """

    room: int
    free: int
    cursors: Mapping[str, str] = {}
    first: bool = False
    eager: bool = False


class Seen(NamedTuple):
    """What such a look has found, beside the jobs.

    cursors     for the next look
    again_at    when a rate will let the next job start (µs)
    more        others could start now, if there were room
    starved     others could, if a slot were free
    busy        some lanes were not looked at: somebody else had them, or they are too many for one look
    undeclared  limits that jobs wait under and that no worker has declared
    """

    cursors: Mapping[str, str]
    again_at: int | None = None
    more: bool = False
    starved: bool = False
    busy: bool = False
    undeclared: frozenset[str] = frozenset()


class LimitVerbs(Protocol):
    """A part of `Verbs`."""

    def declare(self, rules: Sequence[Rule]) -> Verb[None]:
        """These are the numbers of these limits from now on, for jobs that wait already too."""
        ...

    def limited_queues(self) -> Verb[list[str]]:
        """The queues in which jobs wait under a limit; quick, however many there are."""
        ...
