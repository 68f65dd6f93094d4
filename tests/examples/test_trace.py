"""OBS-01 in the reference application: what it sends names the trace of the request that led to it."""

from offpath.core.trace import parse

from .conftest import World

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"


async def test_obs_01_the_push_and_the_e_mail_of_a_change_are_in_the_trace_of_its_request(world: World) -> None:
    world.received.letters.clear()
    world.received.calls.clear()
    headers = {"traceparent": f"00-{ID}-{SPAN}-03", "tracestate": "inner=1"}
    answer = await world.call("PATCH", "/api/user/update", {"username": "traced"}, **headers)
    assert answer.status_code == 200, answer.text
    await world.received.until(lambda seen: bool(seen.letters and seen.calls))
    sent = [parse([one.trace]) for one in (world.received.letters[0], world.received.calls[0])]
    assert [(one.trace_id, one.flags) for one in sent if one] == [(ID, 3)] * 2
    assert len({one.span_id for one in sent if one} | {SPAN}) == 3


async def test_obs_01_what_is_awaited_in_the_handler_is_too(world: World) -> None:
    world.received.letters.clear()
    body = {"username": "alice", "email": "traced@example.org", "phoneNumber": None}
    answer = await world.call("PUT", "/users/1", body, traceparent=f"00-{ID}-{SPAN}-00")
    assert answer.status_code == 200, answer.text
    (letter,) = world.received.letters
    there = parse([letter.trace])
    assert there is not None
    assert there.trace_id == ID
