"""The wrapper that holds every refusal against RFC 9457 sees one that is none."""

from collections.abc import Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from tests import problems

GOOD = {"type": "about:blank", "title": "Teapot", "status": 418}
TYPE = {"media_type": problems.MEDIA_TYPE, "headers": {"Cache-Control": "no-store"}}


async def seen(answer: Callable[[], Response], method: str = "GET", status: int = 418) -> list[str]:
    async def endpoint(request: Request) -> Response:
        return answer()

    inner = Starlette(routes=[Route("/", endpoint, methods=["GET", "POST"])])
    app = Starlette(routes=[Mount("/inner", inner)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x.test") as client:
        assert (await client.request(method, "/inner/")).status_code == status
    said, problems.wrong[:] = problems.wrong[:], []
    return said


async def test_a_problem_passes() -> None:
    assert await seen(lambda: JSONResponse(GOOD, 418, **TYPE)) == []  # type: ignore[arg-type] - one dict for both
    assert await seen(lambda: JSONResponse(GOOD, 418, **TYPE), "HEAD") == []  # type: ignore[arg-type]
    assert await seen(lambda: PlainTextResponse("fine"), status=200) == []


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (GOOD | {"status": 400}, "status member"),
        (GOOD | {"status": "418"}, "418"),
        (GOOD | {"title": 7}, "7"),
        (GOOD | {"type": "teapot"}, "absolute"),
        ({"type": "about:blank", "status": 418}, "title"),
        ([GOOD], "object"),
    ],
)
async def test_what_is_no_problem_is_seen_once(document: object, complaint: str) -> None:
    (said,) = await seen(lambda: JSONResponse(document, 418, **TYPE))  # type: ignore[arg-type] - as above
    assert said.startswith("GET /inner/ → 418")
    assert complaint in said


async def test_another_type_or_a_cached_one_is_seen() -> None:
    (said,) = await seen(lambda: PlainTextResponse("no", 418))
    assert "Content-Type" in said
    (said,) = await seen(lambda: JSONResponse(GOOD, 418, media_type=problems.MEDIA_TYPE))
    assert "POL-02" in said


async def test_the_test_that_saw_it_fails() -> None:
    await seen(lambda: PlainTextResponse("no", 418))
    problems.wrong.append("GET / → 400: ...")
    with pytest.raises(AssertionError, match="GET / → 400"):
        problems.judge()
    assert problems.wrong == []
