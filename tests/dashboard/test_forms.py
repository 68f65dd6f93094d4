"""Forms that come to nothing say so on the page that has them; their addresses, opened as pages, lead there."""

import html
import re

import httpx
import pytest

from offpath.testing import drain
from tests.dashboard.place import Board, field, send
from tests.dashboard.test_words import words

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


async def test_two_who_press_retry_run_it_again_once(board: Board) -> None:
    """Each has opened the page before the other pressed; whoever means it presses once more."""
    job = await board.breaks.enqueue(text="x")
    await drain(board.jobs)
    page = f"jobs/{job.id}"
    async with board.client() as client:
        seen = (await client.get(page)).text

        async def press(shown: str) -> tuple[str, str]:
            form = {name: field(shown, name) for name in ("form", "retried_as")}
            answer = await client.post(f"{page}/retry", data=form, headers={"Sec-Fetch-Site": "same-origin"})
            return await followed(client, answer)

        first, said = await press(seen)
        assert (first == page, said) == (False, "It runs again, as this new job.")
        assert await press(seen) == (
            page, f"Nothing was done. job {job.id} was run again already, as {first.removeprefix('jobs/')}.",
        )  # fmt: skip
        now = (await client.get(page)).text
        assert "Retry once more" in now
        second, said = await press(now)
        assert (second in (page, first), said) == (False, "It runs again, as this new job.")
    assert len([one async for one in board.jobs.list()]) == 3


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


@pytest.mark.parametrize(
    ("action", "asked", "fields"),
    [
        ("retry", {"max_attempts": "7"}, {"max_attempts": "7"}),
        ("cancel", {"reason": 'too "late"'}, {"reason": 'too "late"'}),
        ("cancel", {}, {"reason": ""}),
        ("delete", {}, {}),
    ],
)
async def test_asked_for_anew_is_all_that_was_asked(
    board: Board, action: str, asked: dict[str, str], fields: dict[str, str]
) -> None:
    form = f"jobs/{(await board.breaks.enqueue(text='x')).id}"
    if action != "cancel":
        await drain(board.jobs)
    chosen = {"queue": "default", "older_than": "0.4s"}
    async with board.client() as client:
        place, _ = await followed(client, await send(client, "jobs/bulk", form, action=action, **chosen, **asked))
        assert (await send(client, f"{place}/cancel", form)).status_code == 303
        shown = (await client.get(place)).text
        [link] = re.findall(r'<a href="([^"]*)">See how many fit now', shown)
        page = str(httpx.URL(f"http://board.test/dashboard/{place}").join(html.unescape(link)))
        assert "<dt>older than</dt><dd><bdi>0.4</bdi></dd>" in (await client.get(page)).text
        again = await client.get(page.replace("older_than=0.4", "older_than=0"))
    said = re.findall(r'<input name="(reason|max_attempts)"[^>]* value="([^"]*)"', again.text)
    assert {name: html.unescape(value) for name, value in said} == fields


async def test_a_retry_takes_a_number_of_attempts(board: Board) -> None:
    one = await board.breaks.enqueue(text="x")
    await board.breaks.using(queue="mail").enqueue(text="x")
    await drain(board.jobs)
    async with board.client() as client:
        assert 'name="max_attempts"' in (await client.get(f"jobs/{one.id}")).text
        place = (await send(client, f"jobs/{one.id}/retry", f"jobs/{one.id}", max_attempts="4")).headers["location"]
        form = {"action": "retry", "state": "failed", "queue": "mail"}
        page = "jobs/bulk?action=retry&state=failed&queue=mail"
        refused, notice = await followed(client, await send(client, "jobs/bulk", page, **form, max_attempts="many"))
        assert (refused, "whole number" in notice) == ("jobs/bulk?action=retry&max_attempts=many" + page[22:], True)
        many = (await send(client, "jobs/bulk", page, **form, max_attempts="5")).headers["location"]
        id = place.rpartition("/")[2]
        again = await board.jobs.inspect(id)
        shown = words((await client.get(f"jobs/{id}")).text)
        bulk = await board.jobs.inspect(many.rpartition("/")[2])
    assert again.info.retry_of == one.id
    assert "max attempts 4" in shown
    assert bulk.arguments["max_attempts"] == 5


async def test_a_preview_shows_whose_jobs_they_are(board: Board) -> None:
    """An owner's name may be somebody else's in another tenant."""
    for tenant in ("acme", "globex"):
        await board.breaks.using(owner="erin", tenant=tenant).enqueue(text="x")
    await board.breaks.enqueue(text="x")
    async with board.client() as client:
        erins = words((await client.get("jobs/bulk?action=cancel&owner=erin")).text)
        all_there = words((await client.get("jobs/bulk?action=cancel&state=ready")).text)
    for shown in (erins, all_there):
        assert "erin of acme" in shown
        assert "erin of globex" in shown
    assert ("in every tenant" in erins, "in every tenant" in all_there) == (True, False)


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
