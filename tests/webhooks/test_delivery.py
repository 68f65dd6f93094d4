"""From the end of an operation to the receiver: what is sent, when it is sent again, and what ends it."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from offpath.core.job import State
from offpath.core.options import DAY, SECOND
from offpath.errors import JobFailed, Snooze
from offpath.ports import JobFilter, Statement, Verb
from offpath.ports.webhooks import DeliveryState
from offpath.webhooks.signing import new_secret
from tests.webhooks.houses import Build, build, inbox, url
from tests.webhooks.place import House, Inbox, receiving, sender

__all__ = ["build", "inbox", "url"]

pytestmark = pytest.mark.anyio
API = "/webhooks/endpoints"
GONE = 410


async def change(house: House, sql: str) -> None:
    """Meddle with the database, as time would."""

    def verb() -> Verb[None]:
        yield Statement(sql, {}, lambda rows: None)

    await house.jobs.store.perform(verb())


async def jobs_of(house: House) -> list[Any]:
    found = await house.jobs.store.read(
        house.jobs.store.verbs.list_jobs(JobFilter(queue="offpath.webhooks"), None, 100)
    )
    return [one.job or one.finished for one in found]


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_whk_20_whk_21_the_end_of_an_operation_is_sent_as_its_routes_show_it(
    build: Build, url: str, inbox: Inbox
) -> None:
    house = build(url)
    async with house.client() as alice, house.client("bob") as bob, house.jobs:
        made = await house.endpoint(alice, inbox.url + "/alice", headers={"X-Ours": "yes"})
        await house.endpoint(bob, inbox.url + "/bob")
        good = await house.start(alice, value="ö")
        bad = await house.start(alice, "/break")
        await house.drain()
        letters = {letter.json["data"]["id"]: letter for letter in inbox.at("/alice")}
        assert set(letters) == {good, bad}
        assert inbox.at("/bob") == []
        for id, event in ((good, "operation.succeeded"), (bad, "operation.failed")):
            sent = letters[id].verified(made["secret"])
            assert sent["type"] == event
            assert letters[id].headers["x-ours"] == "yes"
            assert letters[id].headers["content-type"] == "application/json"
            data = sent["data"]
            shown = (await alice.get(f"/operations/{id}")).json()
            assert data.pop("sequence") == 3
            assert sent["timestamp"] == shown["finished_at"]
            assert [link.rpartition("/operations")[2] for link in shown.pop("links").values()] == [
                link.removeprefix("https://api.test/operations") for link in data.pop("links").values()
            ]
            assert data == shown


async def test_whk_22_a_large_result_stays_behind_its_link(build: Build, inbox: Inbox) -> None:
    house = build()
    async with house.client() as alice, house.jobs:
        made = await house.endpoint(alice, inbox.url)
        small = await house.start(alice, size=10_000)
        large = await house.start(alice, size=20_000)
        file = await house.start(alice, "/file")
        await house.drain()
        data = {letter.json["data"]["id"]: letter.verified(made["secret"])["data"] for letter in inbox.letters}
    assert len(data[small]["result"]) == 10_001
    assert "result" not in data[large]
    assert "result" not in data[file]
    assert data[large]["links"]["result"] == f"https://api.test/operations/{large}/result"
    assert max(len(letter.body) for letter in inbox.letters) < 20_000


async def test_whk_05_one_id_for_all_attempts_and_for_sending_again(build: Build, url: str, inbox: Inbox) -> None:
    house = build(url, schedule=[0, 0.01, 0.01])
    inbox.say = lambda letter: 500 if len(inbox.letters) < 3 else 204
    async with house.client() as alice, house.jobs, house.jobs.worker():
        made = await house.endpoint(alice, inbox.url)
        operation = await house.start(alice)
        delivery = (await inbox.got(3))[0].id
        await house.reached(delivery, DeliveryState.DELIVERED)
        again = await alice.post(f"{API}/{made['id']}/resend", json={"operation": operation})
        assert (again.status_code, again.json()) == (202, {"deliveries": [delivery], "more": False})
        letters = await inbox.got(4)
        await house.reached(delivery, DeliveryState.DELIVERED)
        assert {letter.id for letter in letters} == {delivery}
        assert "." not in delivery
        assert all(letter.verified(made["secret"])["data"]["id"] == operation for letter in letters)
        tried = await house.attempts(alice, made["id"])
        assert [(one["number"], one["status"], one["state"]) for one in tried] == [
            (4, 204, "delivered"),
            (3, 204, "delivered"),
            (2, 500, "delivered"),
            (1, 500, "delivered"),
        ]


async def test_obs_04_a_webhook_is_a_part_of_the_trace_that_started_its_operation(
    build: Build, url: str, inbox: Inbox
) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    house = build(url, callbacks=["*"], schedule=[0, 0.01])
    inbox.say = lambda letter: 500 if len(inbox.letters) == 1 else 204
    async with house.client() as alice, house.jobs, house.jobs.worker():
        await house.endpoint(alice, inbox.url + "/endpoint")
        headers = {"traceparent": f"00-{trace}-{parent}-01", "tracestate": "shop=1"}
        answer = await alice.post("/start", params={"callback": inbox.url + "/callback"}, headers=headers)
        assert answer.status_code == 202, answer.text
        letters = await inbox.got(3)
        sent = [letter.headers["traceparent"].split("-") for letter in letters]
        assert {(version, id, flags) for version, id, _, flags in sent} == {("00", trace, "01")}
        assert len({span for *_, span, _ in sent} - {parent}) == 3, "each attempt is a part of its own"
        assert {letter.headers["tracestate"] for letter in letters} == {"shop=1"}
        await house.start(alice)
        (other,) = {letter.headers["traceparent"].split("-")[1] for letter in (await inbox.got(4))[3:]}
        assert other != trace, "an operation of no trace has one of its own"


async def test_whk_05_the_timestamp_is_the_attempts(build: Build, inbox: Inbox) -> None:
    house = build(schedule=[0, 0])
    inbox.say = lambda letter: 500 if len(inbox.letters) == 1 else 204
    async with house.client() as alice, house.jobs:
        await house.endpoint(alice, inbox.url)
        await house.start(alice)
        moments = iter([1_700_000_000, 1_700_000_777])
        store, now = house.jobs.store, house.jobs.store.now
        courier = house.webhooks._courier
        await house.drain(["default"])
        [job] = [job for job in await jobs_of(house) if job.state is State.READY]
        for moment in moments:
            object.__setattr__(store, "now", lambda moment=moment: moment * SECOND)
            await change(house, "update offpath_delivery set next_at = null")
            with contextlib.suppress(Snooze):
                await courier.deliver(job.id, (await store.read(store.verbs.work(job.id))).delivery.endpoint)
        object.__setattr__(store, "now", now)
    assert [letter.headers["webhook-timestamp"] for letter in inbox.letters] == ["1700000000", "1700000777"]


# ── again, and no more ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_whk_13_the_schedule_survives_a_restart(build: Build, url: str, inbox: Inbox) -> None:
    house = build(url, schedule=[0, 600, 600])
    house.webhooks._courier.random = lambda: 0.5
    inbox.say = lambda letter: 500
    async with house.client() as alice, house.jobs:
        await house.endpoint(alice, inbox.url)
        await house.start(alice)
        await house.drain()
        [letter] = inbox.letters
    other = build(url, schedule=[0, 600, 600])
    async with other.jobs:
        [job] = await jobs_of(other)
        assert job.state is State.SCHEDULED
        assert job.attempt == 1  # a refusal by the receiver is no failure of ours
        work = await other.jobs.store.read(other.jobs.store.verbs.work(letter.id))
        assert work is not None
        assert work.delivery.next_at is not None
        assert 500 * SECOND < work.delivery.next_at - other.jobs.store.now() <= 600 * SECOND
        await other.drain()
        assert len(inbox.letters) == 1
        await change(other, "update offpath_job set run_at = 0")  # woken too early, by whatever: it is not time yet
        await other.drain()
        assert len(inbox.letters) == 1
        await change(other, "update offpath_job set run_at = 0")
        await change(other, "update offpath_delivery set next_at = 0")
        await other.drain()
        assert len(inbox.letters) == 2
        assert (await jobs_of(other))[0].state is State.SCHEDULED


async def test_whk_17_after_the_last_attempt_its_job_has_failed(build: Build, inbox: Inbox) -> None:
    house = build(schedule=[0, 0.01])
    inbox.say = lambda letter: 503
    async with house.client() as alice, house.jobs, house.jobs.worker():
        made = await house.endpoint(alice, inbox.url)
        await house.start(alice)
        delivery = (await inbox.got(2))[0].id
        await house.reached(delivery, DeliveryState.FAILED)
        job = await house.jobs.get(delivery)
        with pytest.raises(JobFailed, match="not delivered after 2 attempts: 503"):
            await job.result(60)
        inbox.say = lambda letter: 204
        for body in ({"since": "2020-01-01T00:00:00Z"}, {"delivery": delivery}):
            again = await alice.post(f"{API}/{made['id']}/resend", json=body)
            assert again.json()["deliveries"] == [delivery]
            await house.reached(delivery, DeliveryState.DELIVERED)
        assert {letter.id for letter in inbox.letters} == {delivery}
        assert len(inbox.letters) == 4


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"since": 7},
        {"since": "2026-01-01T00:00:00Z", "delivery": "x"},
        {"delivery": None},
        {"all": True},
    ],
)
async def test_whk_17_what_cannot_be_sent_again_is_a_422(build: Build, body: dict[str, Any]) -> None:
    house = build()
    async with house.client() as alice:
        made = await house.endpoint(alice, "http://127.0.0.1:9/")
        assert (await alice.post(f"{API}/{made['id']}/resend", json=body)).status_code == 422


async def test_whk_17_somebody_elses_deliveries_are_not_sent_again(build: Build, inbox: Inbox) -> None:
    house = build()
    async with house.client() as alice, house.client("bob") as bob, house.jobs:
        await house.endpoint(alice, inbox.url + "/alice")
        theirs = await house.endpoint(bob, inbox.url + "/bob")
        operation = await house.start(alice)
        await house.drain()
        [letter] = inbox.letters
        for body in ({"delivery": letter.id}, {"operation": operation}, {"since": "2020-01-01T00:00:00Z"}):
            again = await bob.post(f"{API}/{theirs['id']}/resend", json=body)
            assert again.json()["deliveries"] == []
        await house.drain()
        assert len(inbox.letters) == 1


async def test_whk_10_410_disables_at_once_and_the_owner_is_told(
    build: Build, url: str, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    house = build(url, width=1)
    inbox.say = lambda letter: GONE if letter.path == "/gone" else 204
    async with house.client() as alice, house.jobs:
        gone = await house.endpoint(alice, inbox.url + "/gone")
        await house.endpoint(alice, inbox.url + "/other", events=["endpoint.disabled"])
        for _ in range(5):
            await house.start(alice)
        with caplog.at_level(logging.WARNING, "offpath.webhooks"):
            await house.drain()
        view = (await alice.get(f"{API}/{gone['id']}")).json()
        assert (view["enabled"], view["reason"]) == (False, "the endpoint answered 410 Gone")
        assert len(inbox.at("/gone")) == 1
        await house.drain()
        [told] = inbox.at("/other")
        assert told.json["type"] == "endpoint.disabled"
        assert told.json["data"] == {
            "endpoint": gone["id"],
            "url": inbox.url + "/gone",
            "reason": "the endpoint answered 410 Gone",
        }
        assert [r.offpath for r in caplog.records if r.name == "offpath.webhooks"] == [  # type: ignore[attr-defined]  # ours
            {"signal": "webhooks.disabled", "endpoint": gone["id"], "reason": "the endpoint answered 410 Gone"}
        ]
        refused = await alice.post(f"{API}/{gone['id']}/resend", json={"since": "2020-01-01T00:00:00Z"})
        assert refused.status_code == 409
        await alice.post(f"{API}/{gone['id']}/enable")
        inbox.say = lambda letter: 204
        again = await alice.post(f"{API}/{gone['id']}/resend", json={"since": "2020-01-01T00:00:00Z"})
        assert len(again.json()["deliveries"]) == 5
        await house.drain()
        while [job for job in await jobs_of(house) if job.state < State.SUCCEEDED]:
            await change(house, "update offpath_job set run_at = 0")  # they come again one after the other
            await house.drain()
        assert len({letter.id for letter in inbox.at("/gone")}) == 5


async def test_whk_16_five_days_without_a_success_disable_and_enabling_resets(build: Build, inbox: Inbox) -> None:
    house = build(schedule=[0, 600, 600])
    inbox.say = lambda letter: 500
    async with house.client() as alice, house.jobs:
        made = await house.endpoint(alice, inbox.url)
        await alice.post(f"{API}/{made['id']}/test")
        await house.drain()
        assert (await alice.get(f"{API}/{made['id']}")).json()["failing_since"] is not None
        await change(house, f"update offpath_endpoint set failing_since = failing_since - {5 * DAY}")
        await change(house, "update offpath_delivery set next_at = 0")
        await change(house, "update offpath_job set run_at = 0")
        await house.drain()
        assert await house.state(inbox.letters[0].id) is DeliveryState.CANCELED
        view = (await alice.get(f"{API}/{made['id']}")).json()
        assert (view["enabled"], view["reason"]) == (False, "no success for 5 days")
        view = (await alice.post(f"{API}/{made['id']}/enable")).json()
        assert (view["enabled"], view["failing_since"]) == (True, None)


async def test_whk_16_one_success_starts_the_five_days_anew(build: Build, inbox: Inbox) -> None:
    house = build(schedule=[0, 0.01])
    inbox.say = lambda letter: 500 if len(inbox.letters) == 1 else 204
    async with house.client() as alice, house.jobs, house.jobs.worker():
        made = await house.endpoint(alice, inbox.url)
        await alice.post(f"{API}/{made['id']}/test")
        await house.reached((await inbox.got(2))[0].id, DeliveryState.DELIVERED)
        assert (await alice.get(f"{API}/{made['id']}")).json()["failing_since"] is None


@pytest.mark.parametrize("status", [429, 503])
async def test_whk_11_retry_after_slows_the_whole_endpoint(build: Build, inbox: Inbox, status: int) -> None:
    house = build(schedule=[0, 0.01, 0.01])
    inbox.say = lambda letter: (status, {"Retry-After": "600"}) if letter.path == "/slow" else 204
    async with house.client() as alice, house.jobs:
        await house.endpoint(alice, inbox.url + "/slow")
        await house.endpoint(alice, inbox.url + "/fast")
        await house.start(alice)
        await house.drain()
        await house.start(alice)
        await house.drain()
        assert len(inbox.at("/slow")) == 1  # the second operation's is not even tried
        assert len(inbox.at("/fast")) == 2
        waiting = [job for job in await jobs_of(house) if job.state is State.SCHEDULED]
        assert len(waiting) == 2
        assert all(500 * SECOND < job.run_at - house.jobs.store.now() <= 600 * SECOND for job in waiting)


async def test_whk_12_too_much_at_once_narrows_the_line_and_success_widens_it(build: Build, inbox: Inbox) -> None:
    house = build(schedule=[0, 0.01, 0.01, 0.01], width=8)
    seen: list[int] = []
    inbox.say = lambda letter: 504 if len(inbox.letters) <= 2 else 204
    async with house.client() as alice, house.jobs, house.jobs.worker():
        made = await house.endpoint(alice, inbox.url)
        lines = house.webhooks._courier.lines
        widen = lines.widen

        def watch(name: str, width: int) -> None:
            seen.append(width)
            widen(name, width)

        lines.widen = watch  # type: ignore[method-assign]  # to see what the store has said
        await alice.post(f"{API}/{made['id']}/test")
        await house.reached((await inbox.got(3))[0].id, DeliveryState.DELIVERED)
        await alice.post(f"{API}/{made['id']}/test")
        await inbox.got(4)
    assert seen == [8, 4, 2, 8]


async def test_whk_19_a_tarpit_among_ten_delays_nobody(build: Build, inbox: Inbox) -> None:
    """All of the others' webhooks arrive while not one of the tarpit's has been answered, though its came first and
    there are more of them than the worker has places."""
    house = build(sender=sender(timeout=60))
    never = asyncio.Event()
    inbox.say = lambda letter: never if letter.path == "/tarpit" else 204
    async with house.client() as alice, house.client("bob") as bob, house.jobs:
        await house.endpoint(bob, inbox.url + "/tarpit")
        for n in range(10):
            await house.endpoint(alice, f"{inbox.url}/{n}")
        for _ in range(40):
            await house.start(bob)
        for _ in range(3):
            await house.start(alice)
        async with house.jobs.worker(concurrency=20):
            await inbox.got(4, "/tarpit")
            for n in range(10):
                await inbox.got(3, f"/{n}")
            assert len(inbox.at("/tarpit")) == 4  # as many as one endpoint may have at once
            never.set()


async def test_a_deleted_operation_or_endpoint_ends_its_deliveries(build: Build, inbox: Inbox) -> None:
    house = build()
    async with house.client() as alice, house.jobs:
        made = await house.endpoint(alice, inbox.url)
        first = await house.start(alice)
        await house.drain(["default"])
        assert (await alice.delete(f"/operations/{first}")).status_code == 204
        await house.drain()
        [job] = await jobs_of(house)
        assert (job.state, "the operation has been deleted" in job.error) == (State.CANCELED, True)
        await house.start(alice)
        await house.drain(["default"])
        assert (await alice.delete(f"{API}/{made['id']}")).status_code == 204
        await house.drain()
        assert {job.state for job in await jobs_of(house)} == {State.CANCELED}
        assert inbox.letters == []


async def test_whk_15_what_was_answered_is_shown_to_the_endpoints_owner(build: Build, inbox: Inbox) -> None:
    house = build(schedule=[0])
    async with house.client() as alice, house.client("bob") as bob, house.jobs:
        made = await house.endpoint(alice, "http://127.0.0.1:9/")  # nobody listens there
        await house.start(alice)
        await house.drain()
        [tried] = await house.attempts(alice, made["id"])
        assert (tried["status"], tried["snippet"], tried["state"]) == (None, "", "failed")
        assert tried["error"].startswith("connect: ")
        assert tried["latency_ms"] > 0
        assert (await bob.get(f"{API}/{made['id']}/attempts")).status_code == 404


async def test_sec_08_nothing_secret_is_in_a_log_or_a_job(
    build: Build, inbox: Inbox, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    house = build(schedule=[0, 0.01], callbacks=["*"])
    inbox.say = lambda letter: 500
    secret, token = new_secret(), "a-token-in-the-url"
    async with house.client() as alice, house.jobs, house.jobs.worker():
        with caplog.at_level(logging.DEBUG, "offpath"):
            await house.endpoint(alice, f"{inbox.url}/{token}", secret=secret)
            await house.start(alice, callback=f"{inbox.url}/{token}-2")
            for letter in await inbox.got(4):
                await house.reached(letter.id, DeliveryState.FAILED)
    assert caplog.records
    assert token not in caplog.text
    assert secret[6:] not in caplog.text
    assert all(token not in job.args for job in await jobs_of(house))


# ── a worker dies ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_whk_20_killed_in_the_middle_of_a_delivery_it_is_made_again_under_the_same_id(
    build: Build, url: str
) -> None:
    """kill -9 once the receiver has the request: the answer is never heard, so it comes again."""
    house = build(url, lease=1.0)
    never = asyncio.Event()
    async with receiving() as inbox, house.client() as alice, house.jobs:
        inbox.say = lambda letter: never
        made = await house.endpoint(alice, inbox.url)
        operation = await house.start(alice)
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.webhooks.child", url], cwd=Path(__file__).parents[2], env=os.environ
        )
        try:
            await inbox.got(1)
        finally:
            worker.kill()
            worker.wait(60)
        assert await house.attempts(alice, made["id"]) == []
        inbox.say = lambda letter: 204
        async with house.jobs.worker():
            first, second = await inbox.got(2)
            await house.reached(first.id, DeliveryState.DELIVERED)
        assert first.id == second.id
        assert [letter.verified(made["secret"])["data"]["id"] for letter in (first, second)] == [operation] * 2
        [tried] = await house.attempts(alice, made["id"])
        assert (tried["number"], tried["status"]) == (1, 204)
