"""wire.md 1.9: conditional requests."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from hypothesis import given
from hypothesis import strategies as st

from offpath.errors import ConfigurationError
from offpath.http.conditional import _DATE as DATE
from offpath.http.conditional import Conditions, PreconditionFailed, Tag, among, http_date, tags
from offpath.http.messages import Declined
from offpath.integrations.fastapi import (
    preconditions,
    strong,
)
from tests.http.patchable import JSON_PATCH, Patchable, Thing, send
from tests.http.site import checked_client

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 21, 9, 0, 0, 500_000, tzinfo=UTC)
THEN, SAME, LATER = "Sat, 21 Nov 2026 08:59:59 GMT", "Sat, 21 Nov 2026 09:00:00 GMT", "Sat, 21 Nov 2026 09:00:01 GMT"


def asked(**fields: str | list[str]) -> Conditions:
    lines = {name.replace("_", "-"): [said] if isinstance(said, str) else said for name, said in fields.items()}
    return Conditions(lines)


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cnd_06_lists_stars_commas_and_weak_tags() -> None:
    assert tags(['"a,b", W/"c"', ' ,, "d" ,'], "If-Match") == (Tag('"a,b"'), Tag('"c"', True), Tag('"d"'))
    assert tags([" * "], "If-Match") == "*"
    assert tags([""], "If-Match") == ()
    assert tags(['""'], "If-Match") == (Tag('""'),)
    assert tags(['"\\"'], "If-Match") == (Tag('"\\"'),)  # no escapes: a backslash is a character
    assert tags(['"\xe9"'], "If-Match") == (Tag('"\xe9"'),)


JUNK = [
    "3",
    '"3',
    '3"',
    '*, "3"',
    '"3", *',
    "*, *",
    "**",
    'w/"3"',
    'W/ "3"',
    "W/3",
    '"a" "b"',
    '"a"x',
    '"a";"b"',
    "'3'",
    '"\t"',
]


@pytest.mark.parametrize("junk", JUNK)
async def test_cnd_06_junk_is_400(junk: str) -> None:
    house = Patchable()
    house.things["x"] = Thing({})
    async with house.client() as client:
        for answer in (
            await send(client, [], if_match=junk),
            await client.get("/things/x", headers={"If-None-Match": junk}),
            await client.put("/things/x", headers={"If-None-Match": junk}),
        ):
            assert answer.status_code == 400, junk
            assert answer.json()["type"].endswith("/malformed-precondition")
        assert house.things["x"] == Thing({})


async def test_cnd_06_several_lines_are_one_list() -> None:
    house = Patchable()
    house.things["x"] = Thing({})
    async with house.client() as client:
        lines = [("content-type", JSON_PATCH), ("if-match", '"7"'), ("if-match", 'W/"1", "1"')]
        assert (await client.patch("/things/x", content=b"[]", headers=lines)).status_code == 200
        mixed = [("content-type", JSON_PATCH), ("if-match", '"2"'), ("if-match", "*")]
        assert (await client.patch("/things/x", content=b"[]", headers=mixed)).status_code == 400


def test_cnd_01_if_match_is_strong_and_if_none_match_weak() -> None:
    # RFC 9110 §8.8.3.2: the table
    for one, other, strongly, weakly in (
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ):
        for current, sent in ((one, other), (other, one)):
            assert among(current, tags([sent], ""), weakly=False) is strongly
            assert among(current, tags([sent], ""), weakly=True) is weakly
    assert among('W/"1"', "*", weakly=False)
    assert not among(None, "*", weakly=False)


async def test_cnd_01_over_http() -> None:
    house = Patchable()
    house.things["x"] = Thing({})
    async with house.client() as client:
        assert (await send(client, [], if_match='W/"1"')).status_code == 412
        same = await client.get("/things/x", headers={"If-None-Match": 'W/"1"'})
        assert (same.status_code, same.headers["etag"], same.content) == (304, '"1"', b"")
        assert (await client.get("/things/x", headers={"If-None-Match": '"2"'})).status_code == 200
        assert (await client.get("/things/x", headers={"If-Match": '"2"'})).status_code == 412
        assert (await client.put("/things/x", headers={"If-None-Match": "*"})).status_code == 412
        assert (await client.put("/things/y", headers={"If-Match": "*"})).status_code == 412
        assert (await client.put("/things/y", headers={"If-None-Match": "*"})).status_code == 204
        assert (await client.put("/things/y", headers={"If-Match": '"1"'})).status_code == 204


def test_cnd_06_what_no_tag_can_hold() -> None:
    assert (strong(3), strong("a,b")) == ('"3"', '"a,b"')
    for version in ('a"b', "a b", "a\n", "\u0101", True):
        with pytest.raises(ConfigurationError):
            strong(version)


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cnd_04_the_order_of_preconditions() -> None:
    """RFC 9110 §13.2.2, each step: a tag rules the date beside it out."""
    yes, no = '"1"', '"2"'
    writes: list[tuple[dict[str, str], bool]] = [
        ({"if_match": yes, "if_unmodified_since": THEN}, True),
        ({"if_match": no, "if_unmodified_since": LATER}, False),
        ({"if_unmodified_since": THEN}, False),
        ({"if_unmodified_since": SAME}, True),
        ({"if_match": no, "if_none_match": no}, False),
        ({"if_match": yes, "if_none_match": yes}, False),
        ({"if_match": yes, "if_none_match": no}, True),
        ({"if_unmodified_since": LATER, "if_none_match": yes}, False),
        ({"if_modified_since": LATER}, True),  # for GET and HEAD only
        ({}, True),
    ]
    for fields, goes in writes:
        if goes:
            asked(**fields).check(yes, NOW)
        else:
            with pytest.raises(PreconditionFailed):
                asked(**fields).check(yes, NOW)
    reads: list[tuple[dict[str, str], bool]] = [
        ({"if_none_match": yes, "if_modified_since": THEN}, True),
        ({"if_none_match": no, "if_modified_since": LATER}, False),
        ({"if_modified_since": THEN}, False),
        ({"if_modified_since": SAME}, True),
        ({"if_match": yes, "if_none_match": yes}, True),
        ({"if_match": yes}, False),
    ]
    for fields, unmodified in reads:
        assert asked(**fields).unmodified(yes, NOW) is unmodified, fields
    for fields in ({"if_match": no, "if_none_match": yes}, {"if_unmodified_since": THEN, "if_none_match": yes}):
        with pytest.raises(PreconditionFailed):
            asked(**fields).unmodified(yes, NOW)


def test_cnd_04_dates() -> None:
    at = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
    for written in ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"):
        assert http_date([written]) == at
    for junk in (
        "yesterday", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 +0100", "Sun, 66 Nov 1994 08:49:37 GMT", "",
        "Sun, 06 Nov 1994 99:99:99 GMT", "Sun, 06 Xxx 1994 08:49:37 GMT",
    ):  # fmt: skip
        assert http_date([junk]) is None
        asked(if_unmodified_since=junk).check('"1"', NOW)
        assert not asked(if_modified_since=junk).unmodified('"1"', NOW)
    assert http_date([SAME, SAME]) is None
    asked(if_unmodified_since=THEN).check('"1"', None)  # no date is known: ignored
    east = NOW.astimezone(timezone(timedelta(hours=5)))
    assert asked(if_modified_since=SAME).unmodified('"1"', east)


async def test_cnd_03_what_is_refused_anyway_is_refused_for_that() -> None:
    """Stale, missing and unreadable preconditions all the same: 401, 404, 405 and 415 come first; a bad body later."""
    house = Patchable()
    house.things["x"] = Thing({})

    async def nobody() -> None:
        raise HTTPException(401)

    house.api.add_api_route(
        "/mine", lambda when: None, methods=["POST"], dependencies=[Depends(nobody), Depends(preconditions())]
    )
    async with house.client() as client:
        for tag in ('"9"', "junk", None):
            headers = {"if-match": tag} if tag else {}
            assert (await client.post("/mine", headers=headers)).status_code == 401
            patch = {**headers, "content-type": JSON_PATCH}
            assert (await client.patch("/things/nope", content=b"[]", headers=patch)).status_code == 404
            assert (await client.delete("/things/x", headers=headers)).status_code == 405
            wrong = {**headers, "content-type": "text/plain"}
            assert (await client.patch("/things/x", content=b"[]", headers=wrong)).status_code == 415
        assert (await send(client, b"no json", if_match='"9"')).status_code == 412
        assert (await send(client, [{"op": "test", "path": "/a", "value": 1}], if_match='"9"')).status_code == 412
        options = await client.options("/things/x", headers={"if-match": '"9"'})
        assert options.status_code == 204


async def test_cnd_05_if_match_required() -> None:
    house = Patchable()
    house.things["x"] = Thing({})
    api = FastAPI()  # without install_problem_handlers: still a problem

    @api.put("/strict")
    async def put(when: Annotated[Conditions, Depends(preconditions(require_if_match=True))]) -> None:
        when.check('"1"')

    patch = {"content-type": JSON_PATCH}
    transport = httpx.ASGITransport(api)
    async with house.client() as client, checked_client(None, transport=transport, base_url="http://x") as strict:
        for answer in (
            await client.patch("/things/x", content=b"[]", headers=patch),
            await client.patch("/things/x", content=b"[]", headers={**patch, "if-none-match": '"9"'}),
            await strict.put("/strict"),
        ):
            assert answer.status_code == 428
            assert answer.json()["type"].endswith("/precondition-required")
            assert "no-store" in answer.headers["cache-control"]
        assert (await strict.put("/strict", headers={"If-Match": '"1"'})).status_code == 200
        assert (await client.put("/things/x")).status_code == 204  # only PATCH asks for it by itself


@given(st.lists(st.text('"*,W/ab \\t\\x00\u00e9', max_size=12), max_size=3))
def test_cnd_06_any_text_is_a_list_or_a_400(lines: list[str]) -> None:
    with contextlib.suppress(Declined):
        found = tags(lines, "If-Match")
        assert found == "*" or all(tag.opaque[0] == tag.opaque[-1] == '"' for tag in found)


@given(st.from_regex(DATE, fullmatch=True))
def test_cnd_04_anything_like_a_date_is_one_or_is_ignored(line: str) -> None:
    found = http_date([line])
    assert found is None or found.tzinfo is UTC
