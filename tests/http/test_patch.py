"""wire.md 1.10: PATCH. The public vectors, through HTTP."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonpatch
import jsonpointer
import pytest
from pydantic import BaseModel

from offpath.errors import ConfigurationError, MissingExtraError
from offpath.http.conditional import equal
from offpath.http.patch import Caps, apply, merge, operations
from offpath.integrations.fastapi import Patching
from tests.http.patchable import JSON_PATCH, MERGE_PATCH, Patchable, Thing, send
from tests.http.site import served

pytestmark = pytest.mark.anyio

REFUSED = {400, 409, 422}


# ── the public vectors ───────────────────────────────────────────────────────────────────────────────────────────────


class Members(list[tuple[str, Any]]):
    """An object with its names as they are written, twice if they are."""


def text(value: Any) -> str:
    if isinstance(value, Members):
        return "{" + ",".join(f"{json.dumps(name)}:{text(one)}" for name, one in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text, value)) + "]"
    return json.dumps(value)


async def vectors(client: httpx.AsyncClient, house: Patchable, file: Path) -> tuple[int, list[Any]]:
    """How many were tried, and those that were not answered as they ask."""
    tried, wrong = 0, []
    for case in map(dict, json.loads(file.read_text(), object_pairs_hook=Members)):
        if case.get("disabled"):
            continue
        tried += 1
        before = json.loads(text(case["doc"]))
        house.things["x"] = Thing(before)
        answer = await send(client, text(case["patch"]).encode())
        shown = (await client.get("/things/x")).json()
        if "error" in case:
            good = answer.status_code in REFUSED and equal(shown, before) and house.things["x"].version == 1
        else:
            after = json.loads(text(case["expected"])) if "expected" in case else before
            good = answer.status_code == 200 and equal(answer.json(), after) and equal(shown, after)
        if not good:
            wrong.append((case.get("comment"), text(case["patch"]), answer.status_code, answer.text))
    return tried, wrong


async def test_pat_01_json_patch_vectors_over_http(conformance: Path) -> None:
    house = Patchable()
    async with house.client() as client:
        tried, wrong = await vectors(client, house, conformance / "json-patch" / "tests.json")
        assert wrong == []
        assert tried > 80
        tried, wrong = await vectors(client, house, conformance / "json-patch" / "spec_tests.json")
        assert wrong == []
        assert tried > 15


async def test_pat_01_merge_patch_appendix_a_over_http(conformance: Path) -> None:
    vectors = json.loads((conformance / "json-merge-patch" / "rfc7396-appendix-a.json").read_text())["cases"]
    assert len([case for case in vectors if case.get("row")]) >= 15
    house = Patchable()
    async with house.client() as client:
        for case in vectors:
            house.things["x"] = Thing(case["original"])
            answer = await send(client, case["patch"], MERGE_PATCH)
            assert answer.status_code == 200, case
            assert equal(answer.json(), case["result"]), case


async def test_pat_01_over_a_socket(conformance: Path) -> None:
    house = Patchable()
    house.things["x"] = Thing({"a": [1]})
    async with served(house.api) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await send(client, [{"op": "add", "path": "/a/-", "value": "é"}])
        assert answer.json() == {"a": [1, "é"]}
        chunks = (part for part in (b'[{"op": "remove"', b', "path": "/a"}]'))

        async def body() -> Any:
            for chunk in chunks:
                yield chunk

        answer = await client.patch(
            "/things/x", content=body(), headers={"content-type": JSON_PATCH, "if-match": answer.headers["etag"]}
        )
        assert (answer.status_code, answer.json()) == (200, {})


# ── media types ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pat_02_other_media_types_are_415() -> None:
    house = Patchable()
    house.things["x"] = Thing({})
    async with house.client() as client:
        for media in ("application/json", "text/plain", "", "application/json-patch+json, text/plain", "\u00ff"):
            answer = await client.patch(
                "/things/x", content=b"[]", headers=[(b"content-type", media.encode("latin-1"))]
            )
            assert answer.status_code == 415, media
            assert answer.headers["accept-patch"] == f"{JSON_PATCH}, {MERGE_PATCH}"
        twice = [("content-type", JSON_PATCH), ("content-type", JSON_PATCH)]
        assert (await client.patch("/things/x", content=b"[]", headers=twice)).status_code == 415
        for media in ("Application/JSON-Patch+json ; charset=utf-8", MERGE_PATCH):
            assert (await send(client, [] if "JSON" in media else {}, media)).status_code == 200, media
        packed = await send(client, [], content_encoding="gzip")
        assert (packed.status_code, packed.headers["accept-encoding"]) == (415, "identity")
        assert (await send(client, [], content_encoding="identity")).status_code == 200


async def test_pat_02_options() -> None:
    house = Patchable()
    async with house.client() as client:
        answer = await client.options("/things/x")
        assert answer.status_code == 204
        assert answer.headers["accept-patch"] == f"{JSON_PATCH}, {MERGE_PATCH}"
        assert answer.headers["allow"] == "GET, OPTIONS, PATCH, PUT"
        document = (await client.get("/openapi.json")).json()
    described = document["paths"]["/things/{name}"]["patch"]
    assert list(described["requestBody"]["content"]) == [JSON_PATCH, MERGE_PATCH]
    assert {"400", "409", "412", "413", "415", "422", "428"} <= described["responses"].keys()


class Node(BaseModel):
    version: int
    below: "Node | None" = None


async def test_pat_02_application_json_and_bare_only_where_allowed() -> None:
    one = {"op": "add", "path": "/a", "value": 1}
    strict, lenient = Patchable(), Patchable(Patching(dict[str, Any], bare=True, plain_json=True))
    for house, status in ((strict, {400, 415}), (lenient, {200})):
        house.things["x"] = Thing({})
        async with house.client() as client:
            for media in (JSON_PATCH, "application/json"):
                assert (await send(client, one, media)).status_code in status
    merging = Patchable(Patching(dict[str, Any], json_patch=False))
    merging.things["x"] = Thing({})
    async with merging.client() as client:
        assert (await send(client, [])).headers["accept-patch"] == MERGE_PATCH
    mistakes: list[Callable[[], object]] = [
        lambda: Patching(dict[str, Any], json_patch=False, bare=True),
        lambda: Patching(dict[str, Any], json_patch=False, plain_json=True),
        lambda: Patching(dict[str, Any], json_patch=False, merge_patch=False),
        lambda: Patching(dict[str, Any], read_only="/id"),
        lambda: Patching(dict[str, Any], read_only=["id"]),
        lambda: Patching(Node, read_only=["/verison"]),
        lambda: Caps(nesting=201),
        lambda: Caps(operations=0),
    ]
    for mistake in mistakes:
        with pytest.raises(ConfigurationError):
            mistake()
    Patching(Node, read_only=["/version", "/below/version"])
    Patching(dict[str, Any], read_only=["/anything"])


def test_pat_01_without_the_library_only_json_patch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonpatch", None)
    with pytest.raises(MissingExtraError, match=r"offpath\[patch\]"):
        Patching(dict[str, Any])
    assert Patching(dict[str, Any], json_patch=False).accept_patch == MERGE_PATCH


# ── what cannot be read, and what does not apply ─────────────────────────────────────────────────────────────────────

MALFORMED: list[Any] = [
    b"", b"{", b"nul", b"\xff[]", "[]".encode("utf-16"), b"\xef\xbb\xbf[]", b"[" * 100_000, b'{"a":' * 50_000,
    b'[{"op":"add","path":"/a","value":NaN}]', b'[{"op":"add","path":"/a","value":1e999}]',
    b'[{"op":"add","path":"/a","value":-Infinity}]', b'[{"op":"add","path":"/a","value":' + b"9" * 5_000 + b"}]",
    b'[{"op":"add","path":"/a","value":"\\ud800"}]', b'[{"op":"add","path":"/\\udfff","value":1}]',
    b'[{"op":"add","path":"/a","value":{"\\ud800":1}}]', b'[{"op":"add","op":"remove","path":"/a","value":1}]',
    b'[{"op":"add","path":"/a","value":{"b":1,"b":2}}]',
    b'[{"op":"add","path":"/a","value":' + b"[" * 65 + b"]" * 65 + b"}]", {}, {"op": "add", "path": "/a", "value": 1},
    "add", 1, None, True, [1], [None], [[]], [{}], [{"op": "add", "path": "/a"}], [{"op": "replace", "path": "/a"}],
    [{"op": "test", "path": "/a"}], [{"op": "move", "path": "/a"}], [{"op": "copy", "path": "/a"}],
    [{"op": "spam", "path": "/a"}], [{"path": "/a"}], [{"op": None, "path": "/a"}], [{"op": ["add"], "path": "/a"}],
    [{"op": "Add", "path": "/a", "value": 1}], [{"op": "remove"}], [{"op": "remove", "path": None}],
    [{"op": "remove", "path": 1}], [{"op": "remove", "path": ["a"]}], [{"op": "remove", "path": "a"}],
    [{"op": "remove", "path": "/~2"}], [{"op": "remove", "path": "/~"}], [{"op": "remove", "path": "#/a"}],
    [{"op": "copy", "from": 1, "path": "/a"}], [{"op": "copy", "from": "a", "path": "/a"}],
    [{"op": "move", "from": None, "path": "/a"}],
]  # fmt: skip

CONFLICTS: list[Any] = [
    {"op": "remove", "path": "/b"}, {"op": "replace", "path": "/b", "value": 1},
    {"op": "replace", "path": "/l/-", "value": 1}, {"op": "remove", "path": "/l/-"}, {"op": "remove", "path": "/l/3"},
    {"op": "add", "path": "/l/4", "value": 1}, {"op": "add", "path": "/l/-1", "value": 1},
    {"op": "add", "path": "/l/01", "value": 1}, {"op": "add", "path": "/l/1e0", "value": 1},
    {"op": "add", "path": "/l/" + "9" * 5_000, "value": 1}, {"op": "add", "path": "/l/\u0661", "value": 1},
    {"op": "replace", "path": "/l/" + "9" * 30, "value": 1}, {"op": "test", "path": "/l/" + "9" * 30, "value": 1},
    {"op": "add", "path": "/b/c", "value": 1}, {"op": "add", "path": "/s/0", "value": 1},
    {"op": "add", "path": "/n/0", "value": 1}, {"op": "add", "path": "/z/0", "value": 1},
    {"op": "add", "path": "/l/-/x", "value": 1}, {"op": "remove", "path": "/s/0"},
    {"op": "replace", "path": "/t/x", "value": 1}, {"op": "copy", "from": "/b", "path": "/c"},
    {"op": "copy", "from": "/l/-", "path": "/c"}, {"op": "move", "from": "/b", "path": "/c"},
    {"op": "move", "from": "/o", "path": "/o/p"}, {"op": "move", "from": "", "path": "/c"},
    {"op": "move", "from": "/s/0", "path": "/c"}, {"op": "copy", "from": "/n/a", "path": "/c"},
    {"op": "test", "path": "/b", "value": None}, {"op": "test", "path": "/s/0", "value": "x"},
    {"op": "test", "path": "", "value": {}}, {"op": "remove", "path": "/o/p/q/r"},
]  # fmt: skip

BEFORE = {"l": [1, 2, 3], "s": "text", "n": 1, "z": None, "t": True, "o": {"p": {"q": 1}}}


async def test_pat_04_malformed_is_400_and_nothing_changes() -> None:
    house = Patchable()
    async with house.client() as client:
        house.things["x"] = Thing(BEFORE)
        for patch in MALFORMED:
            answer = await send(client, patch)
            assert answer.status_code == 400, (patch if len(str(patch)) < 200 else str(patch)[:80], answer.text)
            assert answer.json()["type"].endswith("/malformed-patch")
        for patch in (b"", b"{", b'{"a":1,"a":2}', b'{"a":"\\ud800"}', b'{"a":' * 65 + b"1" + b"}" * 65):
            assert (await send(client, patch, MERGE_PATCH)).status_code == 400, patch
        wrong = await send(client, [{"op": "test", "path": "/n", "value": 1}, {"op": "add", "path": "n", "value": 1}])
        assert [error["pointer"] for error in wrong.json()["errors"]] == ["#/1/path"]
        assert house.things["x"] == Thing(BEFORE)


async def test_pat_05_what_does_not_apply_is_409_and_nothing_changes() -> None:
    house = Patchable()
    first = {"op": "add", "path": "/new", "value": [1]}
    async with house.client() as client:
        for operation in CONFLICTS:
            house.things["x"] = Thing(json.loads(json.dumps(BEFORE)))
            answer = await send(client, [first, operation])
            assert answer.status_code == 409, (str(operation)[:200], answer.text)
            assert [error["pointer"] for error in answer.json()["errors"]] == ["#/1"]
            assert house.things["x"] == Thing(BEFORE)
        stale = await send(client, [first], if_match='"0"')
        assert (stale.status_code, house.things["x"]) == (412, Thing(BEFORE))


RAISED = [
    kind
    for module in (jsonpatch, jsonpointer)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
]


@pytest.mark.parametrize(
    "kind", [*RAISED, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError]
)
async def test_pat_05_whatever_the_library_raises_is_an_answer(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its releases differ in what they let through; a JsonPointerException is no JsonPatchException in any of them."""

    def stumble(*args: Any, **options: Any) -> None:
        raise kind("a secret of the library")

    monkeypatch.setattr(jsonpatch.JsonPatch, "apply", stumble)
    house = Patchable()
    house.things["x"] = Thing({"a": 1})
    async with house.client() as client:
        answer = await send(client, [{"op": "remove", "path": "/a"}])
    assert answer.status_code == 409
    assert "secret" not in answer.text


async def test_pat_03_all_or_nothing() -> None:
    house = Patchable()
    house.things["x"] = Thing({"a": {"b": [1]}, "c": 2})
    async with house.client() as client:
        tag = (await client.get("/things/x")).headers["etag"]
        many = [
            {"op": "add", "path": "/a/b/-", "value": 2},
            {"op": "remove", "path": "/c"},
            {"op": "move", "from": "/a/b", "path": "/d"},
            {"op": "test", "path": "/d/0", "value": 2},
        ]
        assert (await send(client, many)).status_code == 409
        after = await client.get("/things/x")
        assert (after.json(), after.headers["etag"]) == ({"a": {"b": [1]}, "c": 2}, tag)
        assert (await send(client, many[:3])).json() == {"a": {}, "d": [1, 2]}
    document = {"a": {"b": [1]}}
    caps = Caps()
    apply(document, operations([{"op": "add", "path": "/a/b/-", "value": 2}], caps), caps)
    merge(document, {"a": {"b": None, "c": 1}}, caps)
    assert document == {"a": {"b": [1]}}


# ── json types ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("there", "value", "same"),
    [
        (1, True, False), (True, 1, False), (0, False, False), (False, None, False), (1, 1.0, True), (1.0, 1, True),
        ("1", 1, False), ([1], [True], False), ({"a": [1, {"b": 0}]}, {"a": [1, {"b": False}]}, False),
        ({"a": [1, {"b": 0}]}, {"a": [1.0, {"b": 0.0}]}, True), ([], {}, False), ("", None, False),
        ([1, 2], [1], False), ({"a": 1}, {"a": 1, "b": 2}, False), (10**20, 1e20, True),
        (12345678901234567890, 12345678901234567891, False), ("\u00e9", "e\u0301", False),
    ],
)  # fmt: skip
async def test_pat_07_test_compares_json_types(there: Any, value: Any, same: bool) -> None:
    assert equal(there, value) is same
    house = Patchable()
    house.things["x"] = Thing({"v": there})
    async with house.client() as client:
        answer = await send(client, [{"op": "test", "path": "/v", "value": value}])
        assert answer.status_code == (200 if same else 409)


async def test_pat_08_the_whole_document_cannot_be_removed() -> None:
    house = Patchable()
    house.things["x"] = Thing({"a": 1})
    async with house.client() as client:
        assert (await send(client, [{"op": "remove", "path": ""}])).status_code == 409
        assert house.things["x"] == Thing({"a": 1})
        assert (await send(client, [{"op": "replace", "path": "", "value": [1]}])).json() == [1]
