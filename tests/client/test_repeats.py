"""Starts against routes that remember answers and know `Prefer`: lost answers, and results at once."""

from pathlib import Path
from typing import Any

import pytest

from tests.client.both import either
from tests.http.site import Site, served

pytestmark = pytest.mark.anyio


class Losing:
    """An ASGI application: the first `count` answers of `app` are lost, as behind a gateway that restarts."""

    def __init__(self, app: Any, count: int) -> None:
        self.app = app
        self.left = count
        self.keys: list[str | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        self.keys.append(dict(scope["headers"]).get(b"idempotency-key", b"").decode())
        if self.left == 0:
            await self.app(scope, receive, send)
            return
        self.left -= 1

        async def lost(message: Any) -> None: ...

        await self.app(scope, receive, lost)
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_idk_09_the_work_of_a_start_whose_answers_are_lost_is_done_once(kind: str, tmp_path: Path) -> None:
    site = Site(tmp_path)
    losing = Losing(site.api, 2)
    async with served(losing) as url, site.jobs.worker(), either(kind, url) as client:
        started = await client.start("POST", "/reports", json={"period": "may"})
        assert await started.do("result", timeout=60) == {"url": "/files/may"}
        [only] = await client.operations()
        assert only.id == started.it.id
        assert site.runs == [only.id]
        assert len(losing.keys) == 3
        assert len(set(losing.keys)) == 1
    site.jobs.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_prf_03_the_result_at_once_when_it_is_quick_enough(kind: str, tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with served(site.api) as url, site.jobs.worker(), either(kind, url) as client:
        quick = await client.start("POST", "/reports", json={"period": "may"}, prefer_wait=20)
        assert quick.it.done
        assert await quick.do("result") == {"url": "/files/may"}
        slow = await client.start("POST", "/start/gated", json={}, prefer_wait=1)
        assert not slow.it.done
        site.gate.set()
        assert await slow.do("result", timeout=60) == "through"
    site.jobs.close()
