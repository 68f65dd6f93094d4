"""The endpoints API (WHK-18): who may do what, what is shown, what is refused."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from offpath.core.deliveries import ENDS
from offpath.webhooks import VerificationError, verify
from offpath.webhooks.signing import new_key_pair, new_secret
from tests.webhooks.houses import Build, build, inbox, url
from tests.webhooks.place import Inbox

__all__ = ["build", "inbox", "url"]

pytestmark = pytest.mark.anyio
API = "/webhooks/endpoints"
HOOK = "http://127.0.0.1:9/hook"


async def test_whk_18_an_endpoint_from_its_making_to_its_end(build: Build, url: str) -> None:
    house = build(url)
    async with house.client() as alice:
        made = await alice.post(API, json={"url": HOOK, "description": "ours", "events": ["operation.failed"]})
        assert made.status_code == 201
        view = made.json()
        assert made.headers["location"].endswith(f"{API}/{view['id']}")
        secret = view.pop("secret")
        assert (view["url"], view["description"], view["events"], view["enabled"]) == (
            HOOK,
            "ours",
            ["operation.failed"],
            True,
        )
        one = f"{API}/{view['id']}"
        assert (await alice.get(one)).json() == view
        assert (await alice.get(API)).json() == {"items": [view]}
        patched = (await alice.patch(one, json={"url": HOOK + "2", "events": ["endpoint.disabled", *ENDS]})).json()
        assert (patched["url"], patched["description"]) == (HOOK + "2", "ours")
        assert patched["events"] == [*ENDS, "endpoint.disabled"]
        off = (await alice.post(f"{one}/disable")).json()
        assert (off["enabled"], off["reason"]) == (False, "disabled by its owner")
        refused = await alice.post(f"{one}/test")
        assert (refused.status_code, refused.json()["detail"]) == (409, "disabled by its owner")
        on = (await alice.post(f"{one}/enable")).json()
        assert (on["enabled"], on["reason"], on["failing_since"]) == (True, None, None)
        rotated = (await alice.post(f"{one}/rotate")).json()
        assert rotated["secret"] != secret
        assert (await alice.delete(one)).status_code == 204
        assert (await alice.delete(one)).status_code == 404
        assert (await alice.get(one)).status_code == 404


async def test_whk_03_a_secret_is_shown_once_and_sealed_in_the_database(build: Build, tmp_path: Path) -> None:
    house = build()
    async with house.client() as alice:
        made = await house.endpoint(alice, HOOK, headers={"Authorization": "Bearer of-theirs"})
        assert made["secret"].startswith("whsec_")
        other = await house.endpoint(alice, HOOK)
        assert other["secret"] != made["secret"]
        for path in (API, f"{API}/{made['id']}", f"{API}/{made['id']}/attempts"):
            assert "whsec_" not in (await alice.get(path)).text
            assert "of-theirs" not in (await alice.get(path)).text
        assert (await alice.get(f"{API}/{made['id']}/secret")).status_code == 404
        assert (await alice.get(f"{API}/{made['id']}")).json()["headers"] == ["authorization"]
    connection = sqlite3.connect(tmp_path / "jobs.db")
    stored = repr(connection.execute("select * from offpath_endpoint").fetchall())
    connection.close()
    assert "whsec_" not in stored
    assert made["secret"][6:20] not in stored
    assert "of-theirs" not in stored


async def test_sec_01_a_stranger_is_answered_as_for_an_endpoint_that_is_not_there(build: Build, url: str) -> None:
    house = build(url)
    async with house.client() as alice, house.client("bob") as bob, house.client("alice@globex") as carol:
        made = await house.endpoint(alice, HOOK)
        nowhere = "01a21d87-43ce-7457-bfab-219470c5aacf"
        for method, more in (
            ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/attempts"), ("POST", "/rotate"), ("POST", "/enable"),
            ("POST", "/disable"), ("POST", "/test"), ("POST", "/resend"),
        ):  # fmt: skip
            for stranger in (bob, carol):
                body: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": {}}
                theirs = await stranger.request(method, f"{API}/{made['id']}{more}", **body)
                missing = await stranger.request(method, f"{API}/{nowhere}{more}", **body)
                no_id = await stranger.request(method, f"{API}/x{more}", **body)
                assert theirs.status_code == 404, (method, more)
                assert theirs.json() == missing.json() == no_id.json()
        assert (await bob.get(API)).json() == {"items": []}
        assert (await alice.get(f"{API}/{made['id']}")).json()["enabled"] is True
    async with house.client(None) as nobody:
        assert (await nobody.get(API)).status_code == 401


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/url"),
        ({"url": 7}, "#/url"),
        ({"url": "ftp://a.example/"}, "#/url"),
        ({"url": "https://user:pw@a.example/"}, "#/url"),
        ({"url": HOOK, "events": []}, "#/events"),
        ({"url": HOOK, "events": "operation.failed"}, "#/events"),
        ({"url": HOOK, "events": ["operation.*"]}, "#/events"),
        ({"url": HOOK, "events": ["operation.progress"]}, "#/events"),
        ({"url": HOOK, "events": [7]}, "#/events"),
        ({"url": HOOK, "description": "a\u0000b"}, "#/description"),
        ({"url": HOOK, "description": "\ud800"}, "#/description"),
        ({"url": HOOK, "description": "x" * 256}, "#/description"),
        ({"url": HOOK, "headers": {"Webhook-Id": "x"}}, "#/headers"),
        ({"url": HOOK, "headers": {"Host": "x"}}, "#/headers"),
        ({"url": HOOK, "headers": {"x": "a\r\nb"}}, "#/headers"),
        ({"url": HOOK, "headers": [1]}, "#/headers"),
        ({"url": HOOK, "secret": "whsec_c2hvcnQ="}, "#/secret"),
        ({"url": HOOK, "secret": new_key_pair()[0]}, "#/secret"),
        ({"url": HOOK, "secret": 7}, "#/secret"),
        ({"url": HOOK, "surprise": 1}, "#"),
        ([], "#"),
    ],
)
async def test_whk_18_what_cannot_be_an_endpoint_is_a_422_that_says_where(
    build: Build, body: Any, pointer: str
) -> None:
    async with build().client() as alice:
        refused = await alice.post(API, content=json.dumps(body), headers={"content-type": "application/json"})
        assert refused.status_code == 422, refused.text
        assert refused.json()["errors"][0]["pointer"] == pointer


async def test_whk_24_a_url_is_judged_when_it_is_registered(build: Build) -> None:
    from offpath.webhooks.guard import Policy
    from offpath.webhooks.sender import Sender

    asked: list[str] = []

    async def resolver(name: str, port: int) -> list[str]:
        asked.append(name)
        if name == "nowhere.example":
            raise OSError
        return ["93.184.216.34"] if name == "good.example" else ["93.184.216.34", "10.0.0.1"]

    house = build(sender=Sender(Policy(), resolver=resolver))
    async with house.client() as alice:
        made = await house.endpoint(alice, "https://good.example/x")
        for bad in ("https://mixed.example/", "https://nowhere.example/", "https://127.0.0.1/", "http://good.example/"):
            refused = await alice.post(API, json={"url": bad})
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "#/url"), bad
            assert (await alice.patch(f"{API}/{made['id']}", json={"url": bad})).status_code == 422
    assert set(asked) == {"good.example", "mixed.example", "nowhere.example"}


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"", "", 415),
        (b'{"url":"' + b"x" * 70_000 + b'"}', "application/json", 413),
    ],
)
async def test_whk_18_a_body_that_cannot_be_read(build: Build, content: bytes, media_type: str, status: int) -> None:
    async with build().client() as alice:
        headers = {"content-type": media_type} if media_type else {}
        assert (await alice.post(API, content=content, headers=headers)).status_code == status


async def test_sec_07_endpoints_are_capped_per_caller(build: Build) -> None:
    house = build(endpoints=2)
    async with house.client() as alice, house.client("bob") as bob:
        first = await house.endpoint(alice, HOOK)
        await house.endpoint(alice, HOOK)
        refused = await alice.post(API, json={"url": HOOK})
        assert (refused.status_code, refused.json()["detail"]) == (429, "2 at most")
        await house.endpoint(bob, HOOK)
        await alice.delete(f"{API}/{first['id']}")
        await house.endpoint(alice, HOOK)


async def test_whk_18_lists_are_paged_by_cursors_of_their_own(build: Build) -> None:
    house = build()
    async with house.client() as alice, house.client("bob") as bob:
        ids = sorted([(await house.endpoint(alice, HOOK))["id"] for _ in range(5)], reverse=True)  # the newest first
        page = (await alice.get(API, params={"limit": 2})).json()
        found = [one["id"] for one in page["items"]]
        while cursor := page.get("next_cursor"):
            assert (await bob.get(API, params={"cursor": cursor})).status_code == 400
            assert (await alice.get(f"{API}/{ids[0]}/attempts", params={"cursor": cursor})).status_code == 400
            page = (await alice.get(API, params={"limit": 2, "cursor": cursor})).json()
            found += [one["id"] for one in page["items"]]
        assert found == ids
        assert (await alice.get(API, params={"surprise": 1})).status_code == 400


async def test_whk_06_for_a_while_both_secrets_sign_newest_first_then_only_the_new_one(
    build: Build, inbox: Inbox
) -> None:
    house = build(overlap=3600)
    async with house.client() as alice, house.jobs:
        made = await house.endpoint(alice, inbox.url)
        new = (await alice.post(f"{API}/{made['id']}/rotate")).json()["secret"]
        mine = new_secret()
        own = (await alice.post(f"{API}/{made['id']}/rotate", json={"secret": mine})).json()["secret"]
        assert own == mine
        await alice.post(f"{API}/{made['id']}/test")
        await house.drain()
        [letter] = inbox.letters
        both = letter.headers["webhook-signature"]
        assert len(both.split(" ")) == 3
        for secret, signature in zip((mine, new, made["secret"]), both.split(" "), strict=True):
            assert verify(letter.body, {**letter.headers, "webhook-signature": signature}, secret)
        house.webhooks.overlap = 0.0
        last = (await alice.post(f"{API}/{made['id']}/rotate")).json()["secret"]
        await alice.post(f"{API}/{made['id']}/test")
        await house.drain()
        letter = inbox.letters[-1]
        assert len(letter.headers["webhook-signature"].split(" ")) == 1
        assert letter.verified(last)["type"] == "endpoint.test"
        with pytest.raises(VerificationError):
            letter.verified(mine)


async def test_whk_06_rotated_in_the_middle_of_a_delivery(build: Build, inbox: Inbox) -> None:
    """What is under way has been signed by then; what comes after it is signed by both."""
    house = build(schedule=[0, 0.01])
    gate = asyncio.Event()
    inbox.say = lambda letter: gate if len(inbox.letters) == 1 else 204
    async with house.client() as alice, house.jobs, house.jobs.worker():
        made = await house.endpoint(alice, inbox.url)
        await alice.post(f"{API}/{made['id']}/test")
        await inbox.got(1)
        new = (await alice.post(f"{API}/{made['id']}/rotate")).json()["secret"]
        gate.set()
        assert inbox.letters[0].verified(made["secret"])
        await alice.post(f"{API}/{made['id']}/test")
        letter = (await inbox.got(2))[1]
        assert letter.verified(new)
        assert letter.verified(made["secret"])


async def test_whk_04_every_webhook_is_signed_with_the_keys_whose_public_halves_anybody_may_have(
    build: Build, inbox: Inbox
) -> None:
    (new, new_public), (old, old_public) = new_key_pair(), new_key_pair()
    house = build(signing_key=[new, old])
    async with house.client() as alice, house.client(None) as nobody, house.jobs:
        made = await house.endpoint(alice, inbox.url)
        await alice.post(f"{API}/{made['id']}/test")
        await house.drain()
        said = await nobody.get("/webhooks/keys")
        assert said.json() == {"keys": [new_public, old_public]}
        assert said.headers["cache-control"] == "public, max-age=300"
        assert [one.partition(",")[0] for one in inbox.letters[0].headers["webhook-signature"].split()] == [
            "v1",
            "v1a",
            "v1a",
        ]
        for key in (new_public, old_public, made["secret"]):
            assert inbox.letters[0].verified(key)


async def test_whk_18_a_method_or_path_that_is_not_there(build: Build) -> None:
    async with build().client() as alice:
        wrong = await alice.put(API, json={})
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST, GET, HEAD")
        assert (await alice.get(f"{API}/")).status_code == 404
        assert (await alice.get("/webhooks/nothing")).status_code == 404


async def test_doc_01_the_description_has_every_route_of_webhooks(build: Build) -> None:
    from openapi_spec_validator import validate

    house = build()
    document = house.api.openapi()
    validate(document)
    for row in house.webhooks.routes:
        described = document["paths"][row.path][row.methods.split()[0].lower()]["responses"]
        assert {said for said in described if said < "300"} == {str(said) for said in row.answers if said < 300}
    names = {one["operationId"] for path in document["paths"].values() for one in path.values()}
    assert {"create_endpoint", "rotate_endpoint", "resend_deliveries", "list_webhook_keys"} <= names
    body = document["paths"][API]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["url"]


async def test_the_same_routes_on_starlette(build: Build, inbox: Inbox) -> None:
    import httpx
    from starlette.applications import Starlette
    from starlette.requests import Request

    from offpath.integrations.starlette import Operations, install_problem_handlers

    house = build()

    async def caller(request: Request) -> str | None:
        return request.headers.get("authorization")

    app = Starlette(routes=[*Operations(house.jobs, caller=caller, webhooks=house.webhooks).routes])
    install_problem_handlers(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://house.test") as client:
        assert (await client.get("/webhooks/keys")).json() == {"keys": []}
        assert (await client.get(API)).status_code == 401
        client.headers["authorization"] = "alice"
        made = await house.endpoint(client, inbox.url)
        assert (await client.get(f"{API}/{made['id']}")).json()["url"] == inbox.url
        assert (await client.put(API)).status_code == 405


async def test_can_07_webhooks_take_the_permission_that_the_application_asks_for(build: Build) -> None:
    house = build(operations={"permissions": {"webhooks": "webhooks.manage"}})
    async with house.client() as alice:
        for method, path in (("GET", API), ("POST", API), ("POST", "/webhooks/default-secret")):
            refused = await alice.request(method, path, **({"json": {}} if method == "POST" else {}))
            assert refused.status_code == 403, path
        assert (await alice.get("/webhooks/keys")).status_code == 200
        assert (await alice.get("/operations")).status_code == 200
