"""wire.md 1.10, PAT-09: what a patch may ask for, and that it is refused before it is done."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offpath.http.messages import Declined
from offpath.http.patch import Caps, _Guard, _weigh, apply, merge, operations
from tests.http.patchable import JSON_PATCH, MERGE_PATCH, Patchable, Thing, send

pytestmark = pytest.mark.anyio


def bomb(copies: int) -> list[dict[str, Any]]:
    """Each copy doubles the document."""
    return [{"op": "copy", "from": "", "path": f"/{n}"} for n in range(copies)]


async def test_pat_09_twenty_copies_of_a_copy_are_refused_early() -> None:
    house = Patchable()
    house.things["x"] = Thing({"a": "x" * 60})
    raw = json.dumps(bomb(20)).encode()
    assert len(raw) < 1_100
    async with house.client() as client:
        await send(client, raw)  # what is imported and compiled the first time
        tracemalloc.start()
        answer = await send(client, raw)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("/patch-too-large")
    assert house.things["x"] == Thing({"a": "x" * 60})
    assert peak < 16 << 20, f"{peak:,} bytes"


def test_pat_09_every_way_to_grow_is_bounded() -> None:
    caps = Caps(operations=1_000, result_bytes=2_000)
    big = "x" * 300
    ways = [
        [{"op": "copy", "from": "/a", "path": f"/{n}"} for n in range(20)],
        [{"op": "copy", "from": "/l", "path": "/l/-"} for n in range(20)],
        [{"op": "add", "path": f"/{n}", "value": big} for n in range(20)],
        [{"op": "add", "path": "/l/0", "value": big} for n in range(20)],
        [{"op": "replace", "path": "/a", "value": [big] * 20}],
        [{"op": "replace", "path": "", "value": {"a": [big] * 20}}],
        [{"op": "add", "path": "", "value": [big] * 20}],
        [{"op": "move", "from": "/a", "path": "/" + "y" * 3_000}],
        [{"op": "add", "path": "/a", "value": big}, {"op": "remove", "path": "/a"}] * 100,
    ]
    for way in ways:
        with pytest.raises(Declined) as refused:
            apply({"a": big, "l": [big]}, operations(way, caps), caps)
        assert refused.value.slug == "patch-too-large", way[0]
    with pytest.raises(Declined):
        merge({"a": big}, {"b": big * 10}, caps)
    nested = [{"op": "copy", "from": "", "path": "/a"}] * 70  # each one a level deeper
    with pytest.raises(Declined, match="nested"):
        apply({"a": 1}, operations(nested, Caps()), Caps())
    with pytest.raises(Declined, match="nested"):
        apply({"a": [], "b": {"c": {"d": {}}}}, [{"op": "move", "from": "/a", "path": "/b/c/d/e"}], Caps(nesting=4))


def test_pat_09_what_stays_small_is_not_refused() -> None:
    caps = Caps(result_bytes=1_000)
    swap = [{"op": "replace", "path": "/a", "value": "y" * 900}, {"op": "replace", "path": "/a", "value": "z" * 100}]
    assert apply({"a": "x" * 900}, swap, caps) == {"a": "z" * 100}
    moves = [{"op": "move", "from": "/a", "path": "/b"}, {"op": "move", "from": "/b", "path": "/a"}] * 10
    assert apply({"a": ["x" * 800]}, moves, caps) == {"a": ["x" * 800]}
    # What is too large already may still become smaller, and not grow.
    assert apply({"a": "x" * 3_000, "b": 1}, [{"op": "remove", "path": "/a"}], caps) == {"b": 1}
    with pytest.raises(Declined):
        apply({"a": "x" * 3_000, "b": 1}, [{"op": "add", "path": "/c", "value": 1}], caps)


NAMES = st.sampled_from(["a", "b", "0", "1", "-", "\u00e9\n"])
POINTERS = st.lists(NAMES, max_size=3).map(lambda steps: "".join(f"/{step}" for step in steps))
VALUES = st.recursive(
    st.sampled_from([None, True, 1, -1.5, "", "x" * 40, "\u00e9\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OPERATIONS = st.builds(
    lambda op, path, source, value: {"op": op, "path": path, "from": source, "value": value},
    st.sampled_from(["add", "replace", "remove", "move", "copy", "test"]),
    POINTERS,
    POINTERS,
    VALUES,
)


@settings(max_examples=300)
@given(VALUES, st.lists(OPERATIONS, max_size=12))
def test_pat_09_the_guard_never_counts_less_than_there_is(document: Any, patch: list[dict[str, Any]]) -> None:
    """Whatever is sent: an answer, and no operation that makes the document larger than the guard believes."""
    caps = Caps(result_bytes=5_000)
    guard = _Guard(document, caps)
    for operation in patch:
        try:
            one = operations([operation], caps)
            guard.admit(document, operation)
            document = apply(document, one, caps)
        except Declined:
            return
        assert _weigh(document, None)[0] <= guard.size <= guard.most


async def test_pat_09_operations_pointers_and_bytes() -> None:
    house = Patchable()
    house.things["x"] = Thing({"a": 1})
    test = {"op": "test", "path": "/a", "value": 1}
    async with house.client() as client:
        assert (await send(client, [test] * 1_000)).status_code == 200
        many = await send(client, [{"op": "test", "path": "", "value": 1}] * 10_000)
        assert many.status_code == 413
        with pytest.raises(Declined, match="operations"):
            operations([test] * 10_000, Caps())
        assert (await send(client, [test] * 1_001)).status_code == 422
        deep = await send(client, [{"op": "test", "path": "/a" * 33, "value": 1}])
        assert deep.json()["type"].endswith("/patch-too-large")
        assert (await send(client, [{"op": "copy", "from": "/a" * 33, "path": "/b"}])).status_code == 422
        for media in (JSON_PATCH, MERGE_PATCH):
            assert (await send(client, b" " * (256 * 1024 + 1), media)).status_code == 413
        chunked = (b" " * 1024 for _ in range(257))

        async def body() -> Any:
            for chunk in chunked:
                yield chunk

        answer = await client.patch("/things/x", content=body(), headers={"content-type": JSON_PATCH, "if-match": "*"})
        assert answer.status_code == 413
        assert house.things["x"].version == 2
