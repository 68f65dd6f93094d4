"""Server-sent events: the framing (WHATWG HTML §9.2), and the stream of one operation.

A stream is a view of the event log and nothing else, so any replica can go on where another stopped. It subscribes
first and reads then: what is committed in between is either read or announced. Nothing is buffered beyond one page of
the log, and the next page is read only when the client has taken this one; a client too slow for that is cut off by
whoever sends, and resumes by id. Docs: docs/explanation/sse.md.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from ..core.events import TERMINAL
from ..observe import meters
from ..ports import EventRow, OperationRow
from .operations import done, dumps, moment, progress, status
from .problems import Problems
from .watch import Watcher

PAGE = 100  # events read at once
RECONNECT = 2_000  # ms, before jitter
BEAT = b":\n\n"
_LINE_END = re.compile("\r\n|\r|\n")  # never str.splitlines: U+2028, U+0085 and friends are text here
_NUMBER = re.compile(r"[0-9]{1,15}")


def frame(event: str, data: str, id: int) -> bytes:
    """One event. `data` is any text; every line end in it begins another `data:` line."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"id: {id}\nevent: {event}\n{lines}\n".encode()


def retry(milliseconds: int) -> bytes:
    """How long an EventSource waits before it connects again."""
    return b"retry: %d\n\n" % milliseconds


def last_event_id(header: str | None, query: str | None) -> int | None:
    """Where to resume: the header wins over `?last_event_id=`; what is no number of ours counts as none."""
    text = header if header is not None else query
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def name(event: EventRow) -> str:
    return "operation." + event.type


def data(event: EventRow, problems: Problems) -> dict[str, Any]:
    """What a client may read of one line of the log: the members below and nothing else."""
    said: dict[str, Any] = json.loads(event.data)
    shown: dict[str, Any] = {"sequence": event.seq, "at": moment(event.at)}
    match event.type:
        case "progress":
            shown |= progress(said, over=False)
        case "retrying":
            error = said.get("error")
            error = json.loads(error) if isinstance(error, str) else error
            shown |= {"attempt": said.get("attempt"), "delay": said.get("delay")}
            if isinstance(error, dict):
                shown["error"] = problems.public(error)
        case "output":
            shown |= said
        case _:
            shown |= {key: said[key] for key in ("attempt", "reason") if key in said}
    return shown


class Source(Protocol):
    """What a stream asks of the service, already tied to one operation and its owner."""

    watcher: Watcher
    problems: Problems
    recheck: float  # seconds between two times that the caller is looked at again

    async def row(self) -> OperationRow | None:
        """The operation now; None when it is gone, or no longer this caller's."""
        ...

    async def trusted(self) -> bool:
        """May the caller still look?"""
        ...

    async def events(self, after: int, limit: int) -> list[EventRow]: ...
    def document(self, row: OperationRow, **more: Any) -> str: ...


async def stream(
    source: Source,
    id: str,
    after: int | None,
    *,
    heartbeat: float,
    poll: float,
    u: float,
) -> AsyncIterator[bytes]:
    """The frames of one operation after event `after` (None: from its present state) until it has ended.

    Ends without a terminal event when the operation has been deleted, the caller may no longer look, or the server
    goes down.
    """
    time = asyncio.get_running_loop().time
    with meters.during("offpath_streams_open"), source.watcher.watch(id) as watch:
        yield retry(round(RECONNECT * (0.8 + 0.4 * u)))
        quiet = checked = time()
        row = await source.row()
        if row is None:
            return
        seen = after if after is not None and after <= row.seq else None
        if done(row) and seen == row.seq:
            return
        gap = False
        while True:
            if seen is None:  # the whole state, then on from there
                over = done(row)
                seen = row.seq - 1 if over else row.seq
                yield frame("operation.snapshot", source.document(row, **({"reset": True} if gap else {})), seen)
                if over:
                    yield frame("operation." + status(row), source.document(row), row.seq)
                    return
                quiet = time()
            page = await source.events(seen, PAGE)
            if not page and seen < row.seq:  # the log no longer reaches back to there
                seen, gap = None, True
                continue
            for event in page:
                if time() - checked >= source.recheck:  # however busy the stream, and however slow its reader
                    row = await source.row()
                    if row is None or not await source.trusted():
                        return
                    checked = time()
                if event.seq != seen + 1 or event.type in TERMINAL:
                    row = await source.row()
                    if row is None:
                        return
                    if event.seq == seen + 1:
                        yield frame(name(event), source.document(row), event.seq)
                        return
                    seen, gap = None, True
                    break
                yield frame(name(event), dumps(data(event, source.problems)), event.seq)
                seen = event.seq
                quiet = time()
            if page:
                continue
            now = time()
            if now - quiet >= heartbeat or now - checked >= source.recheck:
                row = await source.row()
                if row is None or not await source.trusted():
                    return
                checked = time()
            if now - quiet >= heartbeat:
                yield BEAT
                quiet = time()
            if not await watch.next(min(poll, quiet + heartbeat - time())):
                return


async def until(
    watcher: Watcher,
    id: str,
    seen: int,
    seconds: float,
    poll: float,
    events: Callable[[int, int], Awaitable[list[EventRow]]],
    enough: Callable[[list[EventRow]], bool],
) -> None:
    """Hold a poll: return when `enough` of the log after `seen` has come, after `seconds`, or when the server goes
    down."""
    time = asyncio.get_running_loop().time
    end = time() + seconds
    with meters.during("offpath_polls_held"), watcher.watch(id) as watch:
        while True:
            page = await events(seen, PAGE)
            if page:
                seen = page[-1].seq
                if enough(page):
                    return
                continue
            if time() >= end or not await watch.next(min(poll, end - time())):
                return
