"""Webhooks as jobs: which events are announced, and the job that sends one of them. Pure."""

from __future__ import annotations

import json
from hashlib import sha256

from .events import Event
from .ids import at_moment, random_part
from .job import Job, State
from .lifecycle import QUEUED
from .options import DEFAULT_PRIORITY

TASK = "offpath.webhooks.deliver"
QUEUE = "offpath.webhooks"

OPERATION = "operation."
"""What goes before an event's name on the wire. Only an operation's end is announced (docs/decisions/0020)."""
DISABLED = "endpoint.disabled"
TEST = "endpoint.test"

BY_HAND = "disabled by "
"""What the reason begins with when somebody has disabled an endpoint, and not what became of what was sent there."""
OWNER, OPERATOR = "its owner", "an operator"

ENDS = (f"{OPERATION}succeeded", f"{OPERATION}failed", f"{OPERATION}canceled")
EVENTS = (*ENDS, DISABLED)
"""What an endpoint may ask for. A test is sent to whoever asks for it."""


def by_hand(who: str, why: str = "") -> str:
    """The reason of an endpoint that `who` has disabled. It always says that somebody has, whatever words were given:
    an alert on endpoints that failed knows by it that this one did not."""
    return f"{BY_HAND}{who}: {why}" if why else f"{BY_HAND}{who}"


def derived(operation: str, sequence: int, endpoint: str | None) -> str:
    """The id of the delivery of one event to one endpoint (None: the operation's callback URL), and its webhook-id.

    The same whenever it is worked out, so that an announcement made twice is one row.
    """
    made = sha256(f"{operation} {sequence} {endpoint or 'callback'}".encode()).digest()
    return at_moment(int(operation[:8] + operation[9:13], 16) * 1000, random_part(made[:10]))


def again(delivery: str, attempts: int, now: int) -> str:
    """The id of the job that sends a delivery once more, after so many attempts."""
    return at_moment(now, random_part(sha256(f"{delivery} {attempts}".encode()).digest()[:10]))


def job(id: str, delivery: str, endpoint: str | None, before: str | None, now: int) -> tuple[Job, Event]:
    """The job that sends one delivery; `before`: the one that did last. Its args name rows and carry nothing of what is
    sent."""
    args = json.dumps({"delivery": delivery, "endpoint": endpoint}, separators=(",", ":"))
    made = Job(
        id, TASK, 1, args, QUEUE, DEFAULT_PRIORITY, State.READY, now, None, None, 1, 0, 0, None, None, False, False,
        None, None, before,
    )  # fmt: skip
    return made, QUEUED
