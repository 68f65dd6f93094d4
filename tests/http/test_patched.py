"""wire.md 1.10: what a patched document must be, and merge patches."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from offpath.integrations.fastapi import Patching
from tests.http.patchable import JSON_PATCH, MERGE_PATCH, Patchable, Thing, send

pytestmark = pytest.mark.anyio


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=10)


class Car(BaseModel):
    id: int
    name: str
    allow_custom_sso: StrictBool = Field(False, alias="allow-custom-sso")
    parts: list[Part] = []
    note: str | None = None


def a_car() -> Thing:
    return Thing(Car(id=7, name="old", parts=[Part(name="wheel")]))


def garage() -> Patchable:
    house = Patchable(Patching(Car, read_only=("/id",)))
    house.things["x"] = a_car()
    return house


def op(path: str, value: Any, kind: str = "replace") -> dict[str, Any]:
    return {"op": kind, "path": path, "value": value}


@pytest.mark.parametrize(
    ("patch", "pointers"),
    [
        ([op("/name", 1)], ["#/name"]),
        ([op("/name", None)], ["#/name"]),
        ([{"op": "remove", "path": "/name"}], ["#/name"]),
        ([op("/allow-custom-sso", "false")], ["#/allow-custom-sso"]),
        ([op("/parts/0/name", "x" * 11)], ["#/parts/0/name"]),
        ([op("/parts/-", {"name": "a", "b/c": 1}, "add")], ["#/parts/1/b~1c"]),
        ([op("/name", 1), op("/parts/0", [])], ["#/name", "#/parts/0"]),
        ([op("/id", 8)], ["#/id"]),
        ([op("/id", 7.5)], ["#/id"]),
        ([op("/id", True)], ["#/id"]),
        ([{"op": "remove", "path": "/id"}], ["#/id"]),
        ([{"op": "move", "from": "/id", "path": "/name"}], ["#/id", "#/name"]),
        ([op("/colour", "red", "add")], ["#/colour"]),
        ([op("/allow_custom_sso", True, "add")], ["#/allow_custom_sso"]),
        ([op("", [])], ["#/id", "#"]),
        ([op("", None)], ["#/id", "#"]),
    ],
)
async def test_pat_06_a_document_that_is_not_valid_is_422(patch: Any, pointers: list[str]) -> None:
    house = garage()
    async with house.client() as client:
        answer = await send(client, patch)
        assert answer.status_code == 422, answer.text
        said = answer.json()
        assert said["type"].endswith("/invalid-document")
        found = [error["pointer"] for error in said["errors"]]
        assert sorted(set(found)) == sorted(pointers)
        assert house.things["x"] == a_car()
        assert (await client.get("/things/x")).headers["etag"] == '"1"'


async def test_pat_06_what_is_read_only_may_be_named_and_not_changed() -> None:
    house = garage()
    async with house.client() as client:
        same = [op("/id", 7, "test"), op("/id", 7), op("/id", 7.0), op("/name", "new")]
        answer = await send(client, same)
        assert answer.json() == {
            "id": 7, "name": "new", "allow-custom-sso": False, "parts": [{"name": "wheel"}], "note": None
        }  # fmt: skip
        whole = {**answer.json(), "note": "n"}
        assert (await send(client, whole, MERGE_PATCH)).json() == whole
        assert (await send(client, {"id": 9}, MERGE_PATCH)).status_code == 422


async def test_pat_06_many_mistakes_are_not_many_megabytes() -> None:
    house = garage()
    async with house.client() as client:
        answer = await send(client, [op("/parts", [{"name": 1}] * 5_000)])
        assert answer.status_code == 422
        assert len(answer.json()["errors"]) == 100
        answer = await send(client, [op("/parts/0", {f"n{n}": 1 for n in range(5_000)})])
        assert len(answer.json()["errors"]) == 100


async def test_pat_10_merge_patch() -> None:
    house = Patchable()
    async with house.client() as client:
        for before, patch, after in (
            ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": None}}}, {"a": {"b": {"d": 2}}}),
            ({"a": [{"b": 1}, 2]}, {"a": [{"c": None}]}, {"a": [{"c": None}]}),
            ({"a": 1}, {"b": {"c": {"d": None}}}, {"a": 1, "b": {"c": {}}}),
            ({"a": 1}, [1], [1]),
            ({"a": 1}, "text", "text"),
            ([1, 2], {"a": 1}, {"a": 1}),
            ({"a": 1}, {}, {"a": 1}),
        ):
            house.things["x"] = Thing(before)
            answer = await send(client, patch, MERGE_PATCH)
            assert (answer.status_code, answer.json()) == (200, after)


async def test_pat_10_a_patch_that_is_no_object_replaces_the_document_and_the_schema_says_no() -> None:
    house = garage()
    async with house.client() as client:
        for patch in ([], "text", 1, None, True):
            answer = await send(client, patch, MERGE_PATCH)
            assert answer.status_code == 422
            assert house.things["x"] == a_car()
        assert (await send(client, {"note": "n", "parts": None}, MERGE_PATCH)).json()["parts"] == []


async def test_pat_11_without_if_match_428_unless_the_last_write_may_win() -> None:
    for lenient, status in ((False, 428), (True, 200)):
        house = Patchable(lenient=lenient)
        house.things["x"] = Thing({"a": 1})
        async with house.client() as client:
            content, headers = b'[{"op": "remove", "path": "/a"}]', {"content-type": JSON_PATCH}
            answer = await client.patch("/things/x", content=content, headers=headers)
            assert answer.status_code == status
            assert house.things["x"] == (Thing({"a": 1}) if status == 428 else Thing({}, 2))
            stale = await client.patch("/things/x", content=content, headers={**headers, "if-match": '"9"'})
            assert stale.status_code == 412  # optional is not ignored
