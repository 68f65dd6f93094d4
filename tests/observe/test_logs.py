"""Lines of the log: JSON or text, and whose they are, in every executor."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath, Retry, logs
from offpath.core.trace import trace_of
from offpath.errors import ConfigurationError
from offpath.observe import signal
from offpath.tracing import continuing
from tests.engine import cpu
from tests.engine.children import LONG, working

log = logging.getLogger("shop")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything, as `configure(format="json")` writes it."""
    root = logging.getLogger()
    before = root.level
    stream = io.StringIO()
    handler = logs.configure(format="json", level="debug", stream=stream)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


def lines(stream: io.StringIO, logger: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in found if line["logger"] == logger]


def test_a_signal_is_one_object_with_its_fields(said: io.StringIO) -> None:
    signal("store.migrated", url="sqlite:///x.db", migrations="0001\n0002")
    (line,) = lines(said, "offpath.store")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("time"))
    assert line.pop("message").startswith("store.migrated url=")
    assert line == {
        "level": "info",
        "logger": "offpath.store",
        "signal": "store.migrated",
        "fields": {"url": "sqlite:///x.db", "migrations": "0001\n0002"},
    }


def test_whatever_is_logged_is_one_line_of_ascii(said: io.StringIO) -> None:
    odd = "a\nb\u2028c\x1b[31mé"
    log.info("%s", odd, extra={"odd": object(), "deep": {"list": [1, {"é": None}]}, odd: odd, "long": "x" * 9_000})
    text = said.getvalue()
    assert text.isascii()
    assert text.count("\n") == 1
    (line,) = lines(said, "shop")
    assert line["message"] == odd
    assert line["fields"]["deep"] == {"list": [1, {"é": None}]}
    assert line["fields"]["odd"].startswith("<object object")
    assert len(line["fields"]["long"]) == logs.MAX_FIELD


def test_what_no_encoding_has_is_written_all_the_same() -> None:
    record = logging.LogRecord("shop", logging.INFO, "", 0, "\ud800", (), None)
    assert json.loads(logs.JsonLines().format(record).encode("ascii"))["message"] == "\ud800"


def test_an_exception_is_told_with_its_type_and_traceback(said: io.StringIO) -> None:
    try:
        raise ValueError("no\nroom")
    except ValueError:
        log.exception("it failed")
    (line,) = lines(said, "shop")
    assert (line["exception"]["type"], line["exception"]["message"]) == ("ValueError", "no\nroom")
    assert "test_logs.py" in line["exception"]["traceback"]


async def test_records_made_in_an_attempt_say_whose_they_are(lite: Offpath, said: io.StringIO) -> None:
    @lite.task(queue="mail", retry=Retry(max_attempts=1))
    async def on_loop() -> None:
        log.info("on the loop")
        await asyncio.to_thread(log.info, "in a thread of its own")
        raise ValueError("no")

    @lite.task(queue="mail")
    def in_thread() -> None:
        log.info("in a thread")

    async with lite, lite.worker():
        with continuing(f"00-{TRACE}-{SPAN}-01"):
            first = await on_loop.enqueue()
        second = await in_thread.enqueue()
        with pytest.raises(Exception, match="no"):
            await first.result(60)
        await second.result(60)
    by_message = {line["message"]: line for line in lines(said, "shop")}
    for message, job, task, trace in (
        ("on the loop", first, on_loop, TRACE),
        ("in a thread of its own", first, on_loop, TRACE),
        ("in a thread", second, in_thread, trace_of(second.id)),
    ):
        line = by_message[message]
        assert (line["job"], line["task"], line["queue"], line["attempt"]) == (job.id, task.name, "mail", 1)
        assert line["trace_id"] == trace
        assert re.fullmatch(r"[0-9a-f]{16}", line["span_id"])
    assert by_message["on the loop"]["span_id"] == by_message["in a thread of its own"]["span_id"] != SPAN
    (exhausted,) = [line for line in lines(said, "offpath.attempt") if line["signal"] == "attempt.exhausted"]
    assert (exhausted["job"], exhausted["trace_id"]) == (first.id, TRACE)
    assert exhausted["fields"]["error"] == "ValueError: no"


async def test_and_in_a_process(said: io.StringIO, tmp_path: Path) -> None:
    async with working(f"sqlite:///{tmp_path}/jobs.db", processes=1):
        with continuing(f"00-{TRACE}-{SPAN}-01"):
            job = await cpu.logs_in_process.enqueue()
        await job.result(LONG)
    (line,) = [line for line in lines(said, "cpu") if line["message"] == "in a process"]
    assert (line["job"], line["task"], line["attempt"]) == (job.id, cpu.logs_in_process.name, 1)
    assert line["trace_id"] == TRACE
    assert re.fullmatch(r"[0-9a-f]{16}", line["span_id"])


def test_outside_of_everything_nothing_is_bound(said: io.StringIO) -> None:
    log.info("hello")
    (line,) = lines(said, "shop")
    assert line.keys() == {"time", "level", "logger", "message"}


async def test_the_filter_goes_on_handlers_of_others_and_into_structlog(lite: Offpath) -> None:
    heard: list[logging.LogRecord] = []
    events: list[Any] = []

    class Mine(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    mine = Mine()
    mine.addFilter(logs.bind)
    log.addHandler(mine)

    @lite.task
    async def speaks() -> None:
        log.warning("hello")
        events.append(logs.bind(None, "info", {"event": "hello", "queue": "mine"}))

    try:
        async with lite, lite.worker():
            job = await speaks.enqueue()
            await job.result(60)
    finally:
        log.removeHandler(mine)
    (record,) = heard
    assert record.offpath["job"] == job.id  # type: ignore[attr-defined]
    assert record.offpath_span[0] == trace_of(job.id)  # type: ignore[attr-defined]
    (event,) = events
    assert (event["job"], event["queue"], event["trace_id"]) == (job.id, "mine", trace_of(job.id))
    assert logs.bind(None, "info", {"event": "x"}) == {"event": "x"}


def test_text_is_one_line_that_no_terminal_obeys() -> None:
    record = logging.LogRecord("shop", logging.INFO, "", 0, "a\n\x1b[2Jb é", (), None)
    record.offpath = {"job": "1", "task": "t", "queue": "q", "attempt": 2, "trace": "x"}
    line = logs.Text().format(record)
    assert line.endswith(r"INFO    shop a\n\x1b[2Jb é [job=1 task=t queue=q attempt=2]")
    assert line.isprintable()


def test_configure_is_idempotent_and_refuses_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setenv("OFFPATH_LOG_FORMAT", "json")
    first = logs.configure(stream=io.StringIO())
    second = logs.configure(stream=io.StringIO())
    try:
        assert isinstance(second.formatter, logs.JsonLines)
        assert [one for one in root.handlers if one not in before] == [second]
        assert first is not second
    finally:
        root.removeHandler(second)
        root.setLevel(level)
    with pytest.raises(ConfigurationError, match="json or text, not 'xml'"):
        logs.configure(format="xml")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="the level of the log is one of"):
        logs.configure(level="loud")
