"""SEC-07, ACC-14, POL-07, POL-08: how much one caller may have, and what happens when a queue is full."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import http_sf
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core.options import CallOptions
from offpath.errors import ConfigurationError
from offpath.http.accept import Start, accept, accept_sync
from offpath.http.gate import LOOK
from offpath.http.limits import CALLERS, Bounds, Quota, Seats, Shares, Windows, come_again, full, rate_limit
from offpath.http.messages import Refused
from offpath.integrations.fastapi import Caller, Operations
from offpath.ports import Pressure
from tests.http.either import STORES, site_on
from tests.http.site import Site, checked_client, eventually, hand, served

pytestmark = pytest.mark.anyio
ALICE, BOB = Caller("alice", "acme"), Caller("bob", "acme")


def slug(answer: httpx.Response) -> str:
    kind: str = answer.json()["type"]
    return kind.rpartition("/")[2]


async def rows(site: Site) -> int:
    found = await site.jobs.store.read(site.jobs.store.verbs.counts())
    return sum(count for _, _, _, count, _, _ in found)


# ── seats ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sec_07_seats_are_counted_by_caller_and_together() -> None:
    seats = Seats()
    mine = [seats.take(ALICE, 2, 3) for _ in range(3)]
    assert mine[2] == "caller"
    theirs = seats.take(BOB, 2, 3)
    assert callable(theirs)
    assert seats.take(Caller("carol"), 2, 3) == "all"
    assert seats.take(Caller("alice", "globex"), 2, 4) != "caller", "a caller of another tenant is another"
    assert seats.taken == 4
    for leave in (mine[0], mine[1], theirs):
        assert callable(leave)
        leave()
    assert (seats.taken, len(seats._of)) == (1, 1), "nothing is kept of who has left or was refused"


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[tuple[Site, httpx.AsyncClient, httpx.AsyncClient]]:
    site = Site(tmp_path, max_streams_per_caller=3, max_streams=5)
    async with (
        served(site.api) as base,
        checked_client("alice", base_url=base) as alice,
        checked_client("bob", base_url=base) as bob,
    ):
        yield site, alice, bob
    site.jobs.close()


async def test_sec_07_streams_and_held_polls_of_one_caller(
    crowd: tuple[Site, httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    site, alice, bob = crowd
    url, theirs = await site.start(alice, "echo", value=1), await site.start(bob, "echo", value=1)
    held = [asyncio.create_task(alice.get(url, headers={"Prefer": "wait=30"})) for _ in range(2)]
    await eventually(lambda: site.service.seats.taken == 2)
    async with alice.stream("GET", url + "/events") as stream:
        assert stream.status_code == 200
        for path, headers in ((url + "/events", {}), (url, {"Prefer": "wait=30"})):
            refused = await alice.get(path, headers=headers)
            assert (refused.status_code, slug(refused)) == (429, "too-many-waiting")
            assert int(refused.headers["retry-after"]) >= 1
        assert (await alice.get(url)).status_code == 200, "what does not wait is not counted"
        async with bob.stream("GET", theirs + "/events") as other:
            assert other.status_code == 200, "bob has seats of his own"
    site.operations.close()
    assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
    await eventually(lambda: site.service.seats.taken == 0)
    assert site.service.seats._of == {}


async def test_sec_07_a_burst_cannot_pass_between_looking_and_sitting_down(
    crowd: tuple[Site, httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    site, alice, _ = crowd
    url = await site.start(alice, "echo", value=1)

    async def one() -> int:
        async with alice.stream("GET", url + "/events") as response:
            if response.status_code == 200:
                async for _ in response.aiter_raw():
                    pass
            return response.status_code

    running = [asyncio.create_task(one()) for _ in range(20)]
    await eventually(lambda: sum(task.done() for task in running) == 17)
    site.operations.close()
    assert sorted(await asyncio.gather(*running)) == [200] * 3 + [429] * 17
    assert site.service.seats.taken == 0


async def test_sec_07_no_way_out_of_a_route_keeps_a_seat(site: Site, alice: httpx.AsyncClient) -> None:
    url = await site.start(alice, "echo", value=1)
    assert (await alice.head(url + "/events")).status_code == 200
    assert (await alice.head(url, headers={"Prefer": "wait=0"})).status_code == 200
    assert (await alice.get(url, headers={"Prefer": "wait=0"})).status_code == 200
    site.service.recheck = lambda caller: False
    assert (await alice.get(url, headers={"Prefer": "wait=0"})).status_code == 404
    site.service.recheck = lambda caller: 1 / 0 > 0
    assert (await alice.get(url, headers={"Prefer": "wait=0"})).status_code == 500
    assert site.service.seats.taken == 0


def test_sec_07_with_public_everybody_is_one_caller(site: Site) -> None:
    service = Operations(site.jobs, public=True, max_streams=7)._face.service
    assert (service.each, service.gate) == (7, None)
    service = Operations(site.jobs, caller=lambda: None)._face.service
    assert service.each == 100
    assert service.gate is not None
    assert service.gate.shares is not None
    assert service.gate.shares.cap == 10_000
    for wrong in ({"max_live": 0}, {"max_queue_age": -1}, {"per_tenant": 0}, {"poll_quota": (0, 1)}):
        with pytest.raises(ConfigurationError):
            Operations(site.jobs, public=True, **wrong)  # type: ignore[arg-type]  # that is the point


# ── live operations ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("store", STORES)
async def test_sec_07_live_operations_are_capped(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with site_on(store, request, tmp_path, max_live=3) as site, hand(site) as worker:
        async with site.client("alice") as alice, site.client("bob") as bob, site.client("alice@globex") as other:
            for _ in range(3):
                await site.start(alice, "echo", value=1)
            for path in ("/start/echo", "/plain?n=1"):
                refused = await alice.post(path, json={"value": 1})
                assert (refused.status_code, slug(refused)) == (429, "too-many-live")
                assert int(refused.headers["retry-after"]) >= 1
            assert await rows(site) == 3, "nothing is stored"
            await site.start(bob, "echo", value=1)
            await site.start(other, "echo", value=1)
            await worker.done(await worker.claim())
            await site.start(alice, "echo", value=1)
            assert (await alice.post("/plain?n=1")).status_code == 429


@pytest.mark.parametrize("store", STORES)
async def test_sec_07_many_starts_at_once(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with site_on(store, request, tmp_path, max_live=5) as site:
        async with site.client("alice") as alice:
            answers = await asyncio.gather(*(alice.post("/start/echo", json={"value": 1}) for _ in range(60)))
            passed = [answer.status_code for answer in answers].count(202)
            assert 5 <= passed < 30, "those under way at the same moment may pass, and no others"
            assert {answer.status_code for answer in answers} == {202, 429}
            assert await rows(site) == passed
            assert (await alice.post("/start/echo", json={"value": 1})).status_code == 429


def test_sec_07_who_is_far_from_the_cap_costs_nothing() -> None:
    """One look in the store for so many starts as are a twentieth of the cap."""
    shares, looks, live = Shares(1_000), 0, 0
    for now in range(10_000):
        if not shares.use(ALICE, float(now)):
            looks += 1
            if not shares.counted(ALICE, live, shares.begin(ALICE), float(now)):
                break
        live += 1
    assert live == 1_000
    assert looks < 200
    quick = Shares(1_000)
    assert sum(quick.use(ALICE, 0.0) for _ in range(100)) == 50


@given(st.integers(1, 60), st.lists(st.integers(0, 3), max_size=120))
def test_sec_07_one_process_never_passes_its_cap(cap: int, moves: list[int]) -> None:
    """Starts one after the other, and ends in between: never more live than the cap, and none refused below it."""
    shares, live, now = Shares(cap), 0, 0.0
    for move in moves:
        now += move
        if move == 0 and live:
            live -= 1
            continue
        admitted = shares.use(ALICE, now) or shares.counted(ALICE, live, shares.begin(ALICE), now)
        assert admitted is (live < cap)
        live += admitted


def test_sec_07_memory_is_bounded() -> None:
    shares, windows = Shares(40), Windows(Quota(5, 60))
    for n in range(CALLERS + 50):
        caller = Caller(str(n))
        assert shares.use(caller, 0.0)
        shares.begin(caller)
        windows.count(caller, 0.0)
    assert max(len(shares._left), len(shares._started), len(windows._open)) <= CALLERS


# ── full queues ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_acc_14_the_decision() -> None:
    seen = Pressure(50, 12.0, {"acme": 30, "globex": 2})
    assert full(seen, "acme", Bounds()) is None
    assert full(seen, "acme", Bounds(51, 12.1, 31)) is None
    assert full(seen, "acme", Bounds(depth=50)) == "overloaded"
    assert full(seen, "acme", Bounds(age=12.0)) == "overloaded"
    assert full(seen, "acme", Bounds(per_tenant=30)) == "quota-exceeded"
    assert full(seen, "globex", Bounds(per_tenant=3)) is None
    assert full(seen, "new", Bounds(50, None, 1)) == "overloaded"
    assert full(seen, "acme", Bounds(50, 1.0, 1)) == "quota-exceeded", "its own doing is told first"
    assert [come_again(seen._replace(age=age)) for age in (0.0, 12.0, 1e9)] == [1.0, 12.0, 60.0]


@pytest.mark.parametrize("store", STORES)
async def test_acc_14_a_full_queue_is_503_and_a_full_share_429(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    now = 0.0
    with site_on(store, request, tmp_path, max_queue_depth=4, per_tenant=2) as site, hand(site) as worker:
        gate = site.service.gate
        assert gate is not None
        gate.clock = lambda: now
        async with site.client("a@acme") as acme, site.client("b@acme") as also, site.client("c@globex") as globex:
            for client in (acme, also):
                await site.start(client, "echo", value=1)
            now += LOOK
            for path in ("/start/echo", "/plain?n=1"):
                refused = await also.post(path, json={"value": 1})
                assert (refused.status_code, slug(refused)) == (429, "quota-exceeded")
            await site.start(globex, "echo", value=1)
            await site.start(globex, "echo", value=1)
            now += LOOK
            async with site.client("d@new") as new:
                refused = await new.post("/start/echo", json={"value": 1})
            assert (refused.status_code, slug(refused)) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            assert await rows(site) == 4, "nothing is stored"
            await worker.claim()
            await worker.claim()
            now += LOOK
            await site.start(acme, "echo", value=1)


async def test_acc_14_retry_after_is_how_long_the_queue_has_stood(tmp_path: Path) -> None:
    site = Site(tmp_path, max_queue_age=20.0)
    async with site.client("alice") as alice:
        await site.start(alice, "echo", value=1)
        assert site.service.gate is not None
        for age, expected in ((40.0, 40), (900.0, 60)):
            site.service.gate._queues["default"] = (site.service.gate.clock() + 60, Pressure(1, age))
            refused = await alice.post("/start/echo", json={"value": 1})
            assert (refused.status_code, slug(refused), int(refused.headers["retry-after"])) == (
                503,
                "overloaded",
                expected,
            )
    site.jobs.close()


async def test_acc_14_the_store_is_asked_once_a_second_for_each_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, max_queue_depth=1_000)
    gate, store, now = site.service.gate, site.jobs.store, 0.0
    assert gate is not None
    gate.clock = lambda: now
    asked: list[str] = []
    pressure = store.verbs.pressure

    def counted(queue: str, limit: int, tenants: int) -> Any:
        asked.append(queue)
        return pressure(queue, limit, tenants)

    monkeypatch.setattr(store.verbs, "pressure", counted)

    def start(queue: str | None = None) -> Start:
        return Start(ALICE, "http://x/operations", CallOptions(owner="alice", queue=queue), "", None)

    args = site.echo.bind(1)
    for _ in range(2):
        for _ in range(20):
            await accept(site.service, site.echo, args, start())
        await asyncio.to_thread(accept_sync, site.service, site.echo, args, start("other"))
        now += LOOK
    assert asked == ["default", "other", "default", "other"]
    site.jobs.close()


async def test_acc_14_nothing_is_asked_when_nothing_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    reads: list[Any] = []
    read = site.jobs.store.read
    monkeypatch.setattr(site.jobs.store, "read", lambda verb: (reads.append(verb), read(verb))[1])
    async with site.client("alice") as alice:
        for _ in range(50):
            await site.start(alice, "echo", value=1)
    assert reads == []
    site.service.gate = None
    assert site.service.admit(ALICE, "default") is None
    site.jobs.close()


async def test_acc_14_a_start_that_is_refused_in_a_transaction_writes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, max_live=1)
    start = Start(Caller("alice"), "http://x/operations", CallOptions(owner="alice"), "", None)
    await accept(site.service, site.echo, site.echo.bind(1), start)
    with pytest.raises(Refused):
        await accept(site.service, site.echo, site.echo.bind(1), start._replace(tx=object()))
    assert await rows(site) == 1
    site.jobs.close()


# ── polls ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pol_07_08_a_quota_of_polls(tmp_path: Path) -> None:
    site = Site(tmp_path, poll_quota=(3, 10))
    now = 100.0
    site.service.clock = lambda: now
    with hand(site) as worker:
        async with site.client("alice") as alice, site.client("bob") as bob:
            url = await site.start(alice, "echo", value=1)
            left = []
            for path in ("", "/result", ""):
                answer = await alice.get(url + path)
                assert answer.headers["ratelimit-policy"] == '"polls";q=3;w=10'
                left.append(answer.headers["ratelimit"])
                now += 1
            assert left == ['"polls";r=2;t=10', '"polls";r=1;t=9', '"polls";r=0;t=8']
            before = (await bob.get(url)).status_code
            refused = await alice.get(url)
            assert (refused.status_code, slug(refused)) == (429, "polled-too-fast")
            assert refused.headers["ratelimit"] == '"polls";r=0;t=7'
            assert int(refused.headers["retry-after"]) >= 7
            assert (await alice.get(url, headers={"Prefer": "wait=5"})).status_code == 429
            now += 7
            answer = await alice.get(url, headers={"If-None-Match": '"1"'})
            assert answer.status_code == 304, "and it is as it was"
            assert answer.headers["ratelimit"] == '"polls";r=2;t=10'
            assert before == 404
            assert (await alice.get("/operations")).status_code == 200, "only polls are counted"
            await worker.done(await worker.claim())
    site.jobs.close()


async def test_pol_07_off_by_default(site: Site, alice: httpx.AsyncClient) -> None:
    url = await site.start(alice, "echo", value=1)
    for _ in range(30):
        answer = await alice.get(url)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("ratelimit")]


@given(st.integers(1, 20), st.integers(1, 30), st.lists(st.floats(0, 12), max_size=80))
def test_pol_08_never_more_than_the_quota_in_a_window(most: int, seconds: int, pauses: list[float]) -> None:
    windows, now, passed = Windows(Quota(most, seconds)), 0.0, list[float]()
    for pause in pauses:
        now += pause
        left = windows.count(ALICE, now)
        assert 0 <= left.more < most
        assert 1 <= left.seconds <= seconds
        if not left.refused:
            passed.append(now)
        for name, text in rate_limit("polls", Quota(most, seconds), left):
            ((item, params),) = http_sf.parse(text.encode(), tltype="list")
            assert item == "polls"
            assert set(params) == ({"q", "w"} if name == "RateLimit-Policy" else {"r", "t"})
    for at in passed:
        assert sum(at <= other < at + seconds for other in passed) <= 2 * most, "twice where two windows meet"
