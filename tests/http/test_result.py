"""wire.md 1.4: results and errors, and the problems that everything else ends in."""

import asyncio
import json
import socket
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from pydantic import BaseModel, Field
from starlette.middleware.base import BaseHTTPMiddleware

from offpath.core.lifecycle import DEADLINE
from offpath.core.outcome import Done, Errored, Expired, error
from offpath.errors import ResultError
from offpath.http import Reply
from offpath.http.problems import BASE, TYPES, Problems, pointer, reference
from offpath.integrations.fastapi import BodyLimit, install_problem_handlers
from tests.http.site import BOTH, Hand, Site, checked_client, promote, served

pytestmark = pytest.mark.anyio


async def test_res_01_small_results_inline_large_ones_by_link(
    alice: httpx.AsyncClient, site: Site, worker: Hand
) -> None:
    for size, inline in ((64 * 1024 - 2, True), (64 * 1024 - 1, False)):
        url = await site.start(alice, "echo", value=1)
        await worker.done(await worker.claim(), "x" * size)
        body = (await alice.get(url)).json()
        assert ("result" in body) is inline
        assert body["status"] == "succeeded"
        assert (await alice.get(body["links"]["result"])).json() == "x" * size
    url = await site.start(alice, "echo", value=1)
    await worker.settle(await worker.claim(), Done('"' + "é" * 40_000 + '"'))
    assert "result" not in (await alice.get(url)).json(), "bytes count, not characters"


@BOTH
async def test_res_02_the_result_route(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    early = await alice.get(url + "/result")
    assert early.status_code == 202
    assert early.json() == (await alice.get(url)).json()
    assert int(early.headers["retry-after"]) >= 1
    await worker.done(await worker.claim(), {"a": [1, None]})
    answer = await alice.get(url + "/result")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"a": [1, None]}


async def test_res_02_11_a_reply_is_given_as_the_task_made_it(alice: httpx.AsyncClient, site: Site) -> None:
    async with site.jobs.worker():
        url = await site.start(alice, "export")
        body = (await alice.get(url, headers={"Prefer": "wait=25"})).json()
        assert body["status"] == "succeeded"
        assert "result" not in body  # RES-01: what is no JSON is at the link only
        answer = await alice.get(body["links"]["result"])
        assert answer.status_code == 201
        assert answer.headers["content-type"] == "text/csv"
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.content == b"\x00\xffa;b\r\n"
        for task, args in (("export", {"status": 204}), ("silent", {})):
            url = await site.start(alice, task, **args)
            await alice.get(url, headers={"Prefer": "wait=25"})
            answer = await alice.get(url + "/result")
            assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    "bad",
    [
        {"headers": {"Set-Cookie": "a=b"}},
        {"headers": {"X-A": "1\r\nX-B: 2"}},
        {"headers": {"X A": "1"}},
        {"media_type": "text/html\r\nX-B: 2"},
        {"media_type": "text"},
        {"status": 204, "body": b"x"},
    ],
)
def test_res_02_a_reply_cannot_carry_everything(bad: dict[str, Any]) -> None:
    with pytest.raises(ResultError):
        Reply(**bad)


@BOTH
async def test_res_03_no_result_is_409_whatever_the_failure_was(
    alice: httpx.AsyncClient, site: Site, worker: Hand
) -> None:
    for status in (408, 422, 429, 500, 503):
        url = await site.start(alice, "echo", value=1)
        await worker.fail(await worker.claim(), "no", public=True, status=status)
        answer = await alice.get(url + "/result")
        assert answer.status_code == 409
        assert answer.json()["operation_error"] == (await alice.get(url)).json()["error"]
        assert answer.json()["operation_error"]["status"] == status
        assert "retry-after" not in answer.headers
    url = await site.start(alice, "echo", value=1)
    await alice.post(url + "/cancel")
    answer = await alice.get(url + "/result")
    assert answer.status_code == 409
    assert answer.json()["operation_error"]["type"].endswith("/canceled")


async def test_res_04_redirect_only_when_asked_for(tmp_path: Path) -> None:
    for redirect, status in ((False, 200), (True, 303)):
        site = Site(tmp_path, redirect_on_success=redirect)
        async with site.client() as alice, site.jobs.worker():
            url = await site.start(alice, "echo", value=1)
            answer = await alice.get(url, headers={"Prefer": "wait=25"})
            assert answer.status_code == status
            if redirect:
                assert answer.headers["location"] == url + "/result"
                assert (await alice.get(url, follow_redirects=True)).json() == 1
        site.jobs.close()


async def test_res_05_the_error_is_a_problem(alice: httpx.AsyncClient, site: Site) -> None:
    async with site.jobs.worker():
        url = await site.start(alice, "refuses")
        error = (await alice.get(url, headers={"Prefer": "wait=25"})).json()["error"]
        operation = url.rpartition("/")[2]
        assert error == {
            "type": "https://api.example/no-period",
            "title": "No such period",
            "status": 422,
            "detail": "2026-13",
            "instance": f"urn:uuid:{operation}",
            "attempts": 1,
        }
        url = await site.start(alice, "breaks", secret="tr0ub4dor")
        answer = await alice.get(url, headers={"Prefer": "wait=25"})
        assert answer.json()["error"]["type"] == BASE + "job-failed"
        assert answer.json()["error"]["status"] == 500
        events = await alice.get(url + "/events", headers={"Last-Event-ID": "1"})
        result = await alice.get(url + "/result")
        for leaked in ("tr0ub4dor", "RuntimeError", "Traceback", "site.py"):
            assert leaked not in answer.text + events.text + result.text


@pytest.mark.parametrize(
    ("kind", "slug"),
    [
        ("raised", "job-failed"),
        ("timeout", "timeout"),
        ("deadline", "deadline-exceeded"),
        ("undecodable", "undecodable"),
        ("result", "result-not-storable"),
        ("revoked", "revoked"),
        ("quarantined", "quarantined"),
        ("lost", "lost"),
    ],
)
def test_res_05_each_stored_kind_has_its_type(kind: Any, slug: str) -> None:
    stored = error(kind, "inner title", detail="inner detail", exception="SecretError", traceback="secret")
    shown = Problems().of_operation(stored, id="i", attempts=3, state="failed")
    assert shown == {
        "type": BASE + slug,
        "title": TYPES[slug].title,
        "status": TYPES[slug].status,
        "instance": "urn:uuid:i",
        "attempts": 3,
    }


async def test_res_06_the_framework_s_own_errors(alice: httpx.AsyncClient, site: Site) -> None:
    @site.api.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, {"why": "short and stout"}, headers={"X-Spout": "here"})

    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("DELETE", "/reports", 405),
        ("PATCH", "/operations", 405),
        ("GET", "/operations/not-an-id", 404),
        ("GET", "/teapot", 418),
        ("GET", "/operations/not-an-id/result", 404),
        ("POST", "/operations/not-an-id:cancel", 404),
    ):
        answer = await alice.request(method, path)  # the client checks the rest
        assert answer.status_code == status, (method, path)
        if status == 405:
            assert answer.headers["allow"] == {"/reports": "POST", "/operations": "GET, HEAD"}[path]
        if status == 418:
            assert answer.headers["x-spout"] == "here"
            assert answer.json()["context"] == {"why": "short and stout"}
    one = (await alice.put("/operations/x")).headers["allow"]
    assert one == "GET, HEAD, DELETE"
    async with site.client(None) as nobody:
        for method, path in (("GET", "/operations"), ("POST", "/reports")):
            answer = await nobody.request(method, path, json={"period": "x"})
            assert answer.status_code == 401


async def test_res_06_415_and_bad_bodies(alice: httpx.AsyncClient, site: Site) -> None:
    url = await site.start(alice, "echo", value=1)
    for content, kind, status in (
        (b"reason=x", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 413),
        (b"[" * 60_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"reason":7}', "application/json", 422),
        (b'{"reason":""}', "application/json", 422),
        (b'{"reason":"\\ud800"}', "application/json", 422),
        (b'{"reason":"\\u0000"}', "application/json", 422),
    ):
        answer = await alice.post(url + "/cancel", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status
    assert (await alice.get(url)).json()["status"] == "queued"


async def test_res_07_types_are_absolute_and_documented(site: Site) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "problems.md").read_text()
    assert text == reference(), "python -m offpath.http.problems > docs/reference/problems.md"
    for kind in TYPES.values():
        assert kind.title
        assert 400 <= kind.status <= 599
        assert kind.doc
    operations = Problems("https://api.example.com/problems").problem("gone")
    assert operations["type"] == "https://api.example.com/problems/gone"


async def test_res_08_the_unforeseen_says_nothing(
    alice: httpx.AsyncClient, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await alice.get("/boom")
    assert answer.status_code == 500
    body = answer.json()
    assert set(body) == {"type", "title", "status", "instance"}
    assert body["instance"].startswith("urn:uuid:")
    assert body["instance"] in caplog.text
    assert "a secret of the house" in caplog.text
    assert "secret" not in answer.text
    assert "LookupError" not in answer.text


async def test_res_09_where_the_input_is_wrong(alice: httpx.AsyncClient) -> None:
    answer = await alice.post("/reports", json={"period": 5, "label": ["x"]})
    assert answer.status_code == 422
    assert [e["pointer"] for e in answer.json()["errors"]] == ["#/period", "#/label"]
    answer = await alice.post("/plain?n=x")
    assert answer.json()["errors"][0] | {"detail": ""} == {"detail": "", "in": "query", "parameter": "n"}


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Wanted(BaseModel):
    userId: int | uuid.UUID
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []


async def test_res_09_the_branches_of_a_union_are_no_members(site: Site) -> None:
    @site.api.post("/wanted")
    async def wanted(body: Wanted, n: int | bool = 0) -> None: ...

    async with site.client() as alice:
        body = {"userId": "x", "pets": [{"kind": "cat", "lives": 9}, {"kind": "cat"}, {"kind": "dog", "name": 1}]}
        errors = (await alice.post("/wanted?n=x", json=body)).json()["errors"]
        assert [error.get("pointer") for error in errors] == [None, "#/userId", "#/pets/1/lives", "#/pets/2/name"]
        assert (errors[0]["in"], errors[0]["parameter"]) == ("query", "n")
        assert "integer" in errors[1]["detail"]
        assert "UUID" in errors[1]["detail"]
        (error,) = (await alice.post("/wanted", content=b"")).json()["errors"]
        assert error["pointer"] == "#"


@pytest.mark.parametrize("content", [b"{", b"nope", b'{"period": "\xff"}', b"[" * 60_000])
async def test_res_06_what_is_no_json_is_the_same_everywhere(
    alice: httpx.AsyncClient, site: Site, content: bytes
) -> None:
    url = await site.start(alice, "echo", value=1)
    for path in ("/reports", url + "/cancel"):
        answer = await alice.post(path, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["type"]) == (400, BASE + "malformed-body"), path


async def test_res_06_no_redirect_to_an_unchecked_host(alice: httpx.AsyncClient, site: Site) -> None:
    url = await site.start(alice, "echo", value=1)
    for path in ("/operations/", url + "/", url + "/result/", url + "/no/such/", url + "/no", url + "/no/such"):
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = await alice.request(method, path, headers={"Host": "evil.example"})
            assert answer.status_code == 404, path
            assert "location" not in answer.headers
    for path in (url + "/no", url + "/no/such", url + "/result/no"):
        answer = await alice.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 404, "no slash that is put after it makes it one of ours"


def test_res_09_pointers() -> None:
    assert pointer("a/b", "m~n", 0, "ü ") == "#/a~1b/m~0n/0/%C3%BC%20"
    assert pointer() == "#"


@BOTH
async def test_res_10_exhausted_and_late(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "flaky")
    policy = site.flaky.policy("default", None)
    for n, status in ((1, "queued"), (2, "failed")):
        said = error("raised", f"no. {n}", public=True, status=422)
        assert await worker.settle(await worker.claim(), Errored(said), policy) == "applied"
        body = (await alice.get(url)).json()
        assert body["status"] == status
        promote(site)
    assert (body["attempt"], body["max_attempts"]) == (2, 2)
    assert (body["error"]["attempts"], body["error"]["title"]) == (2, "no. 2")

    async def failed(outcome: Any) -> dict[str, Any]:
        url = await site.start(alice, "echo", value=1)
        assert await worker.settle(await worker.claim(), outcome) == "applied"
        body = (await alice.get(url)).json()
        assert body["status"] == "failed"
        problem: dict[str, Any] = body["error"]
        assert problem["attempts"] == body["attempt"]
        return problem

    shown = await failed(Errored(error("raised", "second", detail="shown", public=True, status=422), False))
    assert (shown["title"], shown["detail"], shown["status"]) == ("second", "shown", 422)
    assert (await failed(Expired()))["type"] == BASE + "deadline-exceeded"
    inner = error("raised", "inner", public=True, status=422)
    late = await failed(Errored(error("deadline", "late", last_error=inner), False))
    assert late["type"] == BASE + "deadline-exceeded"
    assert late["last_error"]["title"] == "inner"
    assert json.loads(DEADLINE)["kind"] == "deadline"


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        '{"b":1,"a":2.50,"n":9007199254740993,"e":1E+2,"u":"\\u00e9\\u2028","z":-0.0}',
        '"\u2028\u0085\x7f"',
        "12345678901234567890.123456789012345678901234567890",
        "[]",
        "null",
    ],
)
async def test_res_11_results_come_back_unchanged(
    alice: httpx.AsyncClient, site: Site, worker: Hand, text: str
) -> None:
    url = await site.start(alice, "echo", value=1)
    await worker.settle(await worker.claim(), Done(text))
    assert (await alice.get(url + "/result")).text == text
    assert (await alice.get(url)).text.endswith(f',"result":{text}}}')


# ── bodies (413 as RES-06 has it) ────────────────────────────────────────────────────────────────────────────────────


async def test_res_06_413_declared(site: Site) -> None:
    async with served(site.api) as base, checked_client("alice", base_url=base) as alice:
        answer = await alice.post("/reports", content=b"x" * ((1 << 20) + 1))
        assert answer.status_code == 413
        just = b'{"period":"' + b"x" * ((1 << 20) - 13) + b'"}'
        assert len(just) == 1 << 20
        answer = await alice.post("/reports", content=just, headers={"Content-Type": "application/json"})
        assert answer.status_code == 202


@pytest.mark.parametrize("layered", [False, True])
async def test_res_06_413_chunked_before_it_is_buffered(site: Site, layered: bool) -> None:
    """The client sends one chunk after another until it is told to stop; it is told long before its end."""
    api: Any = site.api
    if layered:
        api = BaseHTTPMiddleware(site.api, dispatch=lambda request, call_next: call_next(request))
    async with served(api) as base:
        status, sent = await asyncio.to_thread(_pour, base, 100 << 20)
    assert status == 413
    assert sent < 8 << 20


def _pour(base: str, size: int) -> tuple[int, int]:
    host, port = base.removeprefix("http://").split(":")
    sent = 0
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(
            b"POST /reports HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        try:
            while sent < size:
                wire.sendall(chunk)
                sent += 0x10000
        except OSError:
            pass  # the server has hung up
        answer = b""
        try:
            while part := wire.recv(65536):
                answer += part
        except OSError:
            pass
    return (int(answer.split(b" ", 2)[1]) if answer else 413, sent)


async def test_res_06_a_body_of_nothing_passes(site: Site) -> None:
    api = FastAPI()

    @api.post("/")
    async def empty() -> dict[str, bool]:
        return {"ok": True}

    install_problem_handlers(api, max_body=None)
    limited = BodyLimit(api, limit=0)
    async with checked_client(None, transport=httpx.ASGITransport(limited), base_url="http://site.test") as client:
        assert (await client.post("/")).json() == {"ok": True}
        assert (await client.post("/", content=b"x")).status_code == 413


async def test_res_06_405_names_every_method_of_the_path(site: Site) -> None:
    """RFC 9110 section 15.5.6: whichever router and whichever of its routes was found first."""
    inner = APIRouter()

    async def nothing() -> None: ...

    site.api.add_api_route("/thing/{id}", nothing, methods=["GET"])
    inner.add_api_route("/thing/{id}", nothing, methods=["PUT", "PATCH"])
    site.api.include_router(inner)
    async with site.client() as alice:
        for method in ("DELETE", "POST", "OPTIONS"):
            answer = await alice.request(method, "/thing/1")
            assert answer.status_code == 405
            assert answer.headers.get_list("allow") == ["GET, PUT, PATCH"]
        assert (await alice.delete("/operations")).headers["allow"] == "GET, HEAD"
