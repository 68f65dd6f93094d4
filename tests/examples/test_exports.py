"""Exports: the file, its owner, and the webhook at the end (DESIGN §5 and §6)."""

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.accounts import exports
from offpath.webhooks.signing import new_secret

from ..webhooks.place import receiving
from .conftest import World, running

pytestmark = pytest.mark.anyio
SECRET = new_secret()


@pytest.fixture(scope="module")
async def private(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """With receivers on this machine allowed."""
    switches = {"ACCOUNTS_ALLOW_PRIVATE_WEBHOOKS": "1", "ACCOUNTS_WEBHOOK_SECRET": SECRET}
    async with running(tmp_path_factory.mktemp("accounts"), **switches) as world:
        yield world


async def export(world: World, body: dict[str, Any], user: str = "alice") -> dict[str, Any]:
    """Start one and follow it to its end."""
    accepted = await world.call("POST", "/api/exports", body, user=user)
    assert accepted.status_code == 202, accepted.text
    events = await world.follow(accepted.headers["location"], user=user)
    assert events[-1][0] == "operation.succeeded", events
    ended: dict[str, Any] = events[-1][1]
    return ended


async def test_whk_29_an_export_ends_with_a_webhook_signed_by_the_tenants_secret(private: World) -> None:
    async with receiving() as inbox:
        body = {"format": "json", "data": [{"a": 1}, {"b": "ö"}], "webhookUrl": inbox.url + "/done"}
        ended = await export(private, body)
        [letter] = await inbox.got(1, "/done")
        sent = letter.verified(SECRET)
        assert (sent["type"], sent["data"]["id"]) == ("operation.succeeded", ended["id"])
        assert sent["data"]["result"] == ended["result"]
        assert sent["data"]["links"] == ended["links"]
        assert ended["result"] == {"format": "json", "rows": 2, "url": ended["result"]["url"]}
        file = await private.call("GET", ended["result"]["url"])
        assert (file.headers["content-type"], file.json()) == ("application/json", [{"a": 1}, {"b": "ö"}])
        for stranger in ("bob", "carol", "admin"):
            assert (await private.call("GET", ended["result"]["url"], user=stranger)).status_code == 404
        assert (await private.call("GET", ended["result"]["url"], user=None)).status_code == 401
        assert (await private.call("POST", "/webhooks/default-secret")).status_code == 409


async def test_without_data_it_is_the_callers_orders(private: World) -> None:
    await private.call("POST", "/api/orders", {"items": [{"product": "lamp", "quantity": 2}]}, user="bob")
    ended = await export(private, {"format": "csv"}, user="bob")
    file = await private.call("GET", ended["result"]["url"], user="bob")
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert file.headers["content-type"].startswith("text/csv")
    assert [(row["product"], row["quantity"]) for row in rows] == [("lamp", "2")]
    assert (await export(private, {"format": "csv"}, user="carol"))["result"]["rows"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"format": "xml"},
        {"format": "csv", "data": {}},
        {"format": "csv", "data": ["x"]},
        {"format": "csv", "webhookUrl": "nonsense"},
        {"format": "csv", "webhookUrl": ""},
        {"format": "csv", "webhookUrl": "https://user@a.example/"},
        {"format": "csv", "surprise": 1},
    ],
)
async def test_what_cannot_be_exported_is_a_422(private: World, body: dict[str, Any]) -> None:
    refused = await private.call("POST", "/api/exports", body)
    assert refused.status_code == 422, refused.text
    if "webhookUrl" in body:
        assert refused.json()["errors"][0]["pointer"] == "#/webhookUrl"


async def test_whk_23_private_receivers_are_off_by_default(tmp_path: Path) -> None:
    async with running(tmp_path, "--no-worker") as world, receiving() as inbox:
        for url in (inbox.url, "https://127.0.0.1/", "http://example.com/"):
            refused = await world.call("POST", "/api/exports", {"format": "csv", "webhookUrl": url})
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "#/webhookUrl")
        assert (await world.call("GET", "/operations")).json() == {"items": []}


def test_a_file_appears_whole_and_holds_no_formula(tmp_path: Path) -> None:
    rows = [{"a": "=1+1", "b": None}, {"c": [1, {"x": "\ud800"}], "a": 'ö,\n"'}]
    exports.write(tmp_path, "job", "csv", rows)
    final = exports.path(tmp_path, "job", "csv")
    with final.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a", "b", "c"], ["'=1+1", "", ""], ['ö,\n"', "", '[1, {"x": "\\ud800"}]']]
    exports.write(tmp_path, "job", "json", rows)
    assert json.loads(exports.path(tmp_path, "job", "json").read_text()) == rows
    assert sorted(path.name for path in final.parent.iterdir()) == ["job.csv", "job.json"]
