"""Forgetting what has outlived its time, page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ports import Now, Round, Statement, Verb
from . import rows
from .shared import SharedVerbs

Aged = tuple[str, str | None]
"""The id of a row, and on PostgreSQL where in history it is."""


class PruneVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def prune_jobs(self, limit: int, round: Round | None) -> Verb[int]:
        """One kind of rows at a time, so that of a page which cannot be deleted it is known what was in it; a row that
        `round` skips is left, and the others go."""
        now: int = yield Now()
        kinds: tuple[tuple[str, Callable[[Sequence[Aged], int], Verb[None]]], ...] = (
            ("fading", self._entomb),
            ("faded", self._forget),
            ("spent", self._erase),
        )
        skip = frozenset[str]() if round is None else frozenset(round.skip)
        for name, act in kinds:
            page = {"now": now, "limit": limit + len(skip)}
            found: list[Aged] = yield Statement(self.sql[f"upkeep.{name}"], page, rows.plain)
            if found := [row for row in found if row[0] not in skip][:limit]:
                if round is not None:
                    round.taken = [id for id, _ in found]
                yield from act(found, now)
                return len(found)
        if round is not None:
            round.taken = []
        return 0

    def _entomb(self, found: Sequence[Aged], now: int) -> Verb[None]:
        """Operations leave a tombstone: it is remembered for a while that they were there."""
        these: dict[str, Any] = {"ids": rows.dumps([id for id, _ in found])}
        until = now + (self.retention.operation or 0)
        yield Statement(self.sql["upkeep.entomb"], {**these, "until": until}, rows.nothing)
        yield Statement(self.sql["upkeep.events"], these, rows.nothing)

    def _forget(self, found: Sequence[Aged], now: int) -> Verb[None]:
        yield Statement(self.sql["upkeep.forget"], {"ids": rows.dumps([id for id, _ in found])}, rows.nothing)

    def _erase(self, found: Sequence[Aged], now: int) -> Verb[None]:
        yield Statement(self.sql["upkeep.history"], {"rows": rows.dumps(found)}, rows.nothing)
        yield Statement(self.sql["attempt.erase_many"], {"ids": rows.dumps([id for id, _ in found])}, rows.nothing)
