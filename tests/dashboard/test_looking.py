"""Where *Look* leads to: to what the alert is about, also in the first minute."""

import re
from datetime import timedelta

import pytest

from offpath import Schedule
from offpath.core.alerts import AlertRow
from offpath.core.ids import at_moment
from offpath.core.options import SECOND
from offpath.core.schedule import ScheduleRow
from offpath.testing import drain
from offpath.testing.stores.kit import new_job, put
from tests.dashboard.place import Board

pytestmark = pytest.mark.anyio


async def test_an_alert_on_a_late_schedule_leads_to_it(board: Board) -> None:
    jobs, store = board.jobs, board.jobs.store
    jobs.alert("a schedule is late", schedule_late=5)
    for name in ("a daily one", "often"):
        await jobs.schedules.put(name, Schedule.every(timedelta(days=1)), board.breaks.call(text="x"))
    now = store.now()

    def eight_seconds_ago(row: ScheduleRow | None, *_: object) -> ScheduleRow:
        assert row is not None
        return row._replace(next_at=now - 8 * SECOND)

    await store.perform(lambda: store.verbs.change_schedule("often", eight_seconds_ago))
    raised = store.verbs.move_alert(AlertRow("a schedule is late", 0, None, 0), now, 8 * SECOND, None)
    assert await store.perform(lambda: raised)
    async with board.client() as client:
        overview = (await client.get("")).text
        [look] = re.findall(r'<a href="([^"]+)">Look</a>', overview)
        assert "1 schedule whose time has come" in overview
        page = await client.get(look.removeprefix("./"))
        assert page.status_code == 200
        rows = re.findall(r'<tr><th scope="row" data-name="Schedule">.*?</tr>', page.text, re.DOTALL)
        assert ["often" in row for row in rows] == [True, False], "the late one is first"
        assert re.search(r'is-late">late</span> <span class="soft">behind by \d', rows[0])
        assert "behind" not in rows[1]
        assert "behind by" in (await client.get("schedules/one?name=often")).text
        assert "often" in (await client.get("schedules?state=late")).text
        none = (await client.get("schedules?state=paused")).text
        assert ("No schedules like that" in none, "Declare one" in none) == (True, False)


async def test_the_overview_tells_of_schedules(board: Board) -> None:
    async with board.client() as client:
        tile = r'<a class="tile " href="./schedules">\s*(.*?)</a>'
        [none] = re.findall(tile, (await client.get("")).text, re.DOTALL)
        assert re.sub(r"<.*?>", " ", none).split() == ["schedules", "0"]
        for name in ("one", "another"):
            await board.jobs.schedules.put(name, Schedule.every(timedelta(days=2)), board.breaks.call(text="x"))
        await board.jobs.schedules.pause("one")
        part = await client.get("", headers={"X-Offpath-Part": "1"})
        [two] = re.findall(tile, part.text, re.DOTALL)
        assert " ".join(re.sub(r"<.*?>", " ", two).split()) == "schedules 2 1 paused, next in 1 d"


async def test_an_alert_on_dead_letters_leads_to_them_also_when_all_were_run_again(board: Board) -> None:
    """It rings until the failures are older than its time; it led to an empty list."""
    jobs, store = board.jobs, board.jobs.store
    jobs.alert("they fail", dead_letters=0, within=timedelta(hours=1))
    job = await board.breaks.enqueue(text="x")
    await drain(jobs)
    raised = store.verbs.move_alert(AlertRow("they fail", 0, None, 0), store.now(), 1, None)
    assert await store.perform(lambda: raised)
    async with board.client() as client:
        assert "All have been run again" not in (await client.get("")).text
        await jobs.retry(job.id)
        overview = (await client.get("")).text
        [look] = re.findall(r'<a href="([^"]+)">Look</a>', overview)
        assert "All have been run again; it ends when they are older than its time." in overview
        assert job.id in (await client.get(look.removeprefix("./"))).text


async def test_a_job_is_found_by_the_beginning_of_its_id(board: Board) -> None:
    first, second = at_moment(10**15, "7001-8000-000000000001"), at_moment(10**15, "7001-8000-000000000002")
    put(board.jobs.store, new_job(id=first), new_job(id=second))
    async with board.client() as client:

        async def found(said: str) -> tuple[int, str]:
            answer = await client.get(f"jobs?id={said}")
            return answer.status_code, answer.headers.get("location") or answer.text

        assert await found(first) == await found(first.upper()) == (303, f"./jobs/{first}")
        later = (await board.breaks.enqueue(text="x")).id
        assert await found(later[:9]) == (303, f"./jobs/{later}")
        status, said = await found(first[:20])
        assert (status, first in said, second in said) == (400, True, True)
        status, said = await found("ffffffff")
        assert (status, "No job&#39;s id begins so" in said) == (404, True)
        for nothing in (first[-8:], "019", "x"):
            status, said = await found(f"…{nothing}")
            assert (status, "or its beginning" in said) == (400, True)
