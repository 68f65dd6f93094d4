"""What the sender's side decides without a database: lines, rotation, what an attempt means for its delivery."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core.deliveries import again, derived, job
from offpath.core.ids import is_id
from offpath.core.job import State
from offpath.core.options import DAY, SECOND, CallOptions
from offpath.core.policy import callback_of, overrides
from offpath.ports.webhooks import DeliveryRow, DeliveryState, EndpointRow
from offpath.webhooks.deliveries import Terms, settle
from offpath.webhooks.lines import Lines
from offpath.webhooks.policy import Sent
from offpath.webhooks.rotation import current, rotated, sealed
from offpath.webhooks.vault import Vault

NOW = 1_800_000_000 * SECOND
ID = "01a21d87-43ec-71ec-89b5-6e9e82a95af2"
TERMS = Terms((0, 5, 300), 4, (), lambda tenant: None, None)
ROW = DeliveryRow(ID, ID, ID, ID, ID, "operation.succeeded", 3, None, DeliveryState.PENDING, 0, 0, None, NOW)
END = EndpointRow(ID, "", "alice", "https://a/", "", "[]", "s", None, True, None, None, None, 4, NOW, NOW)


def sent(status: int | None, retry_after: float | None = None) -> Sent:
    return Sent(status, 0.1, None if status else "timeout: x", retry_after)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whk_05_ids_are_worked_out_and_hold_no_dot() -> None:
    ids = [derived(ID, seq, endpoint) for seq in (3, 4) for endpoint in (ID, None)]
    assert ids == [derived(ID, seq, endpoint) for seq in (3, 4) for endpoint in (ID, None)]
    assert len(set(ids)) == 4
    assert all(is_id(id) and "." not in id for id in (*ids, again(ID, 1, NOW), again(ID, 2, NOW)))
    made, _ = job(ids[0], ids[0], None, ID, NOW)
    assert made.retry_of == ID
    assert (made.state, made.args) == (State.READY, json.dumps({"delivery": ids[0], "endpoint": None}).replace(" ", ""))


def test_whk_27_a_callback_travels_in_the_options_of_its_job() -> None:
    assert callback_of(overrides(CallOptions(callback="https://a.example/x"))) == "https://a.example/x"
    assert callback_of(overrides(CallOptions(timeout=5))) is None
    assert callback_of(None) is None


# ── what an attempt means ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (sent(204), DeliveryState.DELIVERED),
        (sent(302), DeliveryState.FAILED),
        (sent(400), DeliveryState.FAILED),
        (sent(410), DeliveryState.CANCELED),
        (sent(429), DeliveryState.PENDING),
        (sent(500), DeliveryState.PENDING),
        (sent(None), DeliveryState.PENDING),
    ],
)
def test_whk_09_the_state_after_an_attempt(answer: Sent, state: DeliveryState) -> None:
    made, end = settle(ROW, END, answer, NOW, 0.5, TERMS)
    assert (made.state, made.attempts) == (state, 1)
    assert made.next_at == (NOW + 5 * SECOND if state is DeliveryState.PENDING else None)
    assert end is not None
    assert end.enabled is (answer.status != 410)
    assert (end.failing_since is None) is (answer.status == 204)


def test_whk_17_sending_again_begins_a_schedule_of_its_own() -> None:
    made, _ = settle(ROW._replace(attempts=7, round=7), END, sent(500), NOW, 0.5, TERMS)
    assert (made.state, made.attempts, made.next_at) == (DeliveryState.PENDING, 8, NOW + 5 * SECOND)
    made, _ = settle(ROW._replace(attempts=9, round=7), END, sent(500), NOW, 0.5, TERMS)
    assert made.state is DeliveryState.FAILED


def test_whk_10_what_was_stopped_stays_so_unless_it_has_arrived() -> None:
    stopped = ROW._replace(state=DeliveryState.CANCELED)
    assert settle(stopped, END._replace(enabled=False), sent(500), NOW, 0.5, TERMS)[0].state is DeliveryState.CANCELED
    assert settle(stopped, END._replace(enabled=False), sent(200), NOW, 0.5, TERMS)[0].state is DeliveryState.DELIVERED


def test_whk_11_the_longer_pause_counts_and_ends() -> None:
    _, end = settle(ROW, END, sent(503, 60.0), NOW, 0.5, TERMS)
    assert end is not None
    assert end.not_before == NOW + 60 * SECOND
    _, later = settle(ROW, end, sent(503, 10.0), NOW, 0.5, TERMS)
    assert later is not None
    assert later.not_before == NOW + 60 * SECOND
    _, over = settle(ROW, later, sent(200), NOW + DAY, 0.5, TERMS)
    assert over is not None
    assert over.not_before is None


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whk_19_a_full_line_sends_each_away_for_longer_than_the_one_before() -> None:
    lines = Lines(2)
    assert [lines.enter("a", 0.0) for _ in range(2)] == [None, None]
    waits = [lines.enter("a", 10.0) for _ in range(5)]  # by then the first has taken ten seconds: that is the pace
    assert waits == [5.0, 10.0, 15.0, 20.0, 25.0]
    assert lines.enter("b", 10.0) is None
    lines.leave("a", 10.0)
    assert lines.enter("a", 10.0) is None


def test_whk_12_a_line_is_as_wide_as_the_store_says() -> None:
    lines = Lines(4)
    assert lines.enter("a", 0.0) is None
    lines.widen("a", 1)
    assert lines.enter("a", 0.0) is not None
    lines.widen("nobody", 3)


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 3))
def test_no_line_is_ever_wider_than_it_may_be(names: list[str], width: int) -> None:
    lines, inside = Lines(width), dict.fromkeys("abc", 0)
    for n, name in enumerate(names):
        wait = lines.enter(name, float(n))
        assert (wait is None) is (inside[name] < width)
        if wait is None:
            inside[name] += 1
        elif n % 2:
            lines.leave(name)
            inside[name] -= 1


# ── rotation ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whk_06_which_secrets_sign_when() -> None:
    vault = Vault("a key that is only for the tests")
    text = sealed("one", vault)
    assert current(text, vault, NOW) == ["one"]
    text = rotated(text, "two", vault, NOW, 100)
    text = rotated(text, "three", vault, NOW + 50 * SECOND, 100)
    assert "three" not in text
    for seconds, signing in ((60, ["three", "two", "one"]), (100, ["three", "two"]), (150, ["three"])):
        assert current(text, vault, NOW + seconds * SECOND) == signing
    assert current(rotated(text, "four", vault, NOW, 0), vault, NOW) == ["four"]
