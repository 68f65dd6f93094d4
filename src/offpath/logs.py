"""Lines of the log: as JSON or for people, and whose each of them is.

    from offpath import logs

    logs.configure(format="json")              # all of it: a handler on stderr, with both
    handler.addFilter(logs.bind)               # or your own logging, and only whose a record is
    structlog.configure(processors=[logs.bind, …])

What is bound is the job, task, queue and attempt in whose attempt a record is made, on the loop, in a thread or in a
process, and the trace it belongs to, in requests too.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from .errors import ConfigurationError
from .privacy.known import FILTER, scrub
from .tracing import current
from .tracing.labels import JobLabels

Format = Literal["json", "text"]
FORMATS: Final = ("json", "text")
LEVELS: Final = ("debug", "info", "warning", "error")
MAX_MESSAGE, MAX_FIELD = 32_000, 4_000  # characters

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "offpath", "offpath_span"}
_JOB = ("job", "task", "queue", "attempt")


class Bind(JobLabels):
    """See `bind`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps every record: `record.offpath` is a dict of job, task, queue, attempt and trace where it is an
        attempt's, `record.offpath_span` a pair of trace id and span id where there is a trace."""
        super().filter(record)
        if not hasattr(record, "offpath_span") and (here := current()) is not None:
            record.offpath_span = here.trace_id, here.span_id
        return True

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A processor of structlog: job, task, queue, attempt, trace_id and span_id, where they are not there yet."""
        if (labels := self.labels()) is not None:
            for name in _JOB:
                event.setdefault(name, labels[name])
        if (here := current()) is not None:
            event.setdefault("trace_id", here.trace_id)
            event.setdefault("span_id", here.span_id)
        return event


bind: Final = Bind()
"""Says whose a record is: a filter for handlers of yours, and a processor for structlog. Nothing is worked out for what
nobody logs. (On a handler, not on a logger: filters of loggers do not see what other loggers hand up.)"""


class JsonLines(logging.Formatter):
    """One object on each line: time (RFC 3339, UTC), level, logger, message; signal and fields where it is one of ours
    (`offpath.observe.SIGNALS`) or has an `extra`; job, task, queue, attempt, trace_id and span_id where they are known;
    exception, with type, message and traceback. ASCII: whatever was logged, it is one line."""

    def format(self, record: logging.LogRecord) -> str:
        ours: dict[str, Any] = dict(getattr(record, "offpath", None) or {})
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if "signal" in ours:
            said["signal"] = ours.pop("signal")
        said["message"] = _clipped(record.getMessage(), MAX_MESSAGE)
        for name in _JOB:
            if name in ours:
                said[name] = ours.pop(name)
        trace, span = getattr(record, "offpath_span", None) or (None, None)
        trace = ours.pop("trace", None) or trace
        if trace is not None:
            said["trace_id"] = trace
        if span is not None:
            said["span_id"] = span
        ours |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if ours:
            said["fields"] = {str(name): _plain(value) for name, value in ours.items()}
        if (exception := self._exception(record)) is not None:
            said["exception"] = exception
        return json.dumps(said, default=repr)

    def _exception(self, record: logging.LogRecord) -> dict[str, str] | None:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text = record.exc_text or self.formatException(record.exc_info)
            kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
            return {
                "type": kind,
                "message": _clipped(scrub(str(error)), MAX_FIELD),
                "traceback": _clipped(text, MAX_MESSAGE, keep_end=True),
            }
        if record.exc_text:  # from a process of its own: it came as text
            last = record.exc_text.rstrip().rpartition("\n")[2]
            kind, _, message = last.partition(": ")
            return {"type": kind, "message": message, "traceback": record.exc_text}
        return None


class Text(logging.Formatter):
    """A line for people. What would move a terminal's cursor, a line break among it, is written as `\\n` and the like;
    a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        ours = getattr(record, "offpath", None)
        if ours and "signal" not in ours:  # a signal has its fields in its text
            line += f" [{' '.join(f'{name}={ours[name]}' for name in _JOB if name in ours)}]"
        return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def configure(
    *, format: Format | None = None, level: str | None = None, stream: TextIO | None = None
) -> logging.Handler:
    """Log everything of this process from `level` up (default: OFFPATH_LOG_LEVEL, or info) to `stream` (stderr), as
    `format` says (OFFPATH_LOG_FORMAT, or text), with jobs and traces bound. Gives the handler; called again, it takes
    the place of the one before. Handlers that others have made stay. ConfigurationError for another format or level.
    """
    chosen: str = os.environ.get("OFFPATH_LOG_FORMAT", "text") if format is None else format
    lowest = (os.environ.get("OFFPATH_LOG_LEVEL", "info") if level is None else level).lower()
    if chosen not in FORMATS:
        raise ConfigurationError(f"the format of the log is json or text, not {chosen!r}")
    if lowest not in LEVELS:
        raise ConfigurationError(f"the level of the log is one of {', '.join(LEVELS)}, not {lowest!r}")
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if chosen == "json" else Text())
    handler.addFilter(bind)
    handler.addFilter(FILTER)  # a worker puts it on those that it finds; this one need not wait for that
    root.addHandler(handler)
    root.setLevel(lowest.upper())
    return handler


def settle(format: Format | None, level: str | None) -> None:
    """What `offpath worker` does once the app is loaded, so that nothing is logged twice. An app that has set logging
    up keeps it, with jobs and traces bound; where a flag or the environment says how to log, that counts, and handlers
    of the app that write to stdout or stderr give way. ConfigurationError as in `configure`."""
    root = logging.getLogger()
    theirs = [one for one in root.handlers if not isinstance(one, _Handler)]
    said = format or level or os.environ.get("OFFPATH_LOG_FORMAT") or os.environ.get("OFFPATH_LOG_LEVEL")
    if theirs and not said:
        for handler in theirs:
            handler.addFilter(bind)
        return
    for handler in theirs:
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr):
            root.removeHandler(handler)
    configure(format=format, level=level)


class _Handler(logging.StreamHandler[TextIO]):
    """That of `configure`."""


def _plain(value: object) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, str):
        return _clipped(value, MAX_FIELD)
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return _clipped(repr(value), MAX_FIELD)
    return value if len(text) <= MAX_FIELD else _clipped(text, MAX_FIELD)


def _clipped(text: str, most: int, *, keep_end: bool = False) -> str:
    if len(text) <= most:
        return text
    return "…" + text[1 - most :] if keep_end else text[: most - 1] + "…"
