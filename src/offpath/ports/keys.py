"""Verbs of keys: what waits behind the holder of its key."""

from __future__ import annotations

from typing import Protocol

from .rows import Round
from .steps import Verb


class KeyVerbs(Protocol):
    def free_keys(self, limit: int, round: Round | None = None) -> Verb[int]:
        """Jobs that wait behind the holder of their key although there is none any more: up to `limit` of them take
        the key and are scheduled. (Whoever ends a holder does so at once, unless the one behind it was in somebody's
        open transaction then.)"""
        ...
