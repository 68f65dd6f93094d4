"""Verbs about everything that is kept of one owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from .steps import Verb

Where = Literal["live", "ended", "operations"]
"""Jobs that have not ended, jobs that have, and operations whose job is gone."""


class Owner(NamedTuple):
    """Whose: `id` as it was given when the work was started, in that tenant ("" for none)."""

    id: str
    tenant: str = ""


class Living(NamedTuple):
    jobs: int
    running: int


class Swept(NamedTuple):
    """What one page has erased: rows by kind ("renamed": that have stayed, and say nothing of the owner); `last`: where
    the next page begins, None when there is none."""

    gone: Mapping[str, int]
    last: str | None


class OwnerVerbs(Protocol):
    """A part of `Verbs`."""

    def living(self, owner: Owner) -> Verb[Living]: ...

    def tenants(self, name: str) -> Verb[list[str]]:
        """In which tenants there are jobs, operations or endpoints of owners with that name ("": in none)."""
        ...

    def running_of(self, owner: Owner, limit: int) -> Verb[list[str]]:
        """Ids of those that run and have not been asked to stop."""
        ...

    def owned(self, owner: Owner, where: Where, after: str | None, limit: int) -> Verb[list[str]]:
        """Ids of its jobs, oldest first."""
        ...

    def kin(self, ids: Sequence[str]) -> Verb[list[str]]:
        """What belongs to these jobs and names no owner: parts of flows, what sends their webhooks."""
        ...

    def told(self, ids: Sequence[str]) -> Verb[list[tuple[str, dict[str, Any]]]]:
        """(kind, columns) of all that is kept of these jobs."""
        ...

    def told_of(self, owner: Owner) -> Verb[list[tuple[str, dict[str, Any]]]]:
        """The same, of what belongs to the owner and to none of its jobs."""
        ...

    def sweep(self, owner: Owner, where: Where, after: str | None, limit: int) -> Verb[Swept]:
        """Erase a page of jobs, with all that is kept of them. What still runs is taken from its worker: nothing that
        it says later finds its job."""
        ...

    def naming(self, owner: Owner) -> Verb[list[tuple[str, str]]]:
        """(id, arguments) of changes of many jobs, somebody else's too, whose filter names the owner."""
        ...

    def sweep_rest(self, owner: Owner, name: str, naming: Sequence[tuple[str, str]] = ()) -> Verb[Mapping[str, int]]:
        """Erase what belongs to the owner and to none of its jobs. In the audit log, and in the arguments of the jobs
        `naming` it, it is called `name` from now on."""
        ...
