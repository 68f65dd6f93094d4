"""The client's event stream: resumed, reset, ended, or replaced by polls. Answers from a list."""

import pytest

from offpath.client import following
from offpath.client.decisions import Event, Pace
from offpath.client.errors import RequestRefused, Unreachable
from offpath.client.flows import Record
from tests.client.play import LOST, QUIET, URL, After, Play, answer, operation, stream, types

END = (9, "succeeded", operation("succeeded", result=1))
HELLO = b"retry: 2000\n\n"


def follow(play: Play, after: str = "", record: Record | None = None) -> list[Event]:
    return play.events(following.events(play.kit, record or Record(URL, operation("queued")), after))


def resumed(play: Play) -> list[str | None]:
    return [sent.headers.get("last-event-id") for sent in play.sent if sent.url.endswith("/events")]


def test_sse_05_a_broken_stream_goes_on_after_the_last_event() -> None:
    first = stream((1, "snapshot", operation("running")), (2, "progress", {"percent": 10}))
    second = [*stream(), HELLO + b"id: 3\nevent: operation.progress\ndata: {}\n\nid: 4\ndata: cut", LOST]
    third = stream((4, "progress", {"percent": 40}), END)
    play = Play([*first, None, *second, *third])
    record = Record(URL, operation("queued"))
    events = follow(play, record=record)
    assert [event.id for event in events] == ["1", "2", "3", "4", "9"]
    assert types(events) == ["snapshot", "progress", "progress", "progress", "succeeded"]
    assert resumed(play) == [None, "2", "3"]
    assert record.document == operation("succeeded", result=1)
    assert play.pauses == [0.5, 2.0]  # as the server asked, once it had


def test_sse_12_it_can_begin_after_an_event_seen_before() -> None:
    play = Play([*stream(), None, *stream(END)])
    assert types(follow(play, after="7")) == ["succeeded"]
    assert resumed(play) == ["7", "7"]


def test_sse_06_a_gap_is_a_snapshot_that_says_so() -> None:
    play = Play(stream((5, "snapshot", {**operation("running"), "reset": True}), END))
    events = follow(play, after="2")
    assert [event.reset for event in events] == [True, False]


def test_sse_08_nothing_is_asked_after_the_end() -> None:
    play = Play([*stream(END)])
    follow(play)
    assert len(play.sent) == 1
    play = Play([answer(204)])
    assert follow(play, after="9") == []
    assert len(play.sent) == 1


def test_opr_14_events_of_any_name_are_passed_on() -> None:
    odd = b"event: tick\ndata: no JSON\n\ndata: [1]\n\nid: 4\nevent: operation.dreaming\ndata: {}\n\n"
    play = Play([*stream(), odd, *stream(END)[1:]])
    events = follow(play)
    assert [(event.type, event.id, event.data) for event in events[:3]] == [
        ("tick", "", "no JSON"),
        ("message", "", [1]),
        ("operation.dreaming", "4", {}),
    ]


@pytest.mark.parametrize(
    "instead",
    [
        [answer(406)],
        [answer(503, retry_after="5")],
        [answer(429)],
        [answer(200, content_type="text/html")],
        [QUIET],
        [*stream(), QUIET],
    ],
)
def test_sse_11_where_there_is_no_stream_it_polls(instead: list[object]) -> None:
    polls = [
        answer(200, operation("running"), etag='"2"', retry_after="3"),
        After(20, answer(304, preference_applied="wait")),
        After(4, answer(200, operation("running", attempt=2), etag='"3"', preference_applied="wait")),
        answer(200, operation("failed", error={"title": "Boom"})),
    ]
    play = Play([*instead, *polls])
    events = follow(play)
    assert types(events) == ["snapshot", "snapshot", "failed"]
    assert events[-1].last
    asked = [(sent.headers.get("prefer"), sent.headers.get("if-none-match")) for sent in play.sent[1:]]
    assert asked == [(None, None), ("wait=25", '"2"'), ("wait=25", '"2"'), ("wait=25", '"3"')]
    assert play.pauses == [3]
    assert play.closed == 1


def test_a_stream_that_falls_silent_after_it_spoke_is_opened_again() -> None:
    """Two heartbeats without a byte: the connection is dead, but streams as such do come through."""
    play = Play([*stream((1, "snapshot", operation())), QUIET, *stream(END)])
    assert types(follow(play)) == ["snapshot", "succeeded"]
    assert all(getattr(sent, "quiet", 30) == 30 for sent in play.sent)


def test_sse_15_a_server_that_restarts_is_waited_for() -> None:
    refused = [LOST, answer(502), answer(500), LOST]
    play = Play([*stream((1, "snapshot", operation())), None, *refused, *stream(END)])
    assert types(follow(play)) == ["snapshot", "succeeded"]
    assert play.pauses == [0.5, 1, 2, 4, 8]
    assert resumed(play) == [None, *["1"] * 5]


def test_patience_ends_for_streams_too() -> None:
    for failing, error in (([LOST] * 5, Unreachable), ([answer(500)] * 5, RequestRefused)):
        with pytest.raises(error):
            follow(Play(failing, Pace(first=1, patience=10)))
    with pytest.raises(Unreachable, match="again and again"):
        follow(Play([*stream(), HELLO, None] * 4, Pace(first=1, patience=6)))


def test_sse_11_a_refusal_is_raised() -> None:
    for status in (401, 403, 404, 410):
        with pytest.raises(RequestRefused) as caught:
            follow(Play([answer(status, {"title": "No"})]))
        assert caught.value.status == status


def test_an_operation_answered_at_once_has_one_event() -> None:
    play = Play([])
    [event] = follow(play, record=Record("", {"status": "succeeded", "done": True, "result": 1}))
    assert event.last
    assert event.data["result"] == 1
