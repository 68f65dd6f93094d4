"""A store that is away, and a proxy that hides the Host: whoever looks after the jobs is told what is wrong."""

from typing import Any

import httpx
import pytest

from offpath.errors import StoreUnavailable
from tests.dashboard.place import Board, Maker, field, send

pytestmark = pytest.mark.anyio


@pytest.fixture
def away(board: Board, monkeypatch: pytest.MonkeyPatch) -> Board:
    """The store says what it says when its server is down."""

    async def read(verb: Any) -> Any:
        raise StoreUnavailable("db.internal:5432/shop refuses connections: start the server, or correct the URL")

    monkeypatch.setattr(board.jobs.store, "read", read)
    return board


async def test_the_cause_is_told_and_the_page_looks_again(away: Board) -> None:
    async with away.client() as client:
        for path in ("", "jobs", "queues"):
            page = await client.get(path)
            assert page.status_code == 503
            assert "db.internal:5432/shop refuses connections" in page.text
            assert 'data-live="load"' in page.text
        answer = await client.get("http://board.test/admin/queues")
        assert (answer.status_code, answer.headers["retry-after"].isdigit()) == (503, True)
        assert "start the server" in answer.json()["detail"]


async def test_but_only_to_who_may_look(away: Board) -> None:
    async with away.client("nobody") as client:
        for path in ("http://board.test/admin/queues", "queues"):
            answer = await client.get(path)
            assert answer.status_code == 403
            assert "db.internal" not in answer.text


async def test_a_403_names_the_permission_to_give(board: Board) -> None:
    async with board.client("reader") as client:
        answer = await client.post("http://board.test/admin/queues/mail/pause")
        assert answer.status_code == 403
        assert "'offpath.write'" in answer.json()["detail"]


async def test_behind_a_proxy_that_hides_the_host(make: Maker) -> None:
    """Over plain http browsers send no Sec-Fetch-Site, only where the page is from."""

    async def pause(board: Board, origin: str, **headers: str) -> httpx.Response:
        async with board.client() as client:
            said = {"Origin": origin, **headers}
            data = {"name": "mail", "form": await form(client)}
            return await client.post("queues/pause", data=data, headers=said)

    async def form(client: httpx.AsyncClient) -> str:
        return field((await client.get("queues/one?name=mail")).text)

    unknown = make()
    refused = await pause(unknown, "http://jobs.intranet")
    assert refused.status_code == 403
    assert "X-Forwarded-Host" in refused.text
    assert "base_url" in refused.text
    assert (await pause(unknown, "http://jobs.intranet", **{"X-Forwarded-Host": "jobs.intranet"})).status_code == 303
    known = make(base_url="http://jobs.intranet/shop")
    assert (await pause(known, "http://jobs.intranet")).status_code == 303
    for foreign in ("http://jobs.intranet.evil", "https://jobs.intranet", "http://evil", "null", ""):
        assert (await pause(known, foreign)).status_code == 403, foreign
    async with known.client() as client:
        assert (await send(client, "queues/resume", "queues/one?name=mail", name="mail")).status_code == 303
