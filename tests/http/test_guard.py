"""wire.md 1.14: who may do what. The same decision on every route, before anything is told or done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Cookie, Depends, FastAPI, Header

from offpath.core.ids import is_id
from offpath.core.job import State
from offpath.errors import ConfigurationError
from offpath.http.guard import ACTIONS, foreign, lacks, refusal, token_in
from offpath.http.routes import COLLECTION, ROUTES, allow
from offpath.integrations.fastapi import Accepted, Acceptor, Caller, Operations, install_problem_handlers
from offpath.ports import OperationRow, Statement, Verb
from tests.http.site import Hand, Site, checked_client

pytestmark = pytest.mark.anyio
NOWHERE = "01900000-0000-7000-8000-000000000000"
OF_ONE = [
    (method, path) for path, methods in allow(ROUTES).items() if path != COLLECTION for method in methods.split(", ")
]


# ── the decision ─────────────────────────────────────────────────────────────────────────────────────────────────────


def row(tenant: str, owner: str, *, expired: bool = False) -> OperationRow:
    values: dict[str, Any] = dict.fromkeys(OperationRow._fields)
    return OperationRow(**{**values, "tenant": tenant, "owner": owner, "expired": expired, "status": State.READY})


@pytest.mark.parametrize("action", [one for one in ACTIONS if not one.startswith("admin.")])
def test_sec_01_ownership_comes_before_permissions(action: Any) -> None:
    needs = {"cancel": "may.cancel"}
    mighty = frozenset({"may.cancel", "may.all"})
    for stranger in (Caller("bob", "acme", mighty), Caller("alice", "globex", mighty), Caller("alice", "", mighty)):
        assert refusal(action, stranger, row("acme", "alice"), needs) == "not-found"
        assert refusal(action, stranger, row("acme", "alice", expired=True), needs) == "not-found"
        assert refusal(action, stranger, None, needs) == "not-found"
    assert refusal(action, Caller("alice", "acme", mighty), row("acme", "alice"), needs) is None
    assert refusal(action, Caller("alice", "acme"), row("acme", "alice"), {}) is None
    assert refusal(action, Caller("alice", "acme"), row("acme", "alice", expired=True), {}) == "gone"


def test_can_07_a_permission_is_asked_for_only_where_it_is_configured() -> None:
    needs = {"cancel": "may.cancel"}
    for granted in (None, frozenset[str](), frozenset({"may.read"})):
        assert refusal("cancel", Caller("alice", "", granted), row("", "alice"), needs) == "forbidden"
        assert refusal("read", Caller("alice", "", granted), row("", "alice"), needs) is None
    assert not lacks("cancel", Caller("alice", "", frozenset({"may.cancel"})), needs)


# ── SEC-01: a stranger and a missing id ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def statements(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL of everything that is asked of the store."""
    asked: list[str] = []

    def watched(verb: Verb[Any]) -> Verb[Any]:
        answer: Any = None
        try:
            while True:
                step = verb.send(answer)
                if isinstance(step, Statement):
                    asked.append(step.sql)
                answer = yield step
        except StopIteration as stop:
            return stop.value

    store = site.jobs.store
    read, perform = store.read, store.perform
    monkeypatch.setattr(store, "read", lambda verb: read(watched(verb)))
    monkeypatch.setattr(store, "perform", lambda make: perform(lambda: watched(make() if callable(make) else make)))
    return asked


@pytest.mark.parametrize(("method", "path"), OF_ONE)
@pytest.mark.parametrize("ended", [False, True])
async def test_sec_01_a_stranger_is_told_what_a_missing_id_is_told(
    site: Site, worker: Hand, alice: httpx.AsyncClient, statements: list[str], method: str, path: str, ended: bool
) -> None:
    """Same status, same bytes, same headers, and the same work done: no clock can tell them apart."""
    url = await site.start(alice, "echo", value=1)
    if ended:
        await worker.done(await worker.claim(), 1)
    theirs = url.rpartition("/")[2]
    seen = []
    for id in (theirs, NOWHERE):
        async with site.client("bob") as bob:
            statements.clear()
            headers = {"Prefer": "wait=5", "If-None-Match": '"1"', "Last-Event-ID": "1"}
            answer = await bob.request(method, path.format(operation_id=id), headers=headers)
            seen.append((answer.status_code, answer.content, sorted(answer.headers.items()), list(statements)))
    assert seen[0] == seen[1]
    assert seen[0][0] == 404
    assert len(seen[0][3]) == 1
    assert (await alice.get(url)).status_code == 200, "and nothing was done to it"


async def test_sec_01_the_same_id_in_another_tenant_is_a_stranger(site: Site, alice: httpx.AsyncClient) -> None:
    url = await site.start(alice, "echo", value=1)
    async with site.client("alice@globex") as other:
        assert (await other.get(url)).status_code == 404
        assert (await other.post(url + "/cancel")).status_code == 404
        assert (await other.get("/operations")).json()["items"] == []


async def test_sec_02_ids_are_uuid7_and_open_nothing(
    site: Site, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    ids = [(await site.start(alice, "echo", value=n)).rpartition("/")[2] for n in range(30)]
    assert all(is_id(id) and id[14] == "7" and id[19] in "89ab" for id in ids)
    tails = {id[15:18] + id[19:].replace("-", "") for id in ids}
    assert len({tail[:3] for tail in tails}) > 20, "74 bits that no counter and no clock decides"
    assert len({tail[-6:] for tail in tails}) == len(ids)
    assert {(await bob.get(f"/operations/{id}")).status_code for id in ids} == {404}


async def test_sec_03_open_to_everybody_only_when_it_is_said(site: Site) -> None:
    for options in ({}, {"caller": lambda: "alice", "public": True}):
        with pytest.raises(ConfigurationError, match="public=True"):
            Operations(site.jobs, **options)
    api = FastAPI()
    api.include_router(Operations(site.jobs, public=True).router)
    async with checked_client(None, transport=httpx.ASGITransport(api), base_url="http://site.test") as anyone:
        assert (await anyone.get("/operations")).status_code == 200


# ── CAN-07: permissions ──────────────────────────────────────────────────────────────────────────────────────────────


def granted(authorization: Annotated[str, Header()] = "alice", x_may: Annotated[str | None, Header()] = None) -> Caller:
    return Caller(authorization, "", None if x_may is None else frozenset(x_may.split(",")))


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, caller=granted, permissions={action: f"may.{action}" for action in ACTIONS})
    yield made
    made.jobs.close()


async def test_can_07_cancel_takes_its_own_permission(strict: Site) -> None:
    async with strict.client("alice") as client, strict.client("bob", params={}) as bob:
        client.headers["X-May"] = "may.start,may.read"
        url = await strict.start(client, "echo", value=1)
        for verb in ("/cancel", ":cancel"):
            answer = await client.post(url + verb)
            assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "forbidden")
        assert (await client.get(url)).json()["status"] == "queued"
        bob.headers["X-May"] = "may.cancel,may.read"
        assert (await bob.post(url + "/cancel")).status_code == 404, "a permission is not ownership"
        client.headers["X-May"] = "may.cancel"
        assert (await client.post(url + "/cancel")).json()["status"] == "canceled"


async def test_can_07_each_action_asks_for_its_own(strict: Site) -> None:
    async with strict.client("alice") as client:
        client.headers["X-May"] = ",".join(f"may.{action}" for action in ACTIONS)
        url = await strict.start(client, "echo", value=1)
        await client.post(url + "/cancel")
        for lacking, method, path in (
            ("start", "POST", "/start/echo"),
            ("read", "GET", "/operations"),
            ("read", "GET", url),
            ("read", "GET", url + "/result"),
            ("read", "GET", url + "/events"),
            ("read", "POST", url + "/events/ticket"),
            ("delete", "DELETE", url),
        ):
            others = ",".join(f"may.{action}" for action in ACTIONS if action != lacking)
            body = {"value": 1} if lacking == "start" else None
            answer = await client.request(method, path, headers={"X-May": others}, json=body)
            assert answer.status_code == 403, (lacking, method, path)
        no_word = await client.get(url, headers={"X-May": ""})
        assert no_word.status_code == 403
        assert len((await client.get("/operations")).json()["items"]) == 1, "nothing was started, nothing erased"


def test_can_07_permissions_are_checked_at_start_up(site: Site) -> None:
    for wrong in ({"stop": "x"}, {"cancel": ""}, {"cancel": 5}):
        with pytest.raises(ConfigurationError):
            Operations(site.jobs, public=True, permissions=wrong)

    class User:
        id = 7
        tenant = "acme"
        permissions: Any = ("a", "b")

    face = Operations(site.jobs, caller=lambda: None)._face
    assert face.caller(User()) == Caller("7", "acme", frozenset({"a", "b"}))
    for text in ("may.cancel", 5):
        User.permissions = text
        with pytest.raises(ConfigurationError, match="collection of texts"):
            face.caller(User())


# ── SEC-05: tokens in the URL ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("query", [b"", b"limit=5", b"label=token", b"ticket=x", b"cursor=access_token", b"%ff=%00"])
def test_sec_05_what_is_no_token(query: bytes) -> None:
    assert token_in(query) is None


@pytest.mark.parametrize("name", ["access_token", "token", "ACCESS_TOKEN", "api_key", "jwt", "access%5Ftoken"])
async def test_sec_05_a_long_lived_token_in_the_url_is_refused(site: Site, alice: httpx.AsyncClient, name: str) -> None:
    """Before anybody looks whether it is a good one; and the answer does not repeat it."""
    url = await site.start(alice, "echo", value=1)
    async with site.client(None) as nobody:
        for path in (url, url + "/events", url + "/result", "/operations"):
            for client in (alice, nobody):
                answer = await client.get(f"{path}?limit=1&{name}=secret-canary")
                assert answer.status_code == 400
                assert answer.json()["type"].endswith("/token-in-url")
                assert "canary" not in answer.text


# ── SEC-10: a browser's cookies ──────────────────────────────────────────────────────────────────────────────────────

OURS = "http://site.test"
CROSS = [
    ({"origin": "https://evil.example"}, True),
    ({"origin": "null"}, True),
    ({"origin": "https://site.test.evil.example"}, True),
    ({"origin": "http://[bad"}, True),
    ({"origin": OURS}, False),
    ({"origin": "https://app.example.org"}, False),  # trusted
    ({"origin": "https://APP.example.org", "sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "cross-site"}, True),
    ({"sec-fetch-site": "same-site", "origin": "http://other.site.test"}, True),
    ({"sec-fetch-site": "same-origin", "origin": OURS}, False),
    ({"sec-fetch-site": "none"}, False),
    ({}, False),  # no browser
]


@pytest.mark.parametrize(("sent", "refused"), CROSS)
def test_sec_10_where_it_comes_from(sent: dict[str, str], refused: bool) -> None:
    trusted = frozenset({"https://app.example.org"})
    headers = [(name.encode(), value.encode()) for name, value in {"host": "site.test", **sent}.items()]
    cookie, bearer = (b"cookie", b"session=1"), (b"authorization", b"Bearer x")
    assert foreign([*headers, cookie], trusted) is refused
    assert not foreign(headers, trusted), "without a cookie there is nothing to forge"
    assert not foreign([*headers, cookie, bearer], trusted), "a page cannot make a browser send that"
    twice = [*headers, cookie, (b"origin", b"https://evil.example")]
    assert foreign(twice, trusted) is ("sec-fetch-site" not in sent or refused or "APP" in sent.get("origin", ""))


def session(session: Annotated[str | None, Cookie()] = None) -> Caller | None:
    return None if session is None else Caller(session)


@pytest.mark.parametrize("origins", [None, ("https://app.example.org",)])
async def test_sec_10_cookie_authenticated_routes_check_the_origin(
    tmp_path: Path, origins: tuple[str, ...] | None
) -> None:
    site = Site(tmp_path, caller=session, cookie_origins=origins)
    async with site.client(None, cookies={"session": "alice"}) as browser:
        url = await site.start(browser, "echo", value=1)
        evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        for method, path in (
            ("POST", url + "/cancel"),
            ("DELETE", url),
            ("POST", url + "/events/ticket"),
            ("GET", url + "/events"),  # an EventSource with credentials
        ):
            answer = await browser.request(method, path, headers=evil)
            assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "foreign-origin")
        assert (await browser.get(url, headers=evil)).json()["status"] == "queued", "safe, and CORS guards its reading"
        started = await browser.post("/start/echo", json={"value": 1}, headers=evil)
        assert started.status_code == (202 if origins is None else 403), "starts are the application's, unless it says"
        if origins is not None:
            app = {"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site"}
            assert (await browser.post("/start/echo", json={"value": 1}, headers=app)).status_code == 202
            assert (await browser.post(url + "/cancel", headers=app)).status_code == 200
        assert (await browser.post(url + "/cancel", headers={"Origin": "http://site.test"})).status_code == 200
    site.jobs.close()


async def test_sec_10_our_own_base_url_is_trusted(tmp_path: Path) -> None:
    site = Site(tmp_path, caller=session, base_url="https://api.example.org/v1")
    async with site.client(None, cookies={"session": "alice"}) as browser:
        url = (await site.start(browser, "echo", value=1)).replace("https://api.example.org/v1", "")
        answer = await browser.post(url + "/cancel", headers={"Origin": "https://api.example.org"})
        assert answer.status_code == 200
    with pytest.raises(ConfigurationError, match="absolute URL"):
        Operations(site.jobs, public=True, cookie_origins=["app.example.org"])
    site.jobs.close()


async def test_sec_10_on_a_view_too(site: Site, alice: httpx.AsyncClient) -> None:
    """A route under another path is behind the same door."""
    api = FastAPI()
    api.include_router(site.operations.router)
    api.include_router(site.operations.view("/jobs/{operation_id}/status", "Status"))
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]

    @api.post("/go", status_code=202)
    async def go(accept: accepts) -> Accepted[Any]:
        return await accept(site.echo, value=1)

    install_problem_handlers(api)
    async with checked_client("alice", transport=httpx.ASGITransport(api), base_url="http://site.test") as client:
        id = (await client.post("/go")).json()["id"]
        assert (await client.get(f"/jobs/{id}/status?token=x")).status_code == 400
        assert (await client.get(f"/jobs/{id}/status")).status_code == 200
