"""Starts, polls, results: each flow against answers from a list."""

import pytest

from offpath.client import flows
from offpath.client.decisions import Pace
from offpath.client.errors import (
    ForeignLink,
    OperationCanceled,
    OperationFailed,
    RequestRefused,
    UnexpectedAnswer,
    Unreachable,
)
from offpath.client.flows import Record, Value
from offpath.errors import ResultTimeout
from tests.client.play import BASE, LOST, NOON, URL, After, Play, answer, operation

ACCEPTED = answer(202, operation("queued"), location=URL, etag='"1"', retry_after="2")


def begin(play: Play, *, key: str = "k-1", wait: float | None = None) -> Record:
    record = play.run(flows.start(play.kit, "POST", "/api/reports", {"x-trace": "1"}, b"{}", key, wait))
    assert isinstance(record, Record)
    return record


# ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_idk_01_a_start_carries_its_key_as_a_string_item_and_asks_for_async() -> None:
    play = Play([ACCEPTED])
    record = begin(play)
    [sent] = play.sent
    assert sent.url == f"{BASE}/api/reports"
    assert sent.headers["idempotency-key"] == '"k-1"'
    assert (sent.headers["prefer"], sent.headers["x-trace"]) == ("respond-async", "1")
    assert (record.url, record.etag, record.document["status"]) == (URL, '"1"', "queued")


def test_idk_09_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    again = [LOST, answer(502), answer(503, retry_after="3"), answer(504)]
    again += [answer(429, retry_after="5"), answer(409, {"type": "https://x/in-flight"}, retry_after="1")]
    play = Play([*again, ACCEPTED])
    begin(play)
    assert len(play.sent) == 7
    assert {sent.headers["idempotency-key"] for sent in play.sent} == {'"k-1"'}
    assert play.sent == [play.sent[0]] * 7
    assert play.pauses == [0.5, 1, 3, 4, 5, 1]


def test_idk_09_without_a_key_nothing_is_repeated() -> None:
    for failure in (LOST, answer(503, retry_after="1"), answer(429, retry_after="1")):
        play = Play([failure])
        with pytest.raises((Unreachable, RequestRefused)):
            begin(play, key="")
        assert len(play.sent) == 1
        assert "idempotency-key" not in play.sent[0].headers


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 415, 422, 500])
def test_idk_11_a_refusal_is_raised_with_its_problem(status: int) -> None:
    play = Play([answer(status, {"type": "https://x/no", "title": "No", "detail": "not today"})])
    with pytest.raises(RequestRefused, match=f"{status} No: not today") as caught:
        begin(play)
    assert (caught.value.status, caught.value.problem["type"]) == (status, "https://x/no")


def test_failures_are_borne_for_as_long_as_patience_lasts() -> None:
    play = Play([LOST] * 6, Pace(first=1, patience=40))
    with pytest.raises(Unreachable):
        begin(play)
    assert play.pauses == [1, 2, 4, 8, 16]
    play = Play([answer(503, {"title": "Busy"})] * 3, Pace(first=1, patience=5))
    with pytest.raises(RequestRefused, match="503 Busy"):
        begin(play)


def test_prf_03_a_start_may_be_answered_with_the_result_itself() -> None:
    play = Play([answer(201, {"url": "/r"})])
    record = begin(play, wait=5)
    assert play.sent[0].headers["prefer"] == "respond-async, wait=5"
    assert isinstance(play.sent[0], flows.Send)
    assert play.sent[0].timeout == 35
    assert play.run(flows.result(play.kit, record, 3)) == Value({"url": "/r"})
    assert play.run(flows.refresh(play.kit, record)).status == 200
    play.run(flows.cancel(play.kit, record, "late"))
    assert len(play.sent) == 1
    with pytest.raises(UnexpectedAnswer, match="no operation"):
        play.run(flows.delete(play.kit, record))
    for status, body, value in ((204, None, Value(None)), (200, None, Value(None))):
        record = begin(play := Play([answer(status, body)]), wait=1)
        assert play.run(flows.result(play.kit, record, None)) == value


def test_prf_07_a_202_without_a_body_is_followed_by_its_location() -> None:
    for name in ("location", "content_location", "operation_location"):
        record = begin(Play([answer(202, **{name: URL})]))
        assert (record.url, record.document["id"]) == (URL, "42")
    with pytest.raises(UnexpectedAnswer, match="Location"):
        begin(Play([answer(202, {"id": "42"})]))


def test_sec_05_credentials_never_follow_a_foreign_link() -> None:
    play = Play([answer(202, {"id": "42"}, location="https://evil.example/operations/42")])
    with pytest.raises(ForeignLink, match=r"evil\.example"):
        begin(play)
    evil = operation(links={"self": URL, "cancel": "https://evil.example/c", "result": "//evil.example/r"})
    with pytest.raises(ForeignLink):
        play.run(flows.cancel(play.kit, Record(URL, evil), None))
    with pytest.raises(ForeignLink):
        play.run(flows.result(play.kit, Record(URL, {**evil, "status": "succeeded", "done": True}), None))
    assert len(play.sent) == 1


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def result(play: Play, record: Record | None = None, timeout: float | None = None) -> Value:
    value = play.run(flows.result(play.kit, record or Record(URL, operation("queued")), timeout))
    assert isinstance(value, Value)
    return value


def test_pol_04_polls_are_held_and_asked_again_at_once() -> None:
    held = answer(200, operation(), preference_applied="wait", retry_after="9")
    play = Play([After(25, held), After(25, held), After(3, answer(200, operation("succeeded", result=7)))])
    assert result(play) == Value(7)
    assert [sent.headers["prefer"] for sent in play.sent] == ["wait=25"] * 3
    assert play.pauses == []


def test_pol_09_an_unheld_poll_waits_as_it_is_told_in_either_form() -> None:
    date = "Fri, 15 Jan 2027 08:00:09 GMT"
    at = answer(200, operation(), retry_after=date)
    play = Play(
        [
            answer(200, operation(), retry_after="4"),
            at,
            answer(200, operation()),
            answer(200, operation("succeeded", result=None)),
        ]
    )
    assert NOON == 1_800_000_000  # 08:00:00
    assert result(play) == Value(None)
    assert play.pauses == [4, 5, 1]


def test_pol_09_failures_of_the_poll_itself_are_survived() -> None:
    failures = [answer(500), LOST, answer(502), answer(503, retry_after="8"), answer(504), answer(429, retry_after="2")]
    play = Play([*failures, answer(200, operation("succeeded", result=[1]))])
    assert result(play) == Value([1])
    assert play.pauses == [0.5, 1, 2, 8, 8, 2]
    for status in (401, 403, 404, 410):
        with pytest.raises(RequestRefused) as caught:
            result(Play([answer(status, {"title": "Gone"})]))
        assert caught.value.status == status


def test_opr_14_members_and_states_that_we_do_not_know_are_passed_over() -> None:
    strange = operation("hibernating", dreams=[1], progress="warm")
    play = Play([answer(200, strange), answer(200, operation("succeeded", result="ok", links=None, moon={}))])
    assert result(play) == Value("ok")


def test_a_timeout_ends_the_waiting_and_nothing_else() -> None:
    play = Play(
        [After(5, answer(200, operation(), preference_applied="wait"))] * 2 + [After(2, answer(200, operation()))]
    )
    with pytest.raises(ResultTimeout, match="within 12 s"):
        result(play, timeout=12)
    assert [sent.headers.get("prefer") for sent in play.sent] == ["wait=12", "wait=7", "wait=2"]
    play = Play([answer(200, operation())] * 2)
    with pytest.raises(ResultTimeout):
        result(play, timeout=0.5)  # looks, and looks once more at the end
    assert play.pauses == [0.5]
    play = Play([answer(200, operation("succeeded", result=1))])
    assert result(play, timeout=0) == Value(1)
    with pytest.raises(ResultTimeout):
        result(Play([LOST] * 2, Pace(first=4)), timeout=5)


def test_res_01_a_result_that_is_not_inline_is_fetched() -> None:
    done = answer(200, operation("succeeded"))
    csv = answer(200, content_type="text/csv")._replace(body=b"a;b\r\n\xff")
    assert result(Play([done, csv])) == Value(b"a;b\r\n\xff", raw=True)
    assert result(Play([done, answer(204)])) == Value(None)
    play = Play([done, LOST, answer(201, {"x": 1}, content_type="application/vnd.x+json; charset=utf-8")])
    assert result(play) == Value({"x": 1})
    assert play.sent[-1].url == f"{URL}/result"
    with pytest.raises(RequestRefused):
        result(Play([done, answer(409, {"title": "The operation ended without a result"})]))
    with pytest.raises(UnexpectedAnswer):
        result(Play([done, answer(202, operation())]))


def test_res_04_a_redirect_to_the_result_means_success() -> None:
    play = Play([answer(303, location=f"{URL}/result"), answer(200, {"url": "/r"})])
    assert result(play) == Value({"url": "/r"})


def test_can_06_what_ended_without_a_result_says_why() -> None:
    error = {"type": "https://x/canceled", "title": "The operation was canceled", "reason": "too slow"}
    with pytest.raises(
        OperationCanceled, match="operation 42 canceled: The operation was canceled: too slow"
    ) as caught:
        result(Play([answer(200, operation("canceled", error=error))]))
    assert caught.value.problem == error
    with pytest.raises(OperationFailed, match="no reason given") as failed:
        result(Play([answer(200, operation("failed"))]))
    assert failed.value.operation["id"] == "42"
    with pytest.raises(OperationFailed):
        result(Play([answer(200, operation("exploded", done=True, error={"title": "Boom"}))]))


def test_an_answer_that_is_no_operation_is_no_endless_loop() -> None:
    with pytest.raises(UnexpectedAnswer, match="no operation"):
        result(Play([answer(200, [1, 2])]))


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_can_01_cancel_is_asked_until_there_is_an_answer() -> None:
    record = Record(URL, operation())
    play = Play([LOST, answer(503), answer(202, operation("canceling"), etag='"5"')])
    play.run(flows.cancel(play.kit, record, "late"))
    assert (record.document["status"], record.etag) == ("canceling", '"5"')
    assert {(sent.url, getattr(sent, "body", b"")) for sent in play.sent} == {(f"{URL}/cancel", b'{"reason": "late"}')}


def test_opr_13_delete_of_what_had_ended_may_find_it_gone() -> None:
    play = Play([LOST, answer(404)])
    play.run(flows.delete(play.kit, Record(URL, operation("failed"))))
    for status, known in ((404, {}), (410, operation()), (409, operation())):
        play = Play([answer(status)])
        with pytest.raises(RequestRefused, match=str(status)):
            play.run(flows.delete(play.kit, Record(URL, known)))


def test_lst_01_pages_are_asked_for_by_cursor_with_the_same_filters() -> None:
    play = Play([answer(200, {"items": [operation(), 3], "next_cursor": "c/1", "more": 1}), answer(200, {"items": []})])
    records, cursor = play.run(_all(play))
    assert ([record.url for record in records], cursor) == ([URL], "")
    assert [sent.url for sent in play.sent] == [
        f"{BASE}/operations?status=running",
        f"{BASE}/operations?status=running&cursor=c%2F1",
    ]
    play = Play([answer(200, {"items": None})])
    with pytest.raises(UnexpectedAnswer, match="no list"):
        play.run(flows.page(play.kit, (), ""))


def _all(play: Play):  # type: ignore[no-untyped-def]  # a flow made of two
    records, cursor = yield from flows.page(play.kit, (("status", "running"),), "")
    more, cursor = yield from flows.page(play.kit, (("status", "running"),), cursor)
    return records + more, cursor
