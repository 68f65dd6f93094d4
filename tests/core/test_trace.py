"""Trace context, the pure part: which headers are valid, what of them is kept, and how it lies in a job's options."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core.ids import uuid7
from offpath.core.options import CallOptions, TaskOptions
from offpath.core.policy import Policy, Retention, overrides, resolve
from offpath.core.retry import Backoff, Retry
from offpath.core.trace import (
    MAX_STATE,
    RANDOM,
    Trace,
    attempt_of,
    parse,
    parse_state,
    stamped,
    started_in,
    trace_id,
    trace_of,
    unstamped,
)

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
PARENT = f"00-{ID}-{SPAN}-01"
JOB = uuid7(1_700_000_000_000_000, bytes(range(10)))


def test_obs_02_the_vectors_of_the_conformance_folder(conformance: Path) -> None:
    cases = json.loads((conformance / "trace-context" / "traceparent.json").read_text())["cases"]
    assert len(cases) >= 14
    for case in cases:
        assert (parse([case["header"]]) is not None) is case["valid"], case


@pytest.mark.parametrize(
    "header",
    [
        "00-00000000000000000000000000000000-1234567890123456-01",
        f"00-{ID}-0000000000000000-01",
        f"00-{ID}-{SPAN}-01-",
        f"00-{ID}-{SPAN}-01\n",
        f"00_{ID}_{SPAN}_01",
        PARENT.replace("1", "\u0661"),  # digits of another script
        f"{PARENT},{PARENT}",
        "x" * 100_000,
    ],
)
def test_obs_02_what_is_not_valid_is_as_if_it_had_not_been_sent(header: str) -> None:
    assert parse([header], ["foo=1"]) is None


def test_obs_02_two_traceparents_are_none() -> None:
    assert parse([PARENT, PARENT]) is None
    assert parse([]) is None
    assert parse([f" \t{PARENT}\t "]) == Trace(ID, SPAN, 1)


@pytest.mark.parametrize(("sent", "kept"), [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3), ("fd", 1)])
def test_obs_03_the_flags_known_today_pass_unchanged_and_the_others_are_zero(sent: str, kept: int) -> None:
    trace = parse([f"00-{ID}-{SPAN}-{sent}"])
    assert trace is not None
    assert trace.flags == kept
    assert trace.traceparent == f"00-{ID}-{SPAN}-{kept:02x}"
    assert trace.sampled is bool(kept & 1)


def test_obs_03_of_a_version_to_come_only_what_is_known_is_read_and_version_00_is_written() -> None:
    trace = parse([f"cc-{ID}-{SPAN}-03-what the future\twill be like"])
    assert trace is not None
    assert trace.traceparent == f"00-{ID}-{SPAN}-03"


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["foo=1, bar=2", "", "baz=3 "], "foo=1,bar=2,baz=3"),
        (["1a=b"], "1a=b"),  # level 2
        ([" , ,foo=1,,"], "foo=1"),
        (["foo=1=2"], ""),
        (["foo= 1"], "foo= 1"),
        (["FOO=1"], ""),
        (["foo=1", "foo=2"], ""),
        ([f"k{n}=v" for n in range(32)], ",".join(f"k{n}=v" for n in range(32))),
        ([f"k{n}=v" for n in range(33)], ""),
        (["foo=\u00e9"], ""),
        (["foo=1\r\nX: 2"], ""),
    ],
)
def test_obs_02_tracestate_is_one_line_or_nothing(lines: list[str], state: str) -> None:
    assert parse_state(lines) == state


def test_a_long_tracestate_loses_whole_members_the_long_ones_first() -> None:
    long, short = "long=" + "x" * 200, [f"k{n:02}=" + "v" * 20 for n in range(20)]
    assert parse_state([",".join([long, *short])]) == ",".join(short)
    many = parse_state([",".join(f"k{n:02}=" + "v" * 60 for n in range(32))])
    assert len(many) <= MAX_STATE
    assert many.startswith("k00=")
    assert many.endswith("v" * 60)


OPTIONS = [None, '{"timeout": 5.0}', overrides(CallOptions(retry=Retry(backoff=Backoff.fixed(1)), keep_result=False))]
STATES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=100)


@pytest.mark.parametrize("options", OPTIONS)
@given(state=STATES)
def test_obs_01_a_trace_is_laid_into_the_options_and_found_again(options: str | None, state: str) -> None:
    trace = Trace(ID, SPAN, 3, parse_state([f"a={state}", 'b="trace": "x"']))
    text = stamped(options, trace)
    assert unstamped(text) == options
    assert started_in(text) == trace
    assert {key: value for key, value in json.loads(text).items() if key != "trace"} == json.loads(options or "{}")


@pytest.mark.parametrize("options", [None, "", "{}", '{"trace": 7}', '{"trace": "nonsense"}', '{"trace": "00-x', "[]"])
def test_options_without_a_trace_or_with_a_broken_one_have_none(options: str | None) -> None:
    assert started_in(options) is None
    assert trace_id(JOB, options) == trace_of(JOB)


def test_a_trace_changes_nothing_about_the_policy_even_where_it_is_not_cut_off() -> None:
    text = stamped('{"timeout": 5.0}', Trace(ID, SPAN))
    assert resolve(TaskOptions(), None, text, Retention()) == Policy(timeout=5.0)


def test_obs_01_every_delivery_is_a_part_of_its_own_and_the_same_trace() -> None:
    options = stamped(None, Trace(ID, SPAN, 1, "foo=1"))
    parts = [attempt_of(JOB, fence, options) for fence in range(1, 1_000)]
    assert {(part.trace_id, part.flags, part.state) for part in parts} == {(ID, 1, "foo=1")}
    assert len({part.span_id for part in parts} | {SPAN}) == 1_000
    assert all(parse([part.traceparent]) for part in parts)
    assert attempt_of(JOB, 3, options) == parts[2]


def test_obs_01_a_job_started_in_no_trace_begins_one_with_its_own_name() -> None:
    first, second = attempt_of(JOB, 1, None), attempt_of(JOB, 2, None)
    assert first.trace_id == second.trace_id == JOB.replace("-", "") == trace_id(JOB, None)
    assert first.span_id != second.span_id
    assert first.flags == RANDOM  # 62 random bits at its end; and not sampled, for nobody records its beginning
    assert parse([first.traceparent]) == first
