"""What pages say in words: text that would hide or turn around is shown, and what is ours is told as it is."""

import html
import json
import re

import pytest

from offpath import Schedule
from offpath.app.acting import acting
from offpath.core.ids import uuid7
from offpath.dashboard.render import verbatim, visible
from offpath.ports.webhooks import EndpointRow
from offpath.testing import drain
from offpath.webhooks import rotation
from tests.dashboard.place import Board, send

pytestmark = pytest.mark.anyio
TURNED = "\u202egnp.exe"


def words(page: str) -> str:
    """Without the markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (TURNED, "\\u202egnp.exe"),
        ("a\x00\x1b[2J\x85b", "a\\x00\\x1b[2J\\x85b"),
        ("in\u200bvisible\ufeff\u2066\u2069", "in\\u200bvisible\\ufeff\\u2066\\u2069"),
        ("\U000e0041\ud800", "\\U000e0041\\ud800"),
        ("two\nlines\tand 短信, \u202f12, می\u200cخواهم, 👩\u200d💻", None),
    ],
)
def test_what_hides_is_an_escape_and_what_people_write_is_not(text: str, shown: str | None) -> None:
    assert visible(text) == (text if shown is None else shown)
    assert verbatim(text) == text


async def test_a_name_that_turns_the_rest_around_is_shown_and_can_be_used(board: Board) -> None:
    job = await board.breaks.using(key=TURNED, queue=TURNED).enqueue(text=TURNED)
    await drain(board.jobs)
    waits = await board.breaks.using(queue=TURNED, delay=900).enqueue(text="x")
    async with board.client() as client:
        for page in ("jobs", f"jobs/{job.id}", "queues", f"jobs/bulk?action=retry&state=failed&key_prefix={TURNED}"):
            said = (await client.get(page)).text
            assert "\\u202egnp.exe" in said, page
            assert "\u202e" not in re.sub(r'value="[^"]*"', "", said), page
        of = f"queues/one?name={TURNED}"
        assert (await send(client, "queues/pause", of, name=TURNED)).status_code == 303
        paused = (await board.jobs.queues.get(TURNED)).paused
        assert paused
        filtered = (await client.get(f"jobs?queue={TURNED}")).text
        assert waits.id in filtered
        assert f'name="queue" value="{TURNED}"' in filtered, "to be sent again as it is"


async def test_the_audit_log_leads_to_the_jobs_it_names(board: Board) -> None:
    job = await board.breaks.enqueue(text="x")
    await board.breaks.using(queue="mail").enqueue(text="x")
    await drain(board.jobs)
    async with board.client() as client:
        form = {"action": "retry", "state": "failed", "queue": "mail"}
        place = "jobs/bulk?action=retry&state=failed&queue=mail"
        bulk = (await send(client, "jobs/bulk", place, **form)).headers["location"]
        await drain(board.jobs)
        again = (await send(client, f"jobs/{job.id}/retry", "queues/one?name=default")).headers["location"]
        page = (await client.get("audit")).text
    for place in (bulk, again):
        id = place.rpartition("/")[2]
        assert f'jobs/{id}" title=' in page, id


async def test_the_audit_log_leads_to_all_that_has_a_page(board: Board) -> None:
    store, at = board.jobs.store, board.jobs.store.now()
    endpoint = EndpointRow(
        id=uuid7(at, b"0123456789"), tenant="acme", owner="alice", url="https://hooks.example/x", description="",
        events='["operation.failed"]', secrets=rotation.sealed("whsec_" + "A" * 32, board.webhooks.vault), headers=None,
        enabled=True, reason=None, failing_since=None, not_before=None, width=4, created_at=at, updated_at=at,
    )  # fmt: skip
    assert await store.perform(store.verbs.add_endpoint(endpoint, 20))
    with acting("ann"):
        for name in ("every day", "gone"):
            await board.jobs.schedules.put(name, Schedule.every(86_400), board.breaks.call(text="x"))
        await board.jobs.schedules.delete("gone")
        await board.jobs.queues.pause("a/b", reason="load test")
    async with board.client() as client:
        place = f"webhooks/{endpoint.id}"
        assert (await send(client, f"{place}/disable", place)).status_code == 303
        page = (await client.get("audit")).text
        for name in ("queues/one?name=a%2Fb", "schedules/one?name=every+day", place):
            assert f'href="./{name}"' in page, page[page.find("<tbody") :]
            assert (await client.get(name)).status_code == 200
    assert "<bdi>gone</bdi>" in page, "where it was removed"


async def test_a_pause_of_a_queue_that_nothing_has_says_so(board: Board) -> None:
    async with board.client() as client:
        said = []
        for name in ("mial", "default"):
            place = await send(client, "queues/pause", f"queues/one?name={name}", name=name)
            said.append(words((await client.get(place.headers["location"].replace("../", ""))).text))
    assert ["nor any task that is known here" in page for page in said] == [True, False]


async def test_a_change_of_many_says_what_it_did(board: Board) -> None:
    """Its filter and its counts are ours, and in the audit log besides: they are no secret."""
    await board.breaks.using(queue="mail").enqueue(text="x")
    await drain(board.jobs)
    async with board.client() as client:
        form = {"action": "retry", "queue": "mail", "state": "failed"}
        page = "jobs/bulk?action=retry&state=failed&queue=mail"
        place = (await send(client, "jobs/bulk", page, **form)).headers["location"].rpartition("/")[2]
        await drain(board.jobs)
        shown = words((await client.get(f"jobs/{place}")).text)
        log = [one async for one in board.jobs.audit(action="job.arguments")]
    assert "1 of 1 jobs : 1 run again" in shown
    assert "skipped" not in shown.partition("Progress")[2].partition("Attempts")[0]
    assert '"queue": "mail"' in shown
    assert '"done": 1' in shown
    assert "shapes only" not in shown
    assert "this look was recorded" not in shown
    assert log == []


async def test_what_cannot_be_meant_is_said_in_words_of_the_page(board: Board) -> None:
    await board.breaks.enqueue(text="x")
    async with board.client() as client:
        answer = await client.get("jobs/bulk?action=retry")
        said = words((await client.get(answer.url.join(answer.headers["location"]))).text)
        body = {"action": "retry", "filter": {}}
        refused = await client.post("http://board.test/admin/jobs:preview", json=body)
    assert "retry needs to be told which jobs" in said
    assert "to mean all of them: state failed" in said
    for leak in ("retry_many", "#/", "['"):
        assert leak not in said
        assert leak not in json.dumps(refused.json().get("errors", [])[0]["detail"])


async def test_a_finding_leads_to_where_it_is_seen(board: Board) -> None:
    await board.breaks.enqueue(text="x")
    await drain(board.jobs)
    async with board.client() as client:
        page = html.unescape((await client.get("health")).text)
        [link] = re.findall(r'href="([^"]*)">failed</a>', page)
        dead = (await client.get(link.removeprefix("./"))).text
    assert "breaks" in dead
    assert link.endswith("jobs?state=failed&outstanding=true")
