"""A07, A08, A11, A12, A13: whatever a task returns, raises or reports, its operation ends and can be read."""

import json
from typing import Any

import httpx
import pytest

from offpath import Context, Problem, Retry
from tests.http.site import BOTH, Site

pytestmark = pytest.mark.anyio
ODD = "\x00 \ud800 \u202e \x1b[2J \u2028 </script> "


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def circle() -> Exception:
    one, other = ValueError(ODD), KeyError(ODD)
    one.__cause__, other.__cause__ = other, one
    return one


RETURNED: dict[str, Any] = {
    "NUL": "a\x00b",
    "a NUL in a name": {"a\x00b": 1},
    "a lone surrogate": "\ud800",
    "NaN": float("nan"),
    "infinity, inside": [{"a": float("inf")}],
    "5,000 digits": 10**5_000,
    "too deep": [[[]]],
    "too large": "x" * (3 << 20),
    "no JSON": object(),
    "odd but storable": ODD.replace("\x00", "").replace("\ud800", ""),
}
RAISED: dict[str, Exception] = {
    "odd words": RuntimeError(ODD),
    "no words": Mute(),
    "endless words": RuntimeError("x" * (3 << 20)),
    "a circle of causes": circle(),
    "10,000 at once": ExceptionGroup(ODD, [ValueError(str(n)) for n in range(10_000)]),
    "an odd problem": Problem(status=422, title=ODD, detail=ODD * 20_000, type="javascript:alert(1)"),
}


def strict(text: str) -> Any:
    """JSON as others read it: without NaN, without half a character, without NUL."""

    def never(word: str) -> Any:
        raise AssertionError(word)

    said = json.loads(text, parse_constant=never)
    again = json.dumps(said, ensure_ascii=False)
    again.encode("utf-8")
    assert "\x00" not in again
    return said


async def read(alice: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = await alice.get(url, headers={"Prefer": "wait=20"})
    body: dict[str, Any] = strict(answer.text)
    assert body["done"], body
    assert len(answer.content) < 100_000
    for path in ("/result", "/events"):
        said = await alice.get(url + path)
        assert said.status_code in (200, 409)
        said.content.decode("utf-8")
    log = strict((await alice.get(url + "/events", headers={"Accept": "application/json"})).text)
    assert log["items"][-1]["event"] == f"operation.{body['status']}"
    strict((await alice.get("/operations?limit=100")).text)
    return body


@BOTH
async def test_opr_05_res_05_res_11_whatever_a_task_returns_or_raises(alice: httpx.AsyncClient, site: Site) -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]

    @site.jobs.task(name="returns", retry=Retry(max_attempts=1))
    async def returns(which: str) -> Any:
        return deep if which == "too deep" else RETURNED[which]

    @site.jobs.task(name="raises", retry=Retry(max_attempts=1))
    async def raises(which: str) -> None:
        raise RAISED[which]

    async with site.jobs.worker():
        for which in RETURNED:
            body = await read(alice, await site.start(alice, "returns", which=which))
            if which == "odd but storable":
                assert body["result"] == RETURNED[which]
            else:
                assert (body["status"], body["error"]["type"].rpartition("/")[2]) == ("failed", "result-not-storable")
        for which in RAISED:
            body = await read(alice, await site.start(alice, "raises", which=which))
            assert body["status"] == "failed", which
            assert 400 <= body["error"]["status"] <= 599
            assert isinstance(RAISED[which], Problem) or set(body["error"]) == {
                *("type", "title", "status", "instance", "attempts")
            }, "nothing of an exception's own words"


@BOTH
async def test_opr_08_res_05_whatever_a_task_reports(alice: httpx.AsyncClient, site: Site) -> None:
    refused: list[str] = []

    @site.jobs.task(name="reports", retry=Retry(max_attempts=1))
    async def reports(ctx: Context) -> None:
        for current, total, message in ((1, 0, ODD), (float("nan"), 1, ""), (10**400, 2, ""), (-5, -1, "x" * 200_000)):
            try:
                await ctx.progress(current, of=total, message=message)  # type: ignore[arg-type]  # that is the test
            except Exception as error:
                refused.append(type(error).__name__)

    async with site.jobs.worker():
        body = await read(alice, await site.start(alice, "reports"))
    assert body["status"] == "succeeded"
    assert 0 <= body.get("progress", {}).get("percent", 0) <= 100
    assert refused == ["ArgumentError"] * 3
