"""`jobs.audit(…)`: who has done what."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..core.audit import ActFilter, ActRow, acts
from ..core.checks import shown, whole
from ..core.ids import is_id
from ..errors import ConfigurationError
from .desk import Counter

PAGE = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit log.

    actor   who: the caller of the admin API, `cli:<user>` of the command line, or as `offpath.app.acting` was told
    action  see `core.audit.ACTIONS`
    target  the id of a job or endpoint, the name of a queue or schedule
    data    what else is remembered: a reason, a filter, counts
    tenant  the actor's, of whom it is known (`offpath.app.acting`)
    """

    id: str
    at: datetime
    actor: str
    action: str
    target: str
    data: dict[str, Any]
    tenant: str | None = None


class Auditing:
    """A part of `Offpath`."""

    _desk: Counter

    def audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> AsyncIterator[Entry]:
        """`async for entry in jobs.audit(target=job.id):` who has done what, the newest first, read page by page.

        actor, action, target  only theirs; limit: at most so many; after: the id of the last one that is known already

        Entries are kept for `retention_audit`. ConfigurationError for an action there is not.
        """
        return _read(self._desk, _begin(limit, after), acts(actor, action, target))

    def audit_sync(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Iterator[Entry]:
        """The same, blocking."""
        return _read_sync(self._desk, _begin(limit, after), acts(actor, action, target))


def entry(row: ActRow) -> Entry:
    at = datetime.fromtimestamp(row.at / 1e6, UTC)
    return Entry(row.id, at, row.actor, row.action, row.target, json.loads(row.data), row.tenant)


def _begin(limit: int | None, after: str | None) -> tuple[int | None, str | None]:
    if limit is not None:
        whole(limit, 1, 1_000_000_000, "limit")
    if after is not None and not is_id(after):
        raise ConfigurationError(f"after wants the id of an entry, not {shown(after)}")
    return limit, after


async def _read(desk: Counter, begin: tuple[int | None, str | None], where: ActFilter) -> AsyncIterator[Entry]:
    left, after = begin
    while left is None or left > 0:
        asked = PAGE if left is None else min(PAGE, left)
        page = await desk.store.read(desk.store.verbs.acts(where, after, asked))
        for row in page:
            yield entry(row)
        if len(page) < asked:
            return
        left, after = None if left is None else left - asked, page[-1].id


def _read_sync(desk: Counter, begin: tuple[int | None, str | None], where: ActFilter) -> Iterator[Entry]:
    left, after = begin
    while left is None or left > 0:
        asked = PAGE if left is None else min(PAGE, left)
        page = desk.store.read(desk.store.verbs.acts(where, after, asked)).result()
        yield from map(entry, page)
        if len(page) < asked:
            return
        left, after = None if left is None else left - asked, page[-1].id
