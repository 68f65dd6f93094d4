"""What the client decides, as values in and values out."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from offpath.client.decisions import (
    Answer,
    Event,
    Pace,
    Stream,
    backoff,
    between_polls,
    fold,
    follow,
    is_done,
    operation_url,
    origin,
    resolve,
    retry_after,
    start_again,
    stream_of,
    told,
)
from offpath.client.errors import ForeignLink
from offpath.errors import ConfigurationError
from tests.client.play import BASE, NOON, answer, operation


def test_pol_09_both_forms_of_retry_after() -> None:
    at = datetime.fromtimestamp(NOON, UTC)
    assert retry_after("120", NOON) == 120
    assert retry_after(" 7 ", NOON) == 7
    assert retry_after(format_datetime(at + timedelta(seconds=90), usegmt=True), NOON) == 90
    assert retry_after((at + timedelta(seconds=5)).strftime("%A, %d-%b-%y %H:%M:%S GMT"), NOON) == 5  # obsolete, valid
    assert retry_after(format_datetime(at - timedelta(hours=1), usegmt=True), NOON) == 0
    for nonsense in (None, "", "soon", "-1", "1.5", "1_0", "٣", "Fri, 99 Nov 2026 00:00:00 GMT", "9" * 400 + "x"):
        assert retry_after(nonsense, NOON) is None, nonsense


def test_pol_09_a_date_without_a_zone_is_in_gmt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after("Fri Jan 15 08:00:08 2027", NOON) == 8  # of C's asctime
    finally:
        monkeypatch.undo()
        time.tzset()


def test_pol_09_what_was_told_is_between_a_second_and_the_longest_pause() -> None:
    pace = Pace(longest=20)
    given = {"0": 1, "1": 1, "15": 15, "20": 20, "86400": 20, "9" * 4_000: 20}
    assert {text: told(answer(503, retry_after=text), NOON, pace) for text in given} == given
    assert told(answer(503), NOON, pace) is None


def test_pol_09_backoff_doubles_up_to_the_longest_pause() -> None:
    pace = Pace(first=0.5, longest=10)
    assert [backoff(n, 0.0, pace) for n in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert backoff(10_000, 0.0, pace) == 10
    assert all(backoff(3, u, pace) == 2 * (1 - u / 2) for u in (0.1, 0.5, 0.99))


def test_pol_09_a_held_poll_has_waited_already() -> None:
    pace = Pace()
    held = answer(200, retry_after="6", preference_applied="wait")
    assert between_polls(held, 25.0, NOON, pace) == 0
    assert between_polls(held, 0.01, NOON, pace) == 6  # the server had no room to hold it
    assert between_polls(answer(200, retry_after="6"), 25.0, NOON, pace) == 6
    assert between_polls(answer(200), 0.01, NOON, pace) == 1


@pytest.mark.parametrize(
    ("status", "headers", "kind", "again"),
    [
        (502, {}, "about:blank", True),
        (503, {}, "about:blank", True),
        (504, {}, "about:blank", True),
        (429, {"retry_after": "3"}, "about:blank", True),
        (429, {}, "about:blank", False),
        (409, {"retry_after": "1"}, "https://x.example/in-flight", True),
        (409, {"retry_after": "1"}, "https://x.example/held", False),
        (409, {}, "about:blank", False),
        (500, {"retry_after": "1"}, "about:blank", False),  # it ran
        (422, {"retry_after": "1"}, "about:blank", False),
        (202, {}, "", False),
    ],
)
def test_idk_05_when_a_start_is_repeated(status: int, headers: dict[str, str], kind: str, again: bool) -> None:
    assert start_again(answer(status, {"type": kind}, **headers)) is again


def test_sse_11_what_the_answer_to_a_stream_means() -> None:
    page = answer(200, content_type="text/html")
    events = answer(200, content_type="Text/Event-Stream; charset=utf-8")
    assert (stream_of(events), stream_of(page), stream_of(answer(204))) == (Stream.READ, Stream.POLL, Stream.ENDED)
    assert {stream_of(answer(status)) for status in (406, 429, 503, 501, 302)} == {Stream.POLL}
    assert {stream_of(answer(status)) for status in (500, 502, 504, 408)} == {Stream.AGAIN}
    assert {stream_of(answer(status)) for status in (400, 401, 403, 404, 410)} == {Stream.REFUSED}


def test_sec_05_links_are_followed_on_the_same_origin_only() -> None:
    assert resolve(BASE, "/api/reports") == f"{BASE}/api/reports"
    assert resolve(BASE, "https://API.example:443/x") == "https://API.example:443/x"
    assert follow(BASE, "/operations/7") == "https://api.example/operations/7"
    assert follow("http://[::1]:80", "http://[::1]/x") == "http://[::1]/x"
    for foreign in (
        "https://evil.example/operations/7",
        "http://api.example/operations/7",
        "https://api.example:8443/operations/7",
        "https://api.example@evil.example/operations/7",
        "https://user@api.example/operations/7",
        "https://api.example\\@evil.example/7",
        "https://api.example.evil.example/",
        "//evil.example/operations/7",
        "https://api.example:99999/",
        "https://api.example:443 @evil.example/",
        "file://api.example/etc/passwd",
    ):
        with pytest.raises(ForeignLink):
            follow(BASE, foreign)
        with pytest.raises(ForeignLink):
            operation_url(BASE, "/operations", foreign)
    with pytest.raises(ForeignLink):
        follow(BASE, "javascript:alert(1)//x://")


def test_an_operation_is_named_by_id_path_or_url() -> None:
    assert operation_url(BASE, "/operations", "42") == f"{BASE}/operations/42"
    assert operation_url(BASE, "jobs/", "a?b") == f"{BASE}/jobs/a%3Fb"
    assert operation_url(BASE, "/operations", "/operations/42") == f"{BASE}/operations/42"
    assert operation_url(BASE, "/operations", f"{BASE}/operations/42") == f"{BASE}/operations/42"
    for wrong in ("api.example", "ftp://api.example", "https://", "https://a:b", ""):
        with pytest.raises(ConfigurationError):
            origin(wrong)


def test_opr_14_a_status_we_do_not_know_has_not_ended() -> None:
    assert not is_done({"status": "hibernating", "done": False})
    assert not is_done({"status": "hibernating"})
    assert is_done({"status": "succeeded"})
    assert is_done({"status": "hibernating", "done": True})
    assert not is_done({})


def test_opr_14_events_that_we_do_not_know_leave_the_operation_as_it_is() -> None:
    before = operation("running", moon="full")
    for event in (
        Event("operation.dreaming", "3", {"depth": 2}),
        Event("tick", "4", "text"),
        Event("message", "", None),
        Event("operation.progress", "5", "no object"),
    ):
        assert fold(before, event) == before
        assert not event.last
        assert not event.reset
    assert not Event("succeeded", "", {}).last  # someone else's word


def test_the_operation_follows_its_events() -> None:
    at = operation("queued")
    at = fold(at, Event("operation.started", "2", {"attempt": 1}))
    assert (at["status"], at["attempt"]) == ("running", 1)
    at = fold(at, Event("operation.progress", "3", {"sequence": 3, "percent": 40, "message": "halfway", "x": 1}))
    assert at["progress"] == {"percent": 40, "message": "halfway"}
    at = fold(at, Event("operation.retrying", "4", {"attempt": 2}))
    assert (at["status"], at["attempt"]) == ("queued", 2)
    at = fold(fold(at, Event("operation.started", "5", {"attempt": 2})), Event("operation.canceling", "6", {}))
    at = fold(at, Event("operation.progress", "7", {"percent": 50}))
    assert at["status"] == "canceling"
    at = fold(at, Event("operation.snapshot", "9", {**operation("running"), "reset": True}))
    assert at == operation("running")
    assert fold(at, Event("operation.canceled", "10", operation("canceled"))) == operation("canceled")


def test_an_answer_that_is_no_problem_document_is_one_all_the_same() -> None:
    for body in (b"<html>", b"", b"[]", b"[" * 100_000):
        assert Answer(502, {}, body).problem() == {"type": "about:blank", "title": "Refused", "status": 502}


def test_a_pace_refuses_times_that_make_no_sense() -> None:
    for wrong in ({"first": 0}, {"longest": -1}, {"heartbeat": 0}, {"hold": -1}, {"patience": -1}):
        with pytest.raises(ConfigurationError):
            Pace(**wrong)
