"""The cases of W3C's trace-context suite (w3c/trace-context @acab820, test/test.py), by their names there, asked of a
service whose calls are made by a worker: POST /test accepts a list of {"url", "arguments"} with 202, and a job makes
the calls.

The service runs under uvicorn and is spoken to over plain sockets: names and blanks arrive as they were written.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from offpath import Offpath, trace_headers
from offpath.integrations.fastapi import Accepted, Acceptor, Operations, install_problem_handlers
from tests.http.site import served

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
OK, UNSAMPLED = f"00-{ID}-{SPAN}-01", f"00-{ID}-{SPAN}-00"

Headers = Sequence[tuple[str, str]]


class Target(BaseModel):
    url: str
    arguments: list[Any]


class Sent(NamedTuple):
    """What one call of the service brought to the sink."""

    trace_id: str
    parent_id: str
    flags: str
    state: dict[str, str]


class Sink:
    """The other end of the service's calls."""

    def __init__(self) -> None:
        self.url = ""
        self._next = 0
        self._waiting: dict[str, asyncio.Future[list[tuple[str, str]]]] = {}

    def expect(self) -> tuple[str, asyncio.Future[list[tuple[str, str]]]]:
        self._next += 1
        path = f"/{self._next}"
        future = self._waiting[path] = asyncio.get_running_loop().create_future()
        return self.url + path, future

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        self._waiting.pop(scope["path"]).set_result(headers)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Service:
    def __init__(self, port: int, sink: Sink) -> None:
        self.port, self.sink = port, sink

    async def ask(self, headers: Headers, count: int = 1) -> list[Sent]:
        """POST /test with exactly these headers; what the calls that followed carried."""
        expected = [self.sink.expect() for _ in range(count)]
        body = json.dumps([{"url": url, "arguments": []} for url, _ in expected]).encode()
        head = [f"Host: 127.0.0.1:{self.port}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write("\r\n".join(["POST /test HTTP/1.1", *head, "Connection: close", "", ""]).encode() + body)
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 202 "), answer
            async with asyncio.timeout(60):
                return [sent(await future) for _, future in expected]
        finally:
            writer.close()


def sent(headers: list[tuple[str, str]]) -> Sent:
    """Held against the grammar on the way; at most one header of each kind."""
    (parent,) = [value for name, value in headers if name == "traceparent"]
    match = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", parent)
    assert match is not None, parent
    assert match[1].strip("0")
    assert match[2].strip("0")
    states = [value for name, value in headers if name == "tracestate"]
    assert len(states) <= 1
    members = [member.partition("=") for line in states for member in line.split(",")]
    return Sent(match[1], match[2], match[3], {key: value for key, _, value in members})


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    path: Path = tmp_path_factory.mktemp("w3c") / "jobs.db"
    jobs = Offpath(f"sqlite:///{path}")
    operations = Operations(jobs, public=True)
    api, sink = FastAPI(), Sink()
    api.include_router(operations.router)
    install_problem_handlers(api)
    client = httpx.AsyncClient()

    @jobs.task
    async def call(targets: list[Target]) -> None:
        for target in targets:
            await client.post(target.url, json=target.arguments, headers=trace_headers())

    async def test(targets: list[Target], accept: Annotated[Acceptor, Depends(operations.acceptor)]) -> Accepted[None]:
        return await accept(call, targets)

    api.add_api_route("/test", test, methods=["POST"], status_code=202)
    async with served(sink) as sink.url, jobs, client, jobs.worker(), served(api) as url:
        yield Service(int(url.rpartition(":")[2]), sink)


def parent(value: str) -> Headers:
    return [("traceparent", value)]


def state(*lines: str) -> Headers:
    return [("traceparent", UNSAMPLED), *(("tracestate", line) for line in lines)]


# ── traceparent ──────────────────────────────────────────────────────────────────────────────────────────────────────

INHERITED: dict[str, list[Headers]] = {
    "traceparent_included_tracestate_missing": [parent(OK)],
    "traceparent_header_name_valid_casing": [
        [("TraceParent", OK)],
        [("TrAcEpArEnT", OK)],
        [("TRACEPARENT", OK)],
    ],
    "traceparent_version_0xcc": [
        parent(f"cc-{ID}-{SPAN}-01"),
        parent(f"cc-{ID}-{SPAN}-01-what-the-future-will-be-like"),
    ],
    "traceparent_ows_handling": [
        parent(f" {OK}"),
        parent(f"\t{OK}"),
        parent(f"{OK} "),
        parent(f"{OK}\t"),
        parent(f"\t {OK} \t"),
    ],
}
"""The trace goes on, as another part of it."""

BEGUN: dict[str, list[Headers]] = {
    "both_traceparent_and_tracestate_missing": [[]],
    "traceparent_duplicated": [[*parent(f"00-{ID[:-1]}1-{SPAN}-01"), *parent(OK)]],
    "traceparent_header_name": [[("trace-parent", OK)], [("trace.parent", OK)]],
    "traceparent_version_0x00": [parent(f"{OK}."), parent(f"{OK}-what-the-future-will-be-like")],
    "traceparent_version_0xcc": [parent(f"cc-{ID}-{SPAN}-01.what-the-future-will-be-like")],
    "traceparent_version_0xff": [parent(f"ff-{ID}-{SPAN}-01")],
    "traceparent_version_illegal_characters": [parent(f".0-{ID}-{SPAN}-01"), parent(f"0.-{ID}-{SPAN}-01")],
    "traceparent_version_too_long": [parent(f"000-{ID}-{SPAN}-01"), parent(f"0000-{ID}-{SPAN}-01")],
    "traceparent_version_too_short": [parent(f"0-{ID}-{SPAN}-01")],
    "traceparent_trace_id_all_zero": [parent(f"00-{'0' * 32}-{SPAN}-01")],
    "traceparent_trace_id_illegal_characters": [
        parent(f"00-.{ID[1:]}-{SPAN}-01"),
        parent(f"00-{ID[:-1]}.-{SPAN}-01"),
    ],
    "traceparent_trace_id_too_long": [parent(f"00-{ID}3-{SPAN}-01")],
    "traceparent_trace_id_too_short": [parent(f"00-{ID[:-1]}-{SPAN}-01")],
    "traceparent_parent_id_all_zero": [parent(f"00-{ID}-{'0' * 16}-01")],
    "traceparent_parent_id_illegal_characters": [
        parent(f"00-{ID}-.{SPAN[1:]}-01"),
        parent(f"00-{ID}-{SPAN[:-1]}.-01"),
    ],
    "traceparent_parent_id_too_long": [parent(f"00-{ID}-{SPAN}7-01")],
    "traceparent_parent_id_too_short": [parent(f"00-{ID}-{SPAN[:-1]}-01")],
    "traceparent_trace_flags_illegal_characters": [parent(f"00-{ID}-{SPAN}-.0"), parent(f"00-{ID}-{SPAN}-0.")],
    "traceparent_trace_flags_too_long": [parent(f"00-{ID}-{SPAN}-001")],
    "traceparent_trace_flags_too_short": [parent(f"00-{ID}-{SPAN}-1")],
    "tracestate_included_traceparent_missing": [[("tracestate", "foo=1")], [("tracestate", "foo=1,bar=2")]],
}
"""A new trace begins, and no tracestate goes with it."""


def cases(table: dict[str, list[Any]]) -> Callable[[Any], Any]:
    rows = [pytest.param(row, id=f"{name}-{n}") for name, rows in table.items() for n, row in enumerate(rows, 1)]
    return pytest.mark.parametrize("row", rows)


@cases(INHERITED)
async def test_obs_01_w3c_the_trace_goes_on(service: Service, row: Headers) -> None:
    (call,) = await service.ask(row)
    assert call.trace_id == ID
    assert call.parent_id != SPAN
    assert call.flags == "01"


@cases(BEGUN)
async def test_obs_02_w3c_a_new_trace_begins(service: Service, row: Headers) -> None:
    (call,) = await service.ask([*row, ("tracestate", "lost=1")])
    sent_ids = re.findall("[0-9a-f.]{31,33}", " ".join(value for _, value in row))
    assert call.trace_id not in sent_ids
    assert call.trace_id not in (ID, ID[:-1] + "1", ID[1:] + "3")
    assert call.state == {}


# ── tracestate ───────────────────────────────────────────────────────────────────────────────────────────────────────

MANY = [",".join(f"bar{n:02}={n:02}" for n in range(first, first + 10)) for first in (1, 11, 21)]
PLAIN_KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
EVERY_VALUE = "".join(chr(n) for n in range(0x20, 0x7F) if chr(n) not in ",=")
KEPT: dict[str, list[tuple[Headers, dict[str, str]]]] = {
    "tracestate_included_traceparent_included": [(state("foo=1,bar=2"), {"foo": "1", "bar": "2"})],
    "tracestate_header_name": [
        ([*parent(UNSAMPLED), ("trace-state", "foo=1")], {}),
        ([*parent(UNSAMPLED), ("trace.state", "foo=1")], {}),
    ],
    "tracestate_header_name_valid_casing": [
        ([*parent(UNSAMPLED), (name, "foo=1")], {"foo": "1"}) for name in ("TraceState", "TrAcEsTaTe", "TRACESTATE")
    ],
    "tracestate_empty_header": [
        (state(""), {}),
        (state("foo=1", ""), {"foo": "1"}),
        (state("", "foo=1"), {"foo": "1"}),
    ],
    "tracestate_multiple_headers_different_keys": [
        (
            state("foo=1,bar=2", "rojo=1,congo=2", "baz=3"),
            {"foo": "1", "bar": "2", "rojo": "1", "congo": "2", "baz": "3"},
        )
    ],
    "tracestate_duplicated_keys": [
        (state("foo=1,foo=1"), {}),
        (state("foo=1,foo=2"), {}),
        (state("foo=1", "foo=1"), {}),
        (state("foo=1", "foo=2"), {}),
    ],
    "tracestate_all_allowed_characters": [
        (state(f"{PLAIN_KEY}={EVERY_VALUE}"), {PLAIN_KEY: EVERY_VALUE}),
        (state(f"{PLAIN_KEY}@a-z0-9_-*/={EVERY_VALUE}"), {f"{PLAIN_KEY}@a-z0-9_-*/": EVERY_VALUE}),
    ],
    "tracestate_ows_handling": [
        (state("foo=1 \t , \t bar=2, \t baz=3"), {"foo": "1", "bar": "2", "baz": "3"}),
        (state("foo=1\t \t,\t \tbar=2,\t \tbaz=3"), {"foo": "1", "bar": "2", "baz": "3"}),
        *((state(line), {"foo": "1"}) for line in (" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t")),
    ],
    "tracestate_key_illegal_characters": [(state(line), {}) for line in ("foo =1", "FOO=1", "foo.bar=1")],
    "tracestate_key_illegal_vendor_format": [(state("@foo=1,bar=2"), {})],
    "(ours) keys of level 2": [
        (state(f"{key}=1,bar=2"), {key: "1", "bar": "2"}) for key in ("foo@", "foo@@bar", "1a@2b", f"t@{'v' * 15}")
    ],
    "tracestate_member_count_limit": [
        (state(*MANY, "bar31=31,bar32=32"), {f"bar{n:02}": f"{n:02}" for n in range(1, 33)}),
        (state(*MANY, "bar31=31,bar32=32,bar33=33"), {}),
    ],
    "tracestate_key_length_limit": [
        (state("foo=1", "z" * 256 + "=1"), {"foo": "1", "z" * 256: "1"}),
        (state("foo=1", "z" * 257 + "=1"), {}),
        (state("foo=1", f"{'t' * 241}@{'v' * 14}=1"), {"foo": "1", f"{'t' * 241}@{'v' * 14}": "1"}),
        (state("foo=1", f"{'t' * 242}@{'v' * 14}=1"), {}),
    ],
    "tracestate_value_illegal_characters": [(state("foo=bar=baz"), {}), (state("foo=,bar=3"), {})],
}
"""What of a tracestate is passed on; the trace goes on in any case."""


@cases(KEPT)
async def test_obs_02_w3c_tracestate(service: Service, row: tuple[Headers, dict[str, str]]) -> None:
    headers, kept = row
    (call,) = await service.ask(headers)
    assert (call.trace_id, call.flags) == (ID, "00")
    assert call.state == kept
    assert list(call.state) == list(kept), "in the order they came"


# ── several calls ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_obs_01_w3c_multiple_requests_with_valid_traceparent(service: Service) -> None:
    calls = await service.ask(parent(OK), 3)
    assert {call.trace_id for call in calls} == {ID}
    assert len({call.parent_id for call in calls} - {SPAN}) == 3


async def test_obs_01_w3c_multiple_requests_without_traceparent(service: Service) -> None:
    calls = await service.ask([], 3)
    assert len({call.trace_id for call in calls}) == 1  # more than W3C asks for: they are one job's
    assert len({call.parent_id for call in calls}) == 3


async def test_obs_02_w3c_multiple_requests_with_illegal_traceparent(service: Service) -> None:
    calls = await service.ask(parent(f"00-{'0' * 32}-{SPAN}-01"), 3)
    assert "0" * 32 not in {call.trace_id for call in calls}
    assert len({call.parent_id for call in calls}) == 3


@pytest.mark.parametrize("flags", ["02", "03"])
async def test_obs_03_w3c_propagates_random_flag(service: Service, flags: str) -> None:
    (call,) = await service.ask(parent(f"00-{ID}-{SPAN}-{flags}"))
    assert (call.trace_id, call.flags) == (ID, flags)
