"""What a transport is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .steps import Hint

Announce = Callable[[Sequence[Hint]], None]


class Transport(Protocol):
    """Carries hints between processes. Every verb may be called from any thread, and so may `on_hint`."""

    def open(self) -> None: ...

    def subscribe(self, on_hint: Callable[[Hint], None]) -> Callable[[], None]:
        """Hear hints of this and other processes until the returned function is called."""
        ...

    def announce(self, hints: Sequence[Hint]) -> None:
        """Tell subscribers in this process and in others; never raises, never blocks."""
        ...

    def close(self) -> None: ...
