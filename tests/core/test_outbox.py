"""Lines of the outbox, and how patient it is; what a job's end is told with."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core import answers
from offpath.core.ids import is_id
from offpath.core.job import Finished, State
from offpath.core.options import CallOptions
from offpath.core.outbox import CAP, FAR, FIRST, PER_SECOND, SHARDS, again, behind, shard_of
from offpath.core.outcome import error
from offpath.core.policy import overrides, parted, wants_answer
from offpath.core.trace import Trace, stamped, started_in
from offpath.errors import ConfigurationError

unit = st.floats(0, 1, exclude_max=True)


@given(st.text(), unit, unit)
def test_events_of_a_key_are_in_one_line(key: str, one: float, other: float) -> None:
    assert shard_of(key, one) == shard_of(key, other)
    assert 0 <= shard_of(key, one) < SHARDS


def test_keys_are_spread_over_the_lines() -> None:
    found = Counter(shard_of(f"org:{n}", 0) for n in range(16_000))
    assert len(found) == SHARDS
    assert min(found.values()) > 800
    assert {shard_of(None, n / SHARDS) for n in range(SHARDS)} == set(range(SHARDS))


@given(st.floats(0, 1e6), unit)
def test_the_broker_is_tried_again_ever_later_and_at_least_so_often(away: float, u: float) -> None:
    pause = again(away, u)
    assert 0.8 * FIRST <= pause <= 1.2 * CAP
    assert pause <= again(away * 2 + 1, u) + 1e-9
    assert again(away, u, 60.0) >= 0.8 * 60
    assert again(away, u, 1e9) <= 1.2 * FAR


@given(st.floats(0.1, 18), st.integers(0, 10**7), unit)
def test_a_long_line_does_not_stay_awake(pause: float, distance: int, u: float) -> None:
    delay = behind(pause, distance, u)
    if not distance:
        assert delay == pause
        return
    assert 0.8 * CAP <= delay <= 1.2 * FAR
    assert delay >= min(0.8 * FAR, 0.8 * distance / (PER_SECOND / SHARDS))


# -- answers -----------------------------------------------------------------------------------------------------------


def ended(state: State = State.SUCCEEDED, **given: object) -> Finished:
    fields: dict[str, object] = {
        "id": "01a21ee2-4b40-70ff-820c-89fefed53927", "task": "mail", "version": 1, "args": "{}", "queue": "default",
        "priority": 5, "state": state, "run_at": 1, "key": None, "attempt": 2, "crashes": 0, "fence": 3, "once": False,
        "watched": False, "owner": "alice", "options": overrides(CallOptions(reply_to="q", correlation="c")),
        "retry_of": None, "result": "[1]", "error": None, "finished_at": 7, "expires_at": None,
    }  # fmt: skip
    return Finished(**{**fields, **given})  # type: ignore[arg-type]


def test_an_answer_has_an_id_of_its_own_that_is_always_the_same() -> None:
    one, other = answers.job(ended(), 1), answers.job(ended(), 999)
    assert one is not None
    assert other is not None
    assert one[0].id == other[0].id != ended().id
    assert is_id(one[0].id)
    assert one[0].args == other[0].args
    assert json.loads(one[0].args)["event"] == one[0].id


def test_an_answer_goes_on_in_the_trace_of_its_job() -> None:
    trace = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1)
    made = answers.job(ended(options=stamped('{"reply_to": "q"}', trace)), 1)
    assert made is not None
    assert started_in(made[0].options) == trace
    assert "correlation" not in json.loads(made[0].args)


@pytest.mark.parametrize("options", [None, "{}", '{"tenant": "reply_to"}', '{"reply_to": 7}'])
def test_who_did_not_ask_is_not_told(options: str | None) -> None:
    assert answers.job(ended(options=options), 1) is None


def test_what_is_not_public_of_an_error_is_not_told() -> None:
    secret = error("raised", "KeyError", detail="the password", exception="KeyError", traceback="line 1")
    assert answers.told(ended(State.FAILED, error=secret, result=None))["error"] == {"kind": "raised"}
    public = error("raised", "Gone", detail="it is", status=410, public=True, traceback="line 1")
    assert answers.told(ended(State.FAILED, error=public))["error"] == {
        "kind": "raised", "title": "Gone", "detail": "it is", "status": 410,
    }  # fmt: skip


def test_jobs_that_answer_share_the_policy_of_the_others() -> None:
    said = overrides(CallOptions(timeout=5, reply_to="q", correlation="c"), "acme")
    assert said is not None
    assert wants_answer(said)
    assert parted(said) == ('{"timeout": 5.0}', "acme")
    assert parted(overrides(CallOptions(reply_to="q"))) == (None, "")


def test_a_mark_without_an_address_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="give reply_to too"):
        CallOptions(correlation="c")
    with pytest.raises(ConfigurationError, match="reply_to must"):
        CallOptions(reply_to="")


@pytest.mark.parametrize("options", ["{", "[]", '"x"', "null", '{"reply_to": 7}'])
def test_options_that_cannot_be_read_keep_no_job_from_ending(options: str) -> None:
    assert answers.job(ended(options=options), 1) is None
