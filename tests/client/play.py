"""Drives a flow without a network or a clock: answers come from a list, pauses only move the time."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from offpath.client.decisions import Answer, Event, Pace
from offpath.client.errors import Unreachable
from offpath.client.flows import Kit
from offpath.client.steps import Close, Flow, Look, Moment, Open, Pause, Read, Send, Story

BASE = "https://api.example/v1"
URL = f"{BASE}/operations/42"
NOON = 1_800_000_000.0
LOST = Unreachable("connection lost")
QUIET = Unreachable("silent", quiet=True)


class After:
    """An answer, or a failure, that takes `seconds` to come."""

    def __init__(self, seconds: float, what: Any) -> None:
        self.seconds = seconds
        self.what = what


@dataclass
class Play:
    """`script`: what requests and reads bring, in order: an Answer, bytes, None, or a failure to raise."""

    script: list[Any]
    pace: Pace = field(default_factory=Pace)
    sent: list[Send | Open] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    clock: float = 1000.0
    closed: int = 0
    u: float = 0.0

    @property
    def kit(self) -> Kit:
        return Kit(BASE, "/operations", self.pace, 30.0)

    def run(self, flow: Flow[Any]) -> Any:
        """The flow's value; its whole script must be used up."""
        try:
            self.tell(flow)
        except StopIteration as stop:
            assert self.script == []
            return stop.value

    def events(self, story: Story) -> list[Event]:
        told: list[Event] = []
        try:
            self.tell(story, told)
        except StopIteration:
            assert self.script == []
        return told

    def tell(self, flow: Any, told: list[Event] | None = None) -> None:
        proceed, brought = flow.send, None
        while True:
            step = proceed(brought)
            proceed, brought = flow.send, None
            match step:
                case Send() | Open() | Read():
                    if not isinstance(step, Read):
                        self.sent.append(step)
                    brought = self.script.pop(0)
                    if isinstance(brought, After):
                        self.clock += brought.seconds
                        brought = brought.what
                    if isinstance(brought, Exception):
                        proceed = flow.throw
                case Pause():
                    self.pauses.append(step.seconds)
                    self.clock += step.seconds
                case Look():
                    brought = Moment(self.clock, NOON + self.clock - 1000.0, self.u)
                case Close():
                    self.closed += 1
                case Event():
                    assert told is not None
                    told.append(step)


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("content-type", "application/problem+json" if status >= 400 else "application/json")
    return Answer(status, named, b"" if body is None else json.dumps(body).encode())


def operation(status: str = "running", **more: Any) -> dict[str, Any]:
    done = status in ("succeeded", "failed", "canceled")
    links = {name: f"{URL}/{name}" for name in ("result", "events", "cancel")}
    return {"id": "42", "status": status, "done": done, "links": {"self": URL, **links}, **more}


def stream(*frames: tuple[int, str, Any]) -> list[Any]:
    """An open stream, and its bytes."""
    return [answer(200, content_type="text/event-stream"), *(frame(*one) for one in frames)]


def frame(id: int, event: str, data: Any) -> bytes:
    return f"id: {id}\nevent: operation.{event}\ndata: {json.dumps(data)}\n\n".encode()


def types(events: Iterable[Event]) -> list[str]:
    return [event.type.removeprefix("operation.") for event in events]
