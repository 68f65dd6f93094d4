"""PATCH and preconditions in the reference application, over real HTTP. No worker runs until a test starts one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from . import forked
from .conftest import World, lent, running
from .test_api import problem

JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
OFF = {"op": "replace", "path": "/allow-custom-sso", "value": False}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("organizations")
    with lent(request, folder) as url:
        async with running(folder, "--no-worker", database=url) as running_world:
            yield running_world


async def patch(
    world: World, body: Any, media: str = JSON_PATCH, *, id: Any = 1, user: str | None = "alice", **headers: str
) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": media}
    if user:
        named["Authorization"] = f"Bearer dev-{user}"
    return await world.http.patch(f"/org/{id}", content=content, headers=named)


async def acme(world: World) -> dict[str, Any]:
    body: dict[str, Any] = (await world.call("GET", "/org/1")).json()
    return body


@contextlib.asynccontextmanager
async def all_together(world: World, number: int) -> AsyncIterator[None]:
    """PostgreSQL: what is sent inside comes as far as it can with the first organization, all of it, before any of it
    may go on. SQLite has one writer anyway."""
    if world.database.startswith("sqlite"):
        yield
        return
    connection = await asyncpg.connect(world.database)
    try:
        async with connection.transaction():
            await connection.execute("select 1 from organizations where id = 1 for update")
            yield
            while await connection.fetchval(WAITING) < number:
                await connection.execute("select pg_stat_clear_snapshot()")
    finally:
        await connection.close()


async def test_members_and_administrators_see_an_organization(world: World) -> None:
    for user in ("alice", "bob", "admin"):
        answer = await world.call("GET", "/org/1", user=user)
        body = answer.json()
        assert (answer.status_code, set(body)) == (200, {"id", "name", "allow-custom-sso", "version"})
        assert (body["id"], answer.headers["etag"]) == (1, f'"{body["version"]}"')
    assert (await world.call("GET", "/org/2", user="carol")).json()["name"] == "globex"
    for user, id in (
        ("carol", "1"),
        ("alice", "2"),
        ("admin", "3"),
        ("admin", "0"),
        ("admin", "-1"),
        ("admin", "9" * 30),
    ):
        problem(await world.call("GET", f"/org/{id}", user=user), 404)
        problem(await patch(world, OFF, id=id, user=user), 404)
    problem(await world.call("GET", "/org/acme"), 422)
    problem(await world.call("GET", "/org/1", user=None), 401)
    same = await world.call("GET", "/org/1", If_None_Match=f"W/{answer.headers['etag']}")
    assert (same.status_code, same.headers["etag"]) == (304, answer.headers["etag"])


async def test_who_may_patch(world: World) -> None:
    before = await acme(world)
    problem(await patch(world, OFF, user=None), 401)
    problem(await patch(world, OFF, user=None, media="text/plain"), 401)
    problem(await patch(world, OFF, user="carol"), 404)
    for id, user in ((1, "bob"), (2, "carol")):
        problem(await patch(world, OFF, id=id, user=user), 403)
        problem(await patch(world, OFF, id=id, user=user, If_Match='"0"'), 403)
    assert await acme(world) == before
    assert (await patch(world, OFF, id=2, user="admin")).json()["allow-custom-sso"] is False


@pytest.mark.parametrize("media", [JSON_PATCH, "application/json", "application/json; charset=utf-8"])
async def test_pat_02_one_bare_operation_or_an_array_under_two_media_types(world: World, media: str) -> None:
    for wanted in (False, True):
        before = await acme(world)
        change = {**OFF, "value": wanted}
        answer = await patch(world, change if wanted else [change], media)
        changed = before["allow-custom-sso"] is not wanted
        after = before | {"allow-custom-sso": wanted, "version": before["version"] + changed}
        assert (answer.status_code, answer.json()) == (200, after)
        assert answer.headers["etag"] == f'"{after["version"]}"'
        assert await acme(world) == after
        assert (await patch(world, change, media)).json() == after  # nothing changes: nothing is counted


async def test_pat_10_merge_patch(world: World) -> None:
    before = await acme(world)
    answer = await patch(world, {"name": "Acme Inc.", "allow-custom-sso": True}, MERGE_PATCH)
    assert answer.json() == before | {"name": "Acme Inc.", "allow-custom-sso": True, "version": before["version"] + 1}
    problem(await patch(world, {"name": None}, MERGE_PATCH), 422)


async def test_pat_03_to_06_bad_patches_change_nothing(world: World) -> None:
    before = await acme(world)
    rename = {"op": "replace", "path": "/name", "value": "x"}
    for body, status in (
        (b"{", 400), (b"", 400), (b"[" * 100_000, 400), ({"op": "spam", "path": "/name"}, 400), ("text", 400),
        (None, 400), ([{"op": "replace", "path": "name", "value": "x"}], 400),
        (b'{"op":"add","path":"/name","value":"\\ud800"}', 400),
        ([rename, {"op": "test", "path": "/version", "value": 0}], 409),
        ([rename, {"op": "remove", "path": "/x"}], 409),
        ([rename, {"op": "test", "path": "/allow-custom-sso", "value": int(before["allow-custom-sso"])}], 409),
        ([rename, {"op": "replace", "path": "/id", "value": 2}], 422),
        ({**rename, "path": "/version", "value": 0}, 422), ({**rename, "value": "a\x00b"}, 422),
        ({**rename, "value": 1}, 422), ({**OFF, "value": "false"}, 422), ({**OFF, "value": 0}, 422),
        ({"op": "add", "path": "/owner-id", "value": 2}, 422),
        ({"op": "add", "path": "/allow_custom_sso", "value": False}, 422),
        ({"op": "add", "path": "", "value": {}}, 422), ([{"op": "copy", "from": "", "path": "/a"}] * 70, 422),
        ([{"op": "test", "path": "/id", "value": 1}] * 1_001, 422), (b" " * 300_000, 413),
    ):  # fmt: skip
        problem(await patch(world, body), status)
        assert await acme(world) == before, body
    answer = await patch(world, rename, "text/plain")
    problem(answer, 415)
    assert answer.headers["accept-patch"] == f"{JSON_PATCH}, {MERGE_PATCH}, application/json"


async def test_pat_02_options_of_an_organization(world: World) -> None:
    answer = await world.http.options("/org/1")
    assert answer.headers["accept-patch"] == f"{JSON_PATCH}, {MERGE_PATCH}, application/json"
    assert answer.headers["allow"] == "GET, OPTIONS, PATCH"


async def test_cnd_02_if_match_is_optional_and_of_ten_at_once_one_wins(world: World) -> None:
    before = await acme(world)
    tag = f'"{before["version"]}"'
    problem(await patch(world, OFF, If_Match='"0"'), 412)
    problem(await patch(world, OFF, If_Match=f"W/{tag}"), 412)
    problem(await patch(world, OFF, If_Match="0"), 400)
    assert await acme(world) == before
    names = [f"name {n}" for n in range(10)]
    async with all_together(world, len(names)):
        sending = [asyncio.create_task(patch(world, {"name": name}, MERGE_PATCH, If_Match=tag)) for name in names]
    answers = await asyncio.gather(*sending)
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] + [412] * 9
    after = await acme(world)
    assert after == before | {"name": names[statuses.index(200)], "version": before["version"] + 1}
    assert (await patch(world, OFF, If_Match=f'"0", "{after["version"]}"')).status_code == 200


# ── users ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def bob(name: str) -> dict[str, Any]:
    return {"username": name, "email": "bob@acme.example", "phoneNumber": None}


async def test_cnd_02_a_stale_if_match_changes_no_user_and_tells_nobody(world: World) -> None:
    before = (await world.call("GET", "/users/2", user="bob")).json()
    letters = len(world.received.letters)
    for more in ({}, {"Prefer": "respond-async"}):
        problem(await world.call("PUT", "/users/2", bob("stale"), user="bob", If_Match='"0"', **more), 412)
        problem(await world.call("PUT", "/users/2", bob("stale"), user="alice", If_Match='"0"', **more), 404)
        problem(await world.call("PUT", "/users/2", bob("stale"), user="bob", If_Match="0", **more), 400)
    problem(await world.call("PATCH", "/api/user/update", {"username": "stale"}, user="bob", If_Match='"0"'), 412)
    problem(await world.call("GET", "/users/2", user="bob", If_Match='"0"'), 412)
    assert (await world.call("GET", "/users/2", user="bob")).json() == before
    assert (await world.call("GET", "/operations", user="bob")).json()["items"] == []
    fresh = await world.call("PUT", "/users/2", bob("fresh"), user="bob", If_Match=f'"{before["version"]}"')
    assert fresh.status_code == 200
    assert len(world.received.letters) == letters + 1
    again = await world.call("PATCH", "/api/user/update", {"username": "f"}, user="bob", If_Match=fresh.headers["etag"])
    assert again.json()["data"]["version"] == before["version"] + 2


async def test_cnd_07_a_put_has_a_validator_only_when_all_of_it_was_stored(world: World) -> None:
    answer = await world.call("PUT", "/users/2", bob("bob"), user="bob")
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
    more = await world.call("PUT", "/users/2", {**bob("bob"), "nickname": "b"}, user="bob")
    assert (more.status_code, "etag" in more.headers) == (200, False)


async def test_cnd_09_the_version_counts_when_the_worker_writes(world: World) -> None:
    """Both are accepted while the version is that of their If-Match; the first to run makes the second stale."""
    before = (await world.call("GET", "/users/2", user="bob")).json()
    tag = f'"{before["version"]}"'
    accepted = [
        await world.call("PUT", "/users/2", bob(name), user="bob", Prefer="respond-async", If_Match=tag)
        for name in ("one", "two")
    ]
    assert [answer.status_code for answer in accepted] == [202, 202]
    worker = await forked.start(
        "examples.accounts.worker", "--database", world.database, "--until-empty", env=world.environment
    )
    assert await worker.process.wait() == 0
    ends = [(await world.call("GET", answer.headers["location"], user="bob")).json() for answer in accepted]
    assert sorted(end["status"] for end in ends) == ["failed", "succeeded"]
    [lost], [won] = ([end for end in ends if end["status"] == status] for status in ("failed", "succeeded"))
    assert (lost["error"]["status"], lost["attempt"]) == (412, 1)
    assert lost["error"]["type"].endswith("/precondition-failed")
    after = (await world.call("GET", "/users/2", user="bob")).json()
    assert after == won["result"]
    assert after["version"] == before["version"] + 1
    told = [letter for letter in world.received.letters if lost["id"] in letter.id]
    assert told == []
