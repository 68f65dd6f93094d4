"""The second service as its users meet it: processes and a database of its own, a list of members to be unlinked, and
the ledger as the judge."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.accounts.processes import FLAG, Child
from examples.auth_service.settings import Settings
from examples.urls import SettingsError

from . import forked
from .conftest import check, lent

MEMBERS = 1_000
ENVIRONMENT = {"AUTH_MEMBERS": str(MEMBERS), "AUTH_BATCH": "100", "AUTH_PAUSE_MS": "200", "OFFPATH_LEASE": "2"}


@dataclass
class Auth:
    """The service without a worker, and a client for it."""

    http: httpx2.AsyncClient
    environment: dict[str, str]

    async def call(self, method: str, url: str, body: Any = None, *, user: str | None = "alice") -> httpx2.Response:
        headers = {"Authorization": f"Bearer dev-{user}"} if user else {}
        return await self.http.request(method, url, json=body, headers=headers)

    async def links(self, organization: int, user: str = "admin") -> dict[str, int]:
        found: dict[str, int] = (await self.call("GET", f"/sso-links?organization={organization}", user=user)).json()
        return found

    async def worker(self, *more: str) -> Child:
        return await forked.start("examples.auth_service.worker", *more, env=self.environment)


@contextlib.asynccontextmanager
async def auth_service(database: str) -> AsyncIterator[Auth]:
    environment = {**ENVIRONMENT, "AUTH_DATABASE": database}
    server = await forked.start("examples.auth_service.serve", "--no-worker", "--port", "0", FLAG, env=environment)
    try:
        base_url = (await server.line("ready ")).removeprefix("ready ")
        hooks = {"response": [check]}
        async with httpx2.AsyncClient(base_url=base_url, timeout=100, trust_env=False, event_hooks=hooks) as http:
            yield Auth(http, environment)
    finally:
        code = await server.stop()
    assert code == 0, server.lines


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def auth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Auth]:
    with lent(request, tmp_path_factory.mktemp("auth")) as url:
        async with auth_service(url) as running:
            yield running


async def test_who_may_see_and_unlink_whom(auth: Auth) -> None:
    whole = {"organization": 1, "linked": MEMBERS, "unlinked": 0, "twice": 0}
    assert [await auth.links(1, user) for user in ("alice", "bob", "admin")] == [whole] * 3
    for organization, user in ((2, "alice"), (1, "carol"), (3, "admin")):
        assert (await auth.call("GET", f"/sso-links?organization={organization}", user=user)).status_code == 404
    for wrong in ("", "0", "x", "9" * 30):
        assert (await auth.call("GET", f"/sso-links?organization={wrong}")).status_code == 422
    assert (await auth.call("GET", "/sso-links?organization=1", user=None)).status_code == 401
    some = {"members": [1]}
    assert (await auth.call("POST", "/sso-links/unlink", some, user=None)).status_code == 401
    for user in ("bob", "carol"):
        assert (await auth.call("POST", "/sso-links/unlink", some, user=user)).status_code == 403
    for wrong in ({}, {"members": []}, {"members": [0]}, {"members": ["1"]}, {"members": [2**63]}, {"x": 1, **some},
                  {"members": [True]}, {"members": [1] * 10_001}, []):  # fmt: skip
        assert (await auth.call("POST", "/sso-links/unlink", wrong)).status_code == 422, wrong
    assert (await auth.call("GET", "/operations")).json()["items"] == []


async def test_a_list_is_unlinked_by_an_operation_and_survives_its_worker(auth: Auth) -> None:
    """With members of somebody else's, unknown ones and a repeated one: they are passed over."""
    asked = [*range(1, MEMBERS + 51), 999_999, 7]
    answer = await auth.call("POST", "/sso-links/unlink", {"members": asked})
    assert answer.status_code == 202
    doomed = await auth.worker(FLAG)
    await doomed.line(f"300 of {MEMBERS}")
    assert await doomed.kill() == -9
    half = await auth.links(1)
    assert (half["linked"] + half["unlinked"], half["twice"]) == (MEMBERS, 0)
    assert 0 < half["linked"] < MEMBERS

    other = await auth.worker("--until-empty", FLAG)
    assert await other.process.wait() == 0
    operation = (await auth.call("GET", answer.headers["location"])).json()
    assert operation["result"] == {"members": MEMBERS, "unlinked": MEMBERS}
    assert (operation["status"], operation["attempt"]) == ("succeeded", 1)
    assert operation["progress"] == {"current": MEMBERS, "total": MEMBERS, "unit": "members", "percent": 100}
    assert await auth.links(1) == {"organization": 1, "linked": 0, "unlinked": MEMBERS, "twice": 0}
    assert await auth.links(2) == {"organization": 2, "linked": MEMBERS // 10, "unlinked": 0, "twice": 0}


async def test_two_at_once_take_each_link_once(auth: Auth) -> None:
    """Two jobs on the same members at the same time, in two workers."""
    every = {"members": list(range(1, MEMBERS + MEMBERS // 10 + 1))}
    answers = await asyncio.gather(
        *(auth.call("POST", "/sso-links/unlink", every, user="admin") for _ in range(2)),
    )
    workers = [await auth.worker("--until-empty", FLAG) for _ in range(2)]
    assert [await worker.process.wait() for worker in workers] == [0, 0]
    ends = [(await auth.call("GET", answer.headers["location"], user="admin")).json() for answer in answers]
    assert [end["status"] for end in ends] == ["succeeded"] * 2
    assert sum(end["result"]["unlinked"] for end in ends) == MEMBERS // 10
    assert await auth.links(2) == {"organization": 2, "linked": 0, "unlinked": MEMBERS // 10, "twice": 0}


def test_settings(tmp_path: Path) -> None:
    assert Settings.read({}).database == "sqlite:///auth.db"
    assert Settings.read({"AUTH_PAUSE_MS": "250"}).pause == 0.25
    for name, wrong in (("AUTH_MEMBERS", "0"), ("AUTH_BATCH", "many"), ("AUTH_PAUSE_MS", "-1")):
        with pytest.raises(SettingsError, match=f"{name} must be a whole number"):
            Settings.read({name: wrong})
    with pytest.raises(SettingsError, match="is no database we know") as told:
        Settings.read({"AUTH_DATABASE": "mysql://u:geheim@h/x"})
    assert "geheim" not in str(told.value)
