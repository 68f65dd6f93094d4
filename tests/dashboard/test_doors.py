"""Who may come in, and what a foreign page can do: nothing."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from starlette.applications import Starlette
from starlette.routing import Mount

from offpath.admin import Admin
from offpath.dashboard.files import version
from offpath.dashboard.gate import KNOCKS, PEERS, POLICY, SPELL, Knocks
from offpath.errors import ConfigurationError, JobFailed
from offpath.integrations.fastapi import Operations
from offpath.integrations.starlette import Operations as StarletteOperations
from tests.dashboard.payloads import corpus
from tests.dashboard.place import PEOPLE, Board, Maker, field, send

pytestmark = pytest.mark.anyio
OURS = {"Sec-Fetch-Site": "same-origin"}


async def failed(board: Board, text: str = "no") -> str:
    """A job that has failed."""
    job = await board.breaks.enqueue(text=text)
    async with board.jobs.worker():
        with pytest.raises(JobFailed):
            await job.result(timeout=60)
    return job.id


# ── who ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a19_a_stranger_is_asked_to_sign_in(board: Board) -> None:
    async with board.client(None) as client:
        for path in ("", "jobs", "jobs/019a0f3c-5b7e-7cc1-9d0e-2f6b8a4c1d3e", "audit?actor=x"):
            answer = await client.get(path)
            assert answer.status_code == 303
            assert "sign-in" in answer.headers["location"]
        answer = await client.get("jobs", headers={"X-Offpath-Part": "1"})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_a19_without_the_permission_nothing_is_shown(board: Board) -> None:
    async with board.client("nobody") as client:
        for path in ("", "jobs", "audit"):
            answer = await client.get(path)
            assert answer.status_code == 403
            assert "offpath.read" in answer.text
            assert '<nav aria-label="Pages"' not in answer.text or "Jobs</h1>" not in answer.text


async def test_a19_who_only_reads_has_no_buttons_and_is_refused(board: Board) -> None:
    id = await failed(board)
    async with board.client("reader") as client:
        page = (await client.get(f"jobs/{id}")).text
        assert "/retry" not in page
        assert "read-only" in page
        assert "Show values" not in page
        keeper = (await client.get("jobs", headers={"Authorization": "Bearer keeper"})).text
        token = field((await client.get("sign-in")).text)
        for form in (token, field(keeper) if 'name="form"' in keeper else "x", ""):
            answer = await client.post(f"jobs/{id}/retry", data={"form": form}, headers=OURS)
            assert answer.status_code == 403
    assert len([one async for one in board.jobs.list()]) == 1


async def test_sign_in_and_out(board: Board) -> None:
    async with board.client(None) as client:
        answer = await client.get("jobs?state=failed")
        page = await client.get(answer.headers["location"])
        form = {"form": field(page.text), "next": field(page.text, "next")}
        wrong = await client.post("sign-in", data={**form, "credential": "wrong"}, headers=OURS)
        assert (wrong.status_code, "not accepted" in wrong.text) == (401, True)
        answer = await client.post("sign-in", data={**form, "credential": "keeper"}, headers=OURS)
        assert (answer.status_code, answer.headers["location"]) == (303, "./jobs?state=failed")
        cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("offpath_token"))
        assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
        assert "Path" not in cookie  # the browser takes the folder of the sign-in page
        assert "keeper" not in cookie
        page = await client.get("jobs")
        assert page.status_code == 200
        leave = field(page.text, "leave")
        answer = await client.post("sign-out", data={"leave": leave}, headers=OURS)
        assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_the_address_that_signs_out_is_no_link_to_it(board: Board) -> None:
    async with board.client() as client:
        answer = await client.get("sign-out")
        assert (answer.status_code, answer.headers["location"]) == (303, "./")
        assert not any(one.startswith("offpath_token") for one in answer.headers.get_list("set-cookie"))


async def test_a19_who_guesses_has_to_wait(board: Board) -> None:
    async with board.client(None) as client:
        form = {"form": field((await client.get("sign-in")).text), "credential": "wrong"}
        said = [(await client.post("sign-in", data=form, headers=OURS)).status_code for _ in range(KNOCKS + 1)]
        assert said == [401] * KNOCKS + [429]
        answer = await client.post("sign-in", data={**form, "credential": "keeper"}, headers=OURS)
        assert (answer.status_code, "set-cookie" in answer.headers) == (429, False), "nothing is learned meanwhile"
        assert "try again in" in answer.text
    async with board.client(None, client=("10.0.0.7", 1)) as other:
        form = {"form": field((await other.get("sign-in")).text), "credential": "keeper"}
        assert (await other.post("sign-in", data=form, headers=OURS)).status_code == 303


def test_a_peer_that_waited_may_try_again() -> None:
    knocks = Knocks()
    for second in range(KNOCKS):
        assert knocks.wait("a", second) == 0
        knocks.failed("a", float(second))
    assert knocks.wait("a", KNOCKS) == SPELL - KNOCKS
    assert knocks.wait("b", KNOCKS) == 0
    assert knocks.wait("a", SPELL) == 0, "the first is forgotten"
    for peer in range(PEERS):
        knocks.failed(str(peer), SPELL)
    assert knocks.wait("a", KNOCKS) == 0, "there is room for so many peers"


async def test_over_https_cookies_are_secure(board: Board) -> None:
    transport = httpx.ASGITransport(board.api)
    async with httpx.AsyncClient(transport=transport, base_url="https://board.test/dashboard/") as client:
        page = await client.get("sign-in")
        answer = await client.post("sign-in", data={"form": field(page.text), "credential": "keeper"}, headers=OURS)
        assert all("Secure" in one for one in answer.headers.get_list("set-cookie"))


@pytest.mark.parametrize(
    "there",
    ["//evil.example/", "/\\evil.example", "https://evil.example", "../../x", "a/%2e%2e/b", "\\\\evil", "a\nb", "/x"],
)
async def test_after_sign_in_nobody_is_sent_elsewhere(board: Board, there: str) -> None:
    async with board.client(None) as client:
        page = await client.get("sign-in")
        form = {"form": field(page.text), "next": there, "credential": "keeper"}
        answer = await client.post("sign-in", data=form, headers=OURS)
        where = answer.headers["location"]
        assert where.startswith("./")
        assert httpx.URL("http://board.test/dashboard/sign-in").join(where).host == "board.test"
        assert httpx.URL("http://board.test/dashboard/sign-in").join(where).path.startswith("/dashboard/")


async def test_a_link_from_an_email_finds_its_way_past_strict_cookies(board: Board) -> None:
    async with board.client(None) as client:
        answer = await client.get("jobs", headers={"Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, 'http-equiv="refresh"' in answer.text) == (200, True)


async def test_the_applications_own_session_is_enough(tmp_path: Path) -> None:
    def by_cookie(request: Request) -> Any:
        return PEOPLE.get(request.cookies.get("shop", ""))

    board = Board(tmp_path, caller=by_cookie)
    async with board.client(None) as client:
        client.cookies.set("shop", "keeper")
        assert (await client.get("jobs")).status_code == 200
        board.api.dependency_overrides[by_cookie] = lambda: None
        assert (await client.get("jobs")).status_code == 303
    board.jobs.close()


# ── no caller: this machine alone ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("client", "host", "more", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8000", {}, 200),
        ("127.0.0.1", "localhost:8000", {}, 200),
        ("::1", "[::1]:8000", {}, 200),
        ("10.0.0.7", "127.0.0.1:8000", {}, 403),
        ("127.0.0.1", "board.example", {}, 403),  # DNS rebinding
        ("127.0.0.1", "127.0.0.1.evil.example", {}, 403),
        ("127.0.0.1", "localhost.evil.example:8000", {}, 403),
        ("127.0.0.1", "127.0.0.1:8000", {"X-Forwarded-For": "8.8.8.8"}, 403),
        ("127.0.0.1", "127.0.0.1:8000", {"Forwarded": "for=8.8.8.8"}, 403),
        ("127.0.0.1", "127.0.0.1:8000", {"X-Forwarded-For": "127.0.0.1"}, 403),
    ],
)
async def test_a19_public_is_for_loopback_and_read_only(
    make: Maker, client: str, host: str, more: dict[str, str], status: int
) -> None:
    board = make(caller=None, public=True)
    await board.breaks.enqueue(text="x")
    async with board.client(None, client=(client, 5000)) as http:
        answer = await http.get("jobs", headers={"Host": host, **more})
        assert answer.status_code == status
        if status == 200:
            assert "read-only" in answer.text
            assert 'name="form"' not in answer.text


def test_without_an_admin_api_there_is_no_dashboard(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for make in (Operations, StarletteOperations):
        with pytest.raises(ConfigurationError, match="admin=Admin"):
            _ = make(board.jobs, public=True).dashboard
    board.jobs.close()


# ── foreign pages ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
)
async def test_a23_a_foreign_form_does_nothing(board: Board, headers: dict[str, str]) -> None:
    id = await failed(board)
    async with board.client() as client:
        form = {"form": field((await client.get(f"jobs/{id}")).text)}
        answer = await client.post(f"jobs/{id}/retry", data=form, headers=headers)
        assert answer.status_code == 403
    assert len([one async for one in board.jobs.list()]) == 1


async def test_a23_a_form_needs_the_word_of_this_session_and_person(board: Board) -> None:
    id = await failed(board)
    async with board.client() as client, board.client() as other:
        theirs = field((await other.get(f"jobs/{id}")).text)
        await client.get("jobs")
        for word in ("", "0" * 64, theirs, "é"):
            answer = await client.post(f"jobs/{id}/delete", data={"form": word}, headers=OURS)
            assert answer.status_code == 403, word
        answer = await client.post(f"jobs/{id}/delete", json={"form": theirs}, headers=OURS)
        assert answer.status_code == 415
    assert len([one async for one in board.jobs.list()]) == 1


async def test_a23_by_origin_where_a_browser_has_no_fetch_metadata(board: Board) -> None:
    id = await failed(board)
    async with board.client() as client:
        form = {"form": field((await client.get(f"jobs/{id}")).text)}
        answer = await client.post(f"jobs/{id}/retry", data=form, headers={"Origin": "http://board.test"})
        assert answer.status_code == 303


async def test_a23_no_get_changes_anything(board: Board) -> None:
    id = await failed(board)
    async with board.client() as client:
        for path in (f"jobs/{id}/retry", f"jobs/{id}/delete", f"jobs/{id}/arguments", "queues/pause?name=default"):
            assert (await client.get(path)).status_code == 303
            assert (await client.head(path)).status_code == 303
        await client.get("jobs/bulk?action=delete&state=failed")
        await client.get(f"jobs/{id}")
    assert len([one async for one in board.jobs.list()]) == 1
    assert [one async for one in board.jobs.audit()] == []


async def test_a26_headers_of_every_answer(board: Board) -> None:
    async with board.client() as client:
        static = f"static/{version()}/app.js"
        for path in ("jobs", "sign-in", "nowhere", "jobs?limit=0", static, "static/x/none.js"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"] == POLICY
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert ("immutable" in headers["cache-control"]) is (path == static)
            assert ("no-store" in headers["cache-control"]) is (path != static)
            assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "static/../asgi.py", "static/x/../../asgi.py", "static/x/%2e%2e/asgi.py", "static/x/..%2fasgi.py",
        "static/x//etc/passwd", "static/x/%00app.js", "static/x/..\\asgi.py", "static/x/templates/layout.html",
        "static//app.js/..", "static/",
    ],
)  # fmt: skip
async def test_a26_no_path_leads_out_of_the_files(board: Board, path: str) -> None:
    async with board.client() as client:
        answer = await client.get(f"http://board.test/dashboard/{path}")
        assert answer.status_code in (404, 303)
        assert "import" not in answer.text


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "jobs?limit=101", "jobs?limit=1000000000", "jobs?limit=-1", "jobs?limit=x", "jobs?limit=0", "?window=999d",
        "?window=1e9", "jobs?older_than=10000000000d", "jobs?older_than=(a%2B)%2B", "jobs?state=nowhere",
        "jobs?id=x'--",
        "jobs?cursor=x", "jobs/bulk?action=drop", "webhooks?enabled=maybe",
        "workers?state=on", "schedules?state=x", "queues?state=late", "jobs?queue=%00",
    ],
)  # fmt: skip
async def test_a24_a25_what_means_nothing_is_refused(board: Board, path: str) -> None:
    if path.startswith(("?", "webhooks")) and not served(board, path):
        pytest.skip("this admin API has no such part")
    async with board.client() as client:
        assert (await client.get(path)).status_code == 400


def served(board: Board, path: str) -> bool:
    return board.operations.dashboard._api.row("GET", "/endpoints" if path.startswith("web") else "") is not None


async def test_a22_what_is_asked_is_text_in_the_answer(board: Board) -> None:
    """Reflected in every parameter of every page."""
    names = ("id", "state", "queue", "task", "owner", "key_prefix", "older_than", "error", "limit", "cursor", "next",
             "window", "name", "actor", "action", "target", "enabled", "tenant", "outstanding")  # fmt: skip
    for page in ("jobs", "jobs/bulk", "audit", "sign-in", "", "queues/one", "schedules/one", "webhooks"):
        async with board.client() as client:
            for text in [*corpus()[:40:8], "'\"><b id=pwned>"]:
                for some in (names[:1], names[1:6], names[6:8], names[8:10], names[10:]):
                    answer = await client.get(page, params=dict.fromkeys(some, text))
                    assert answer.headers["content-type"].startswith("text/html") or answer.status_code in (303, 400)
                    assert text not in answer.text
                    assert "<b id=pwned>" not in answer.text


async def test_methods_and_names_that_are_none(board: Board) -> None:
    async with board.client() as client:
        assert (await client.request("TRACE", "jobs")).status_code == 405
        assert (await client.put("jobs")).status_code == 405
        page = await send(client, "audit", "queues/one?name=mail")
        assert (page.status_code, page.headers["allow"]) == (405, "GET, HEAD")
        assert (await client.get("nowhere/at/all")).status_code == 404
        assert (await client.get("jobs/" + "x" * 36)).status_code == 404
        head = await client.head("jobs")
        assert (head.status_code, head.content) == (200, b"")


# ── wherever it is mounted ───────────────────────────────────────────────────────────────────────────────────────────


def links(page: str) -> set[str]:
    return set(re.findall(r'(?:href|src|action)="([^"#]+)"', page))


@pytest.mark.parametrize("mount", ["/dashboard", "/a/b/c"])
@pytest.mark.parametrize("root_path", ["", "/outside"])
@pytest.mark.parametrize("strips", [True, False])
async def test_below_any_prefix_and_proxy(tmp_path: Path, mount: str, root_path: str, strips: bool) -> None:
    """A proxy that cuts its prefix off, and says so or not; or leaves it there (ASGI's `root_path`)."""
    board = Board(tmp_path, mount=mount)
    id = await failed(board)
    outside = "/outside" if root_path or strips else ""

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        assert path.startswith(outside), path
        inner = path[len(outside) :]
        scope = {**scope, "path": root_path + inner if root_path else inner, "root_path": root_path}
        await board.api(scope, receive, send)

    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(proxy),
        base_url=f"http://board.test{outside}{mount}/",
        headers={"Authorization": "Bearer keeper"},
    )
    async with http as client:
        for page in ("jobs", f"jobs/{id}", "audit"):
            answer = await client.get(page)
            assert answer.status_code == 200
            for link in links(answer.text):
                there = answer.url.join(link)
                if there.host != "board.test":
                    continue
                assert there.path.startswith(f"{outside}{mount}/"), link
                if "retry" not in link and "delete" not in link and "arguments" not in link and "sign-out" not in link:
                    assert (await client.get(there)).status_code in (200, 303), link
        answer = await send(client, f"jobs/{id}/retry", f"jobs/{id}")
        assert answer.status_code == 303
        there = answer.url.join(answer.headers["location"])
        assert there.path.startswith(f"{outside}{mount}/jobs/")
        assert "runs again" in (await client.get(there)).text
        assert "runs again" not in (await client.get(there)).text  # said once
    board.jobs.close()


async def test_in_starlette(tmp_path: Path) -> None:
    board = Board(tmp_path)

    async def who(request: Any) -> Any:
        return PEOPLE.get(request.headers.get("authorization", "").removeprefix("Bearer "))

    operations = StarletteOperations(board.jobs, caller=who, admin=Admin())
    app = Starlette(routes=[*operations.routes, Mount("/jobs", operations.dashboard)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://board.test/jobs/") as client:
        assert (await client.get("jobs", headers={"Authorization": "Bearer keeper"})).status_code == 200
        assert (await client.get("jobs")).status_code == 303
        bare = await client.get("http://board.test/jobs")
        assert (bare.status_code, bare.headers["location"]) == (307, "http://board.test/jobs/")
    board.jobs.close()


async def test_the_callers_own_failure_is_no_sign_in(tmp_path: Path) -> None:
    def broken() -> Any:
        raise RuntimeError("the session database is away")

    board = Board(tmp_path, caller=broken)
    async with board.client(raise_app_exceptions=False) as client:
        answer = await client.get("jobs")
        assert answer.status_code == 500
        assert "session database" not in answer.text
    board.jobs.close()
