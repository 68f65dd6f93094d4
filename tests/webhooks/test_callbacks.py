"""Callback URLs of single requests (WHK-27), and the tenant's secret that signs what goes there (WHK-29)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath
from offpath.errors import ArgumentError, ConfigurationError
from offpath.ports import JobFilter
from offpath.ports.webhooks import DeliveryState
from offpath.webhooks import Webhooks
from offpath.webhooks.guard import Policy
from offpath.webhooks.sender import Sender
from offpath.webhooks.signing import new_key_pair, new_secret
from tests.webhooks.houses import Build, build, inbox, url
from tests.webhooks.place import KEY, House, Inbox

__all__ = ["build", "inbox", "url"]

pytestmark = pytest.mark.anyio
SECRET = "/webhooks/default-secret"


async def refused(house: House, callback: str) -> str:
    """What a start with this callback is told; nothing has been stored."""
    async with house.client() as alice:
        answer = await alice.post("/start", params={"callback": callback})
        assert answer.status_code == 422, answer.text
        [error] = answer.json()["errors"]
        assert error["pointer"] == "#/callback"
        assert (await alice.get("/operations")).json() == {"items": []}
        return str(error["detail"])


async def test_whk_29_a_callback_is_signed_with_the_tenants_secret_which_is_shown_once(
    build: Build, url: str, inbox: Inbox
) -> None:
    private, public = new_key_pair()
    house = build(url, callbacks=["*"], signing_key=private)
    async with house.client("alice@acme") as alice, house.client("bob@acme") as bob, house.jobs:
        operation = await house.start(alice, callback=inbox.url + "/back")
        await house.start(alice)
        await house.drain()
        [letter] = inbox.letters
        assert (letter.path, letter.json["data"]["id"]) == ("/back", operation)
        shown = await alice.post(SECRET)
        assert shown.status_code == 201
        assert "no-store" in shown.headers["cache-control"]
        secret = shown.json()["secret"]
        assert letter.verified(secret)["type"] == "operation.succeeded"
        assert letter.verified(public)
        for again in (alice, bob):
            assert (await again.post(SECRET)).status_code == 409
        async with house.client("guest@acme") as guest:
            for body in ({}, {"rotate": True}):
                assert (await guest.post(SECRET, json=body)).status_code == 403
        async with house.client("carol@globex") as carol:
            assert (await carol.post(SECRET)).json()["secret"] != secret
        new = (await alice.post(SECRET, json={"rotate": True})).json()["secret"]
        assert new != secret
        await house.start(bob, callback=inbox.url)
        await house.drain()
        assert inbox.letters[1].verified(new)
        assert inbox.letters[1].verified(secret)
        [tried] = (await alice.get(f"/webhooks/callbacks/{operation}/attempts")).json()["items"]
        assert (tried["operation"], tried["status"], tried["number"]) == (operation, 204, 1)
        assert (await bob.get(f"/webhooks/callbacks/{operation}/attempts")).status_code == 404
        assert (await bob.get("/webhooks/callbacks/x/attempts")).status_code == 404


async def test_whk_29_a_configured_secret_is_never_shown(build: Build, inbox: Inbox) -> None:
    secret = new_secret()
    house = build(callbacks=["*"], default_secret=lambda tenant: secret if tenant == "acme" else None)
    async with house.client("alice@acme") as alice, house.client("carol@globex") as carol, house.jobs:
        await house.start(alice, callback=inbox.url)
        await house.drain()
        assert inbox.letters[0].verified(secret)
        assert (await alice.post(SECRET)).status_code == 409
        assert (await alice.post(SECRET, json={"rotate": True})).status_code == 409
        assert (await carol.post(SECRET)).status_code == 201
        assert (await carol.post(SECRET, json={"rotate": "yes"})).status_code == 422


async def test_whk_27_callbacks_are_off_by_default(build: Build, inbox: Inbox) -> None:
    assert await refused(build(), inbox.url) == "callback URLs are not taken here"


async def test_whk_27_only_hosts_of_the_list(build: Build, inbox: Inbox) -> None:
    house = build(callbacks=["127.0.0.1", "*.example.com"])
    assert "host" in await refused(house, "https://example.org/")
    assert "host" in await refused(house, "https://example.com.evil.test/")
    async with house.client() as alice, house.jobs:
        await house.start(alice, callback=inbox.url)
        await house.drain()
    assert len(inbox.letters) == 1


async def test_whk_27_a_callback_is_judged_like_an_endpoint(build: Build) -> None:
    async def resolver(name: str, port: int) -> list[str]:
        return ["169.254.169.254"]

    house = build(sender=Sender(Policy(), resolver=resolver), callbacks=["*"])
    for bad in ("http://a.example/", "https://127.0.0.1/", "https://a.example/", "https://a:b@c.example/", "nonsense"):
        assert await refused(house, bad)
    assert "2048" in await refused(house, "https://a.example/" + "x" * 2048)
    await refused(house, "https://a.example/\x00")


async def test_whk_27_a_receiver_consents_by_a_handshake(build: Build, inbox: Inbox) -> None:
    house = build(callbacks="handshake")

    def say(letter: Any) -> Any:
        if "webhook-request-origin" not in letter.headers:
            return 204
        return (
            (200, {"WebHook-Allowed-Origin": letter.headers["webhook-request-origin"]})
            if letter.path == "/yes"
            else 200
        )

    inbox.say = say
    assert "api.test" in await refused(house, inbox.url + "/no")
    async with house.client() as alice, house.jobs:
        await house.start(alice, callback=inbox.url + "/yes")
        await house.drain()
    assert [letter.path for letter in inbox.letters] == ["/no", "/yes", "/yes"]


async def test_whk_27_a_callback_from_a_plain_function(build: Build, inbox: Inbox) -> None:
    house = build(callbacks=["*"])
    async with house.client() as alice, house.jobs:
        await house.start(alice, "/plain", callback=inbox.url)
        assert (await alice.post("/plain", params={"callback": "https://10.0.0.1:1/#x"})).status_code == 422
        await house.drain()
    assert len(inbox.letters) == 1


async def test_whk_27_what_is_no_longer_allowed_is_not_called(build: Build, inbox: Inbox) -> None:
    house = build(callbacks=["*"])
    async with house.client() as alice, house.jobs:
        operation = await house.start(alice, callback=inbox.url)
        await house.drain(["default"])
    strict = build(callbacks=False)
    async with strict.jobs, strict.client() as alice:
        await strict.drain()
        found = await strict.jobs.store.read(
            strict.jobs.store.verbs.list_jobs(JobFilter(queue="offpath.webhooks"), None, 9)
        )
        assert found[0].finished is not None
        assert await strict.state(found[0].finished.id) is DeliveryState.CANCELED
        assert (await alice.get(f"/operations/{operation}")).json()["status"] == "succeeded"
    assert inbox.letters == []


async def test_whk_10_a_callback_that_is_gone_has_failed_and_nobody_is_disabled(build: Build, inbox: Inbox) -> None:
    house = build(callbacks=["*"])
    inbox.say = lambda letter: 410
    async with house.client() as alice, house.jobs:
        await house.start(alice, callback=inbox.url)
        await house.drain()
        assert await house.state(inbox.letters[0].id) is DeliveryState.FAILED


async def test_whk_19_callbacks_to_one_host_wait_in_one_line(build: Build, inbox: Inbox) -> None:
    house = build(callbacks=["*"], width=2)
    never = asyncio.Event()
    inbox.say = lambda letter: never if letter.path == "/slow" else 204
    async with house.client() as alice, house.jobs, house.jobs.worker(concurrency=8):
        for _ in range(10):
            await house.start(alice, callback=inbox.url + "/slow")
        await inbox.got(2, "/slow")
        made = await house.endpoint(alice, inbox.url + "/own")
        await alice.post(f"/webhooks/endpoints/{made['id']}/test")
        await inbox.got(1, "/own")
        assert len(inbox.at("/slow")) == 2
        never.set()


async def test_whk_19_nobody_waits_behind_somebody_elses_callbacks_to_the_same_host(build: Build, inbox: Inbox) -> None:
    house = build(callbacks=["*"], width=2)
    never = asyncio.Event()
    inbox.say = lambda letter: never if letter.path == "/slow" else 204
    async with (
        house.client("carol@globex") as carol,
        house.client("bob@acme") as bob,
        house.jobs,
        house.jobs.worker(concurrency=8),
    ):
        for _ in range(10):
            await house.start(carol, callback=inbox.url + "/slow")
        await inbox.got(2, "/slow")
        await house.start(bob, callback=inbox.url + "/mine")
        await inbox.got(1, "/mine")
        assert len(inbox.at("/slow")) == 2
        never.set()


def test_what_an_application_may_say(build: Build) -> None:
    jobs = build().jobs
    where = "https://api.example.com/operations"
    good = Webhooks(jobs, key=[KEY, "an older key of ours"], operations_url=where, callbacks=["a.example"])
    assert good.public_keys == []
    wrong: list[dict[str, Any]] = [
        {"key": "short"},
        {"operations_url": "/operations"},
        {"operations_url": "https://api.example.com/operations?x=1"},
        {"callbacks": "a.example"},
        {"callbacks": True},
        {"schedule": []},
        {"schedule": ["x"]},
        {"overlap": -1},
        {"endpoints": 0},
        {"width": 0},
        {"signing_key": new_secret()},
        {"default_secret": new_key_pair()[0]},
        {"allow_private": True, "sender": Sender()},
    ]
    for said in wrong:
        with pytest.raises(ConfigurationError):
            Webhooks(jobs, **{"key": KEY, "operations_url": where, **said})


async def test_a_callback_without_webhooks_is_the_programmers_mistake(build: Build) -> None:
    from offpath.core.options import CallOptions
    from offpath.http.accept import Start, accept
    from offpath.http.face import Face
    from offpath.http.messages import Caller

    house = build()
    service = Face(house.jobs, caller=None, public=True).service
    start = Start(Caller("alice"), "https://x/operations", CallOptions(callback="https://x/"), "", None)
    with pytest.raises(ConfigurationError, match="webhooks="):
        await accept(service, house.echo, "{}", start)
    with pytest.raises(ArgumentError):
        await house.webhooks.admit("https://x/")


def test_a_job_that_is_no_operation_takes_no_callback(tmp_path: Path) -> None:
    """Nothing would ever be sent there, with or without `Webhooks`."""
    jobs = Offpath(f"sqlite:///{tmp_path}/app.db")

    @jobs.task
    async def nothing() -> None: ...

    with pytest.raises(ConfigurationError, match="callback= is for operations"):
        nothing.using(callback="https://a.example/").enqueue_sync()
    jobs.close()
