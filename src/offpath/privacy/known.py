"""Secret values that attempts in this process know at the moment, and the texts they are cut out of."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Set
from typing import Any

from ..core.redact import CUT, LONGEST, SHORTEST, Scrubber
from .secret import values_in

_lock = threading.Lock()
_known: dict[Hashable, frozenset[str]] = {}
_all: tuple[str, ...] = ()  # the longest first: one may be a part of another
_ended: deque[tuple[float, Hashable]] = deque()
_scrubber = Scrubber()
LINGER = 10.0  # s
MOST = 200  # ended attempts whose secrets are still known


def use(patterns: Iterable[str]) -> None:
    """Cut what these match, too: an application's own, from now on, in this process. ConfigurationError."""
    global _scrubber
    with _lock:
        new = [one for one in patterns if one not in _scrubber.patterns]
        if new:
            _scrubber = Scrubber((*_scrubber.patterns, *new))


def learn(attempt: Hashable, values: object) -> None:
    """An attempt knows the secrets in these values, from now on until `forget`."""
    global _all
    found = {spelt for value in values_in(values) for spelt in spellings(value)}
    if found:
        _expire(time.monotonic())
        with _lock:
            _known[attempt] = _known.get(attempt, frozenset()) | found
            _all = _sorted(_known.values())


def forget(attempt: Hashable) -> None:
    """It has ended. What it knew is cut for a little longer: its outcome, or its exception, is still told of."""
    if attempt in _known:
        now = time.monotonic()
        with _lock:
            _ended.append((now + LINGER, attempt))
        _expire(now)


def _expire(now: float) -> None:
    global _all
    if _ended and (_ended[0][0] <= now or len(_ended) > MOST):
        with _lock:
            while _ended and (_ended[0][0] <= now or len(_ended) > MOST):
                _known.pop(_ended.popleft()[1], None)
            _all = _sorted(_known.values())


def _sorted(known: Iterable[frozenset[str]]) -> tuple[str, ...]:
    return tuple(sorted(frozenset().union(*known), key=len, reverse=True))


def scrub(text: str) -> str:
    """The text without credentials and without any value that an attempt in this process knows as a Secret."""
    return _scrubber.text(text, _all)


def scrub_field(name: object, value: object, depth: int = 0) -> Any:
    """A value that somebody logs under this name, of whatever type: itself when there is nothing to cut.

    Mappings, lists and sets keep their shape (a dict, a list), what else has something to cut becomes text. A value is
    cut as a whole when it would be one after its name in a text (`password=…`).
    """
    try:
        if isinstance(value, str):
            if (cut := scrub(value)) != value:
                return cut
            pair = f"{name}={value}"
            return value if scrub(pair) == pair else CUT
        if value is None or isinstance(value, bool):
            return value
        shown = (repr(value),) if type(value) in _SAME else (repr(value), str(value))
    except Exception:  # somebody's own class: what cannot be shown is not shown by a handler either
        return value
    for text in shown:
        if (cut := scrub(text)) != text:
            try:
                return cut if depth >= DEEPEST else _cut_inside(value, cut, depth + 1)
            except Exception:  # changed by another thread meanwhile
                return cut
    return value


_SAME = frozenset({int, float, dict, list, tuple, set, frozenset, bytes})  # `str` of which says what `repr` does
DEEPEST = 16  # one that holds itself has no bottom


def _cut_inside(value: object, instead: str, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {scrub_field("", name, depth): scrub_field(name, one, depth) for name, one in value.items()}
    if isinstance(value, list | tuple | Set):
        return [scrub_field("", one, depth) for one in value]
    return instead


def scrub_line(text: str, attempt: Hashable) -> str:
    """JSON text for those who watch a job: without credentials, and without the secrets of this attempt alone, since
    it is data that somebody may count on."""
    if len(text) > LONGEST:
        return text
    own = _known.get(attempt, ())
    return _scrubber.json(text, sorted(own, key=len, reverse=True))


def spellings(value: object) -> set[str]:
    """How a secret may stand in a text: itself, as JSON writes it and as Python does. Too short ones are left out."""
    if isinstance(value, bytes):
        told = {value.decode("utf-8", "replace"), repr(value)[2:-1]}
        told |= {base64.b64encode(value).decode(), base64.urlsafe_b64encode(value).decode(), value.hex()}
    elif isinstance(value, bool) or value is None:
        return set()
    else:
        text = str(value)
        told = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
    return {one for one in told if len(one) >= SHORTEST}


class LogFilter(logging.Filter):
    """For a handler or a logger: takes credentials and known secrets out of each record's message, traceback and
    `extra`, whatever types those are of.

    Workers put it on the handlers that there are when they start; give it to those you add later:
    `handler.addFilter(LogFilter())`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            said = record.getMessage()
        except Exception:  # a message that cannot be formatted: the handler will say so
            return True
        kept = scrub(said)
        if kept != said:
            record.msg, record.args = kept, None
        if record.exc_info and not record.exc_text:
            text = _FORMAT.formatException(record.exc_info)
            if (cut := scrub(text)) != text:
                # Formatters show this instead of the exception; who reads the exception itself sees what it says.
                record.exc_text = cut
        elif record.exc_text:
            record.exc_text = scrub(record.exc_text)
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        for name, value in list(record.__dict__.items()):
            if name not in _OWN and (cut := scrub_field(name, value)) is not value:
                record.__dict__[name] = cut
        return True


_FORMAT = logging.Formatter()
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
FILTER = LogFilter()


def guard_logging() -> None:
    """Put the filter on every handler that there is."""
    if logging.lastResort is not None and FILTER not in logging.lastResort.filters:
        logging.lastResort.addFilter(FILTER)
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        if isinstance(logger, logging.Logger):
            for handler in logger.handlers:
                if FILTER not in handler.filters:
                    handler.addFilter(FILTER)
