"""What a flow asks of the face that drives it. A flow is a generator: it yields these and is sent what they bring, as
verbs are in `stores/`; so the blocking and the async client share every line that decides something."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from .decisions import Event

R = TypeVar("R")


class Send(NamedTuple):
    """One request; brings its `Answer`, or raises Unreachable into the flow. `timeout` in seconds, for each wait."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    timeout: float = 30.0


class Open(NamedTuple):
    """A request whose answer may be a stream; brings the `Answer`, with its body unless that is an event stream."""

    url: str
    headers: Mapping[str, str]
    quiet: float


class Read(NamedTuple):
    """The next bytes of the open stream; None at its end. Raises Unreachable, `quiet` when none came in time."""


class Close(NamedTuple):
    """Let go of the open stream, if there is one."""


class Pause(NamedTuple):
    seconds: float


class Look(NamedTuple):
    """Brings a `Moment`."""


class Moment(NamedTuple):
    """clock: of this process, s, never set back; wall: since 1970, s; u: uniform in [0, 1)."""

    clock: float
    wall: float
    u: float


Step: TypeAlias = Send | Open | Read | Close | Pause | Look
Flow: TypeAlias = Generator[Step, Any, R]
Story: TypeAlias = Generator[Step | Event, Any, None]
"""A flow that tells events on its way; they are for whoever iterates, and bring nothing back."""
