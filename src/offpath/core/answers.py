"""The end of a job, told to whoever asked for it with `reply_to`: the job that sends the answer. Pure.

Its arguments are all that is told, so that it does not matter what becomes of the job that has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from . import redact
from .events import Event
from .ids import at_moment, random_part
from .job import Finished, Job, State
from .lifecycle import QUEUED
from .options import DEFAULT_PRIORITY
from .outbox import ANSWER, QUEUE
from .trace import stamped, started_in

TYPE = "dev.offpath.job.{state}.v1"
SCHEMA = "urn:offpath:schemas:job-ended:v1"
"""What its data looks like: docs/reference/cloudevents.md has it."""
SOURCE = "urn:offpath:jobs"
"""Where answers come from when the application has no `source`."""
MAX_RESULT = 56 * 1024
"""Bytes of a result that is told: with the rest of the event it stays below 64 KiB (EVT-09)."""

_STATES = MappingProxyType({State.SUCCEEDED: "succeeded", State.FAILED: "failed", State.CANCELED: "canceled"})


def derived(job: str) -> str:
    """The id of the job that answers for this one, and of the event it sends: the same whenever it is worked out."""
    made = sha256(f"{job} answer".encode()).digest()
    return at_moment(int(job[:8] + job[9:13], 16) * 1000, random_part(made[:10]))


def job(old: Finished, at: int) -> tuple[Job, Event] | None:
    """The job that tells how `old` has ended; None when nobody asked to be told."""
    said = _options(old.options)
    to = said.get("reply_to")
    if not isinstance(to, str):
        return None
    name = derived(old.id)
    args: dict[str, Any] = {"to": to, "event": name, "ended": told(old)}
    if said.get("correlation") is not None:
        args["correlation"] = said["correlation"]
    trace = started_in(old.options)
    made = Job(
        name, ANSWER, 1, json.dumps(args, ensure_ascii=False, separators=(",", ":")), QUEUE, DEFAULT_PRIORITY,
        State.READY, at, None, None, 1, 0, 0, None, None, False, False, old.owner,
        None if trace is None else stamped(None, trace),
    )  # fmt: skip
    return made, QUEUED


def _options(text: str | None) -> Mapping[str, Any]:
    """Those of the job. What somebody else has made of them must not keep jobs from ending: then nobody is told."""
    try:
        said = None if text is None else json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def told(old: Finished) -> dict[str, Any]:
    """What others may know of a job that has ended: of an error only what is public, as over HTTP."""
    data: dict[str, Any] = {
        "id": old.id,
        "task": old.task,
        "state": _STATES[old.state],
        "attempt": old.attempt,
        "finishedAt": old.finished_at,
    }
    if old.key is not None:
        data["key"] = old.key
    if old.state is State.SUCCEEDED:
        if old.result is not None and len(old.result.encode()) > MAX_RESULT:
            data["resultOmitted"] = True
        else:
            data["result"] = redact.plain(old.result)
    elif old.error is not None:
        data["error"] = _public(json.loads(old.error))
    return data


def _public(error: Mapping[str, Any]) -> dict[str, Any]:
    """Of an error that is not public: what kind it is."""
    names = ("kind", "title", "detail", "status", "type", "reason") if error.get("public") else ("kind",)
    return {name: error[name] for name in names if error.get(name) is not None}
