"""Log records of a child reach the logging of its worker, which alone decides what becomes of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ...core.outcome import MAX_TRACEBACK, clean
from ...privacy.known import scrub, scrub_field
from ...tracing import current

MAX_TEXT = 32_000  # characters of one record's message
MAX_EXTRA = 4_000

_PLAIN = ("name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName", "created", "msecs",
          "process", "processName", "thread", "threadName")  # fmt: skip
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def levels() -> dict[str, Any]:
    """What a child has to know of this process's logging: which records nobody here would take."""
    said = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            said[name] = logger.level
    return {"levels": said, "disable": logging.root.manager.disable}


def forward(told: Mapping[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """In the child: every record leaves by `send`. What the application has set up while it was imported is put aside:
    the worker, which imported the same, has it too."""
    leaving = Forward(send)
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            for handler in logger.handlers[:]:
                logger.removeHandler(handler)
            if logger is logging.root or not logger.propagate:
                logger.addHandler(leaving)
    for name, level in told["levels"].items():
        logging.getLogger(name or None).setLevel(level)
    logging.disable(told["disable"])


class Forward(logging.Handler):
    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send({"say": "log", "record": packed(record)})
        except OSError:  # the worker is gone; so are we, in a moment
            pass
        except Exception:
            self.handleError(record)


def packed(record: logging.LogRecord) -> dict[str, Any]:
    """A record as JSON can carry it: its message and traceback as text, what was added to it as it is or as `repr`."""
    said = {name: getattr(record, name, None) for name in _PLAIN}
    said["msg"] = clean(scrub(record.getMessage()), MAX_TEXT)
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    if record.exc_text:
        said["exc_text"] = clean(scrub(record.exc_text), MAX_TRACEBACK, keep_end=True)
    if record.stack_info:
        said["stack_info"] = clean(scrub(record.stack_info), MAX_TRACEBACK)
    for name, value in record.__dict__.items():
        if name not in _OWN:
            said[name] = _plain(scrub_field(name, value))
    return said


def _plain(value: object) -> Any:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return clean(scrub(repr(value)), MAX_EXTRA)
    return value if len(text) <= MAX_EXTRA else clean(text, MAX_EXTRA)


def heard(said: Mapping[str, Any], labels: Mapping[str, Any]) -> None:
    """In the worker: hand on a record. `labels` say whose it is, unless it says so itself."""
    logger = logging.getLogger(said["name"])
    if not logger.isEnabledFor(said["levelno"]):
        return
    record = logging.makeLogRecord({"args": None, **said})
    if not hasattr(record, "offpath"):
        record.offpath = dict(labels)
    if not hasattr(record, "offpath_span") and (here := current()) is not None:
        record.offpath_span = here.trace_id, here.span_id
    logger.handle(record)
