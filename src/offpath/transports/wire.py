"""What a transport of one kind has to bring: how one connection is made, sends and hears. All else is line.py's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Hear = Callable[[str | bytes | None], None]
"""Is given every message as it comes, those of the same wire too; None: some may have been missed."""

Lost = Callable[[Exception], None]
"""To be told, once or often, that the connection is gone and why. On the loop's thread, like everything here."""

MAY_HAVE_MISSED = None


class Wire(Protocol):
    """One connection. Any error of any verb, and one that takes too long, ends it: another is made.

    deaf  why it can send but will never hear, in one sentence; "" when it can
    """

    deaf: str

    async def listen(self, hear: Hear) -> None:
        """What anybody sends once this has returned is heard."""
        ...

    async def send(self, messages: Sequence[str]) -> None:
        """Returns when the server has them all."""
        ...

    async def echo(self, message: str) -> None:
        """Send this where the wire itself hears it; who else does is all the same."""
        ...

    async def ping(self) -> None:
        """Returns when the server has answered, whatever it was. Asked only of a wire that does not listen."""
        ...

    async def close(self, well: bool) -> None:
        """Leave nothing behind; at once, without a farewell, when the wire is not `well`. It has a second for it."""
        ...


class Kind(Protocol):
    """How wires are made.

    name   what signals call the transport
    limit  bytes that one message may have
    pace   how many times as seldom as on PostgreSQL messages leave and quiet wires are tested, where that costs more
    """

    name: str
    limit: int
    pace: float

    async def connect(self, lost: Lost) -> Wire:
        """Any error, with a text for people that has no password in it: not connected, and nothing is left open."""
        ...
