"""An outage of the store is told of when it begins and once a minute, not by everybody each time that he meets it."""

from __future__ import annotations

from ..errors import StoreUnavailable

TOLD = 60.0  # s


class Outage:
    """What one part of a worker has said of it."""

    def __init__(self) -> None:
        self._told: float | None = None

    def worth_telling(self, error: Exception, now: float) -> bool:
        """Whether to say so, at `now` (s, of any clock). Anything but an outage: every time."""
        if isinstance(error, StoreUnavailable) and self._told is not None and now - self._told < TOLD:
            return False
        self._told = now
        return True

    def over(self) -> None:
        self._told = None
