"""What a message asks for: which tasks, with which arguments. Nothing is written here, and nothing is looked up but the
tasks there are: the message never names one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from ..cloudevents import CloudEvent, decode, dumps
from ..codec import MAX_BYTES
from ..core import inbox
from ..core.call import Call
from ..core.options import CallOptions
from ..errors import ArgumentError, ConfigurationError, Unreadable
from ..ports import Message, Received
from ..tasks import Subscription, Task

Known = Callable[[str], "Task[..., Any] | None"]

STABLE = frozenset({"kafka", "redis"})
"""Brokers by whose names for a place a message is known again when it has no id of its own."""

NO_OPTIONS = CallOptions()

BINARY_SLACK = 64 * 1024  # bytes of attributes, beside what may be an argument
LARGEST = MAX_BYTES + BINARY_SLACK


class Asked(NamedTuple):
    """One job that a message asks for; see `ports.inbox.Entry`. `trace`: the headers of the trace it was sent in."""

    call: Call
    source: str
    id: str | None
    line: str | None
    trace: tuple[str, str | None] | None


class Misfit(NamedTuple):
    """Why it can be no job of `task` ("": of none); by `source` and `id` this is known when it comes again."""

    task: str
    why: str
    source: str
    id: str


class Sorted(NamedTuple):
    asked: list[Asked]
    misfits: list[Misfit]


def sort(kind: str, one: Received, subscriptions: Iterable[Subscription], known: Known, *, answers: bool) -> Sorted:
    """What the message asks for, of these subscriptions to the place it came from. Nothing at all: nobody wants it.
    `answers`: whoever waits for an answer can be given one."""
    events = [each for each in subscriptions if each.format == "cloudevent"]
    plain = [each for each in subscriptions if each.format == "json"]
    found = Sorted([], [])
    size = len(one.message.body)
    if size > LARGEST:
        found.misfits.append(nobodys(one, f"it has {size:,} bytes, more than {LARGEST:,}"))
        return found
    if events:
        try:
            event = _event(kind, one.message)
        except Unreadable as error:
            if not plain:
                found.misfits.append(nobodys(one, str(error)))
        else:
            for each in events:
                if event.type in each.types:
                    _ask(found, each, known, one, event, event.source, event.id, answers=answers)
            return found
    for each in plain:
        _ask(found, each, known, one, None, *_identity(kind, one), answers=answers)
    return found


def _event(kind: str, message: Message) -> CloudEvent[Any]:
    try:
        return decode(message, kind)
    except Unreadable:
        raise
    except Exception as error:  # whatever may come: the next message is to be read
        raise Unreadable(f"it cannot be decoded: {type(error).__name__}: {error}") from error


def _ask(
    found: Sorted,
    to: Subscription,
    known: Known,
    one: Received,
    event: CloudEvent[Any] | None,
    source: str,
    id: str | None,
    *,
    answers: bool,
) -> None:
    message = one.message
    try:
        if (task := known(to.task)) is None:
            raise Unreadable(f"there is no task {to.task!r} here")
        args = _arguments(task, to, message, event)
        using = _using(message) if answers else NO_OPTIONS
    except Exception as error:  # whatever may come, of a validator say: the next message is to be taken
        told = isinstance(error, Unreadable | ArgumentError | ConfigurationError)
        why = str(error) if told else f"it cannot be read: {type(error).__name__}: {error}"
        again = inbox.name(id) if id is not None else _digest(message)
        found.misfits.append(Misfit(to.task, why, inbox.name(source), again))
        return
    key = (event.partitionkey if event is not None else None) or message.key
    found.asked.append(
        Asked(
            Call(task.name, task.version, args, task.options, using),
            inbox.name(source),
            None if id is None else inbox.name(id),
            inbox.line(task.name, key) if to.ordered and key else None,
            _trace(message, event),
        )
    )


def _arguments(task: Task[..., Any], to: Subscription, message: Message, event: CloudEvent[Any] | None) -> str:
    """Read as JSON is read, and written as `enqueue` writes: what was "5" is 5 where a number is wanted."""
    if event is not None:
        text = f'{{"{to.parameter}":{dumps(event)}}}'
    else:
        try:
            text = message.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unreadable(f"its body is not UTF-8: byte {error.start} is {message.body[error.start]:#04x}") from None
        if not text.lstrip(" \t\r\n").startswith("{"):
            raise Unreadable(f"its body is no JSON object, whose members would be the arguments of {task.name}")
    return task.bind(**task.decode(text))


def _using(message: Message) -> CallOptions:
    """Whoever sent it may wait for the job's end."""
    if not message.reply_to:
        return NO_OPTIONS
    return CallOptions(reply_to=message.reply_to, correlation=message.correlation or None)


def _trace(message: Message, event: CloudEvent[Any] | None) -> tuple[str, str | None] | None:
    """Of an event its own (Distributed Tracing extension), else what the headers say."""
    said: Any = message.headers if event is None else event.extensions
    parent, state = said.get("traceparent"), said.get("tracestate")
    return (str(parent), None if state is None else str(state)) if parent is not None else None


def _identity(kind: str, one: Received) -> tuple[str, str | None]:
    """By what a message that is no event is known again: its sender's name for it, or its place, with what was in it
    (a topic may be made anew, and count from 0 again). None: by nothing."""
    if one.message.id:
        return one.where, one.message.id
    return one.where, f"{one.place} {_digest(one.message)[:16]}" if kind in STABLE else None


def nobodys(one: Received, why: str) -> Misfit:
    """It cannot be read at all: known again by what is in it, for it may have come from nowhere that can be named."""
    return Misfit("", why, inbox.name(one.where), _digest(one.message))


def _digest(message: Message) -> str:
    made = sha256(rest(message).encode())
    made.update(message.body)
    return made.hexdigest()


def rest(message: Message) -> str:
    """All of a message but its body, as JSON text."""
    said = message._asdict()
    del said["body"]
    return json.dumps({**said, "headers": dict(message.headers)}, sort_keys=True)


def whole(body: bytes, rest: str) -> Message:
    """The message again."""
    return Message(body, **json.loads(rest))
