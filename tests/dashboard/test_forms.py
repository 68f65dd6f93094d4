"""Forms that come to nothing say so on the page that has them; their addresses, opened as pages, lead there."""

import html
import re

import httpx
import pytest

from offpath.testing import drain
from tests.dashboard.place import Board, send

pytestmark = pytest.mark.anyio


async def followed(client: httpx.AsyncClient, answer: httpx.Response) -> tuple[str, str]:
    """(the page at the end of the redirects, below the dashboard; what its notice says)."""
    for _ in range(5):
        if answer.status_code != 303:
            break
        answer = await client.get(answer.url.join(answer.headers["location"]))
    assert answer.status_code == 200, answer.text
    notices = re.findall(r'<div class="notice (?:failed|done)" role="\w+">(.*?)</div>', answer.text)
    return str(answer.url).removeprefix("http://board.test/dashboard/"), html.unescape("".join(notices))


LIVE = "jobs/bulk?action=cancel&state=ready"  # a page with a form


async def test_a_bulk_action_that_cannot_be_is_said_on_the_page_of_the_jobs(board: Board) -> None:
    await board.breaks.enqueue(text="x")
    async with board.client() as client:
        page, notice = await followed(client, await client.get("jobs/bulk?action=retry&state=ready&queue=default"))
        assert page == "jobs?state=ready&queue=default"
        assert notice.startswith("Nothing was done. ")
        assert "ready ones cannot be meant" in notice
        assert notice.count("cannot be meant") == 1
        again = await client.get(page)
        assert "Nothing was done" not in again.text, "it is said once"
        page, notice = await followed(client, await send(client, "jobs/bulk", LIVE, action="delete", state="ready"))
        assert (page, "cannot be meant" in notice) == ("jobs?state=ready", True)
        page, notice = await followed(client, await send(client, "jobs/bulk", LIVE, action="drop", state="ready"))
        assert (page, "one of retry, cancel, delete" in notice) == ("jobs?state=ready", True)
    assert [one.state async for one in board.jobs.list()] == ["ready"]
    assert [one async for one in board.jobs.audit()] == []


async def test_what_a_job_allows_no_more_is_said_on_its_page(board: Board) -> None:
    job = await board.breaks.enqueue(text="x")
    async with board.client() as client:
        for verb, form, why in (
            ("retry", {}, "has not ended"),
            ("delete", {}, "has not ended"),
            ("retry", {"max_attempts": "many"}, "whole number"),
        ):
            page, notice = await followed(client, await send(client, f"jobs/{job.id}/{verb}", LIVE, **form))
            assert page == f"jobs/{job.id}"
            assert notice.startswith("Nothing was done. ")
            assert why in notice
            assert notice.endswith(".")


@pytest.mark.parametrize("task", ["breaks", "counts"])
async def test_canceled_too_late_is_said_to_be_so(board: Board, task: str) -> None:
    job = await board.task(task).enqueue(**{"breaks": {"text": "x"}, "counts": {"to": 1}}[task])
    await drain(board.jobs)
    [ended] = [one.state async for one in board.jobs.list()]
    async with board.client() as client:
        page, notice = await followed(client, await send(client, f"jobs/{job.id}/cancel", "queues/one?name=default"))
    assert page == f"jobs/{job.id}"
    assert notice == f"Nothing was done. It had ended before: {ended}."
    assert ended == {"breaks": "failed", "counts": "succeeded"}[task]


async def test_canceled_before_it_ran_is_canceled(board: Board) -> None:
    job = await board.breaks.enqueue(text="x")
    async with board.client() as client:
        _, notice = await followed(client, await send(client, f"jobs/{job.id}/cancel", LIVE))
    assert notice == "It is canceled."


async def test_a_change_of_many_jobs_is_asked_for_anew_from_its_page(board: Board) -> None:
    await board.breaks.enqueue(text="x")
    chosen = {"state": "ready,scheduled", "queue": "default", "older_than": "0"}
    async with board.client() as client:
        sent = await send(client, "jobs/bulk", LIVE, action="cancel", **chosen)
        page, _ = await followed(client, sent)
        assert (await send(client, f"{page}/cancel", LIVE)).status_code == 303
        shown = (await client.get(page)).text
        assert f'{page}/retry"' not in shown
        [link] = re.findall(r'It cannot be run again: [^<]*<a href="([^"]*)">See how many fit now', shown)
        again = await client.get(httpx.URL(f"http://board.test/dashboard/{page}").join(html.unescape(link)))
        assert "Cancel 1 job?" in again.text
        assert "<dt>older than</dt><dd><bdi>0</bdi></dd>" in again.text


async def test_where_the_page_could_not_say_it_the_answer_does(board: Board) -> None:
    none = "019a0f3c-5b7e-7cc1-9d0e-2f6b8a4c1d3e"
    await board.breaks.enqueue(text="x")
    async with board.client() as client:
        assert (await send(client, f"jobs/{none}/retry", LIVE)).status_code == 404
        assert (await send(client, "queues/pause", LIVE)).status_code == 404, "no name"


@pytest.mark.parametrize(
    ("form", "page"),
    [
        ("jobs/{id}/retry", "jobs/{id}"),
        ("jobs/{id}/arguments", "jobs/{id}"),
        ("queues/pause?name=a%2Fb", "queues/one?name=a%2Fb"),
        ("queues/resume", "queues"),
        ("schedules/run?name=", "schedules"),
    ],
)
async def test_the_address_of_a_form_leads_to_its_page(board: Board, form: str, page: str) -> None:
    """As after a reload of what `Show values` has answered."""
    job = await board.breaks.enqueue(text="x")
    async with board.client() as client:
        assert await followed(client, await client.get(form.format(id=job.id))) == (page.format(id=job.id), "")
    assert [one.state async for one in board.jobs.list()] == ["ready"]
    assert [one async for one in board.jobs.audit()] == []


async def test_from_there_nobody_is_sent_elsewhere(board: Board) -> None:
    async with board.client() as client:
        for step in ("%5C%5Cevil.example", "..", "%0d%0ax", "https:", "%2F%2Fevil.example"):
            answer = await client.get(f"http://board.test/dashboard/jobs/{step}/retry")
            if answer.status_code == 303:
                assert answer.url.join(answer.headers["location"]).host == "board.test", step
