"""W3C Trace Context, level 2 (https://www.w3.org/TR/trace-context-2/): two headers, and the line a job keeps of them.

A trace is never a reason to refuse anything: what is not valid is as if it had not been sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

SAMPLED, RANDOM = 0x01, 0x02
KNOWN_FLAGS = SAMPLED | RANDOM
MAX_MEMBERS = 32
MAX_STATE = 512  # characters kept with a job: what everyone must pass on at least (§3.3.1.5)
LONG_MEMBER = 128  # characters; longer ones go first when there is too much

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rf"([a-z0-9][a-z0-9_\-*/@]{{0,255}})={_VALUE}")
_BLANK = " \t"


class Trace(NamedTuple):
    """A place in a trace: lower-case hex, as the headers have it.

    trace_id  of the whole story, 32 digits
    span_id   of this part of it, 16 digits
    flags     1: whoever began this part records it (sampled); 2: the end of trace_id is random
    state     `tracestate`, "" for none
    """

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)

    def child(self, span_id: str) -> Trace:
        """A part of the same trace, begun by this one."""
        return self._replace(span_id=span_id)


def parse(parents: Iterable[str], states: Iterable[str] = ()) -> Trace | None:
    """The lines of `traceparent` and `tracestate` as a trace; None unless there is exactly one valid traceparent.

    Of a version to come only what this one knows is read (§4.3). An invalid tracestate is dropped as a whole, alone.
    """
    lines = list(parents)
    if len(lines) != 1:
        return None
    match = _PARENT.fullmatch(lines[0].strip(_BLANK))
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Trace(trace_id, span_id, int(flags, 16) & KNOWN_FLAGS, parse_state(states))


def parse_state(lines: Iterable[str]) -> str:
    """The lines of `tracestate` as one; "" when a member is malformed, a key is there twice, or there are too many."""
    members = [stripped for line in lines for member in line.split(",") if (stripped := member.strip(_BLANK))]
    if len(members) > MAX_MEMBERS:
        return ""
    keys = set()
    for member in members:
        match = _MEMBER.fullmatch(member)
        if match is None:
            return ""
        keys.add(match[1])
    return _shortened(members) if len(keys) == len(members) else ""


def _shortened(members: list[str]) -> str:
    """Whole members only: long ones go first, then those at the end, which were there before the others (§3.3.1.5)."""
    state = ",".join(members)
    if len(state) <= MAX_STATE:
        return state
    for index in reversed(range(len(members))):
        if len(members[index]) > LONG_MEMBER:
            del members[index]
            if len(state := ",".join(members)) <= MAX_STATE:
                return state
    while len(state) > MAX_STATE:
        members.pop()
        state = ",".join(members)
    return state


# ── with the job ─────────────────────────────────────────────────────────────────────────────────────────────────────
# The last member of the row's `options`: '{"timeout": 5.0, "trace": "00-… foo=1"}'. There is one way to write it, so it
# is found, and cut off, without reading the JSON; inside of a JSON string a quote is escaped and the mark cannot occur.

_MARK = '"trace": "'


def stamped(options: str | None, trace: Trace) -> str:
    """The options of a job that is started in this trace."""
    line = f'"{trace.traceparent}"' if not trace.state else json.dumps(f"{trace.traceparent} {trace.state}")
    return f'{{"trace": {line}}}' if options is None else f'{options[:-1]}, "trace": {line}}}'


def unstamped(options: str | None) -> str | None:
    """The options without the trace: the same for jobs that are run the same way."""
    if options is None or (at := options.rfind(_MARK)) < 0:
        return options
    return None if at == 1 else options[: at - 2] + "}"


def started_in(options: str | None) -> Trace | None:
    """The trace a job was started in; None when there was none, or it cannot be read."""
    if options is None or (at := options.rfind(_MARK)) < 0:
        return None
    try:
        line = json.loads(options[at + len(_MARK) - 1 : -1])
    except ValueError:
        return None
    parent, _, state = line.partition(" ")
    return parse((parent,), (state,))


def attempt_of(job: str, fence: int, options: str | None) -> Trace:
    """The part of the trace that one delivery of a job is. The fence makes it a new one each time; nobody keeps it.

    A job that was started in no trace begins its own, named like the job: an id ends in 62 random bits. It is not
    sampled, as is the rule for a trace whose beginning records nothing (§3.2.2.3).
    """
    begun = started_in(options) or Trace(trace_of(job), "", RANDOM)
    tail = int(trace_of(job)[16:], 16)
    return begun.child(f"{(tail + fence * _STEP) % 2**64 or 1:016x}")


_STEP = 0x9E3779B97F4A7C15  # odd, so no two fences of a job meet; and far, so that neighbours do not look alike


def trace_of(job: str) -> str:
    """The id of the trace that a job begins by itself."""
    return job.replace("-", "")


def trace_id(job: str, options: str | None) -> str:
    """The id of the trace a job belongs to, for its lines in the log."""
    begun = started_in(options)
    return trace_of(job) if begun is None else begun.trace_id
