"""What the reference application does by the clock: the daily report, the reminder, the data sync."""

import asyncio
import contextlib
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from .conftest import World, lent, running

ROOT = Path(__file__).parents[2]
BERLIN = ZoneInfo("Europe/Berlin")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("accounts")
    with lent(request, folder) as url:
        async with running(folder, database=url) as world:  # its API answers before its worker has begun
            await until(
                world,
                "select count(*) from offpath_schedule where name = 'sync_items' and last_tick is not null",
                [(1,)],
            )
            yield world


def sql(world: World, statement: str, rows: Sequence[tuple[Any, ...]] = ()) -> list[tuple[Any, ...]]:
    """Look, or meddle, behind the application's back. `?` stands for a value."""
    if world.database.startswith("sqlite"):
        path = world.database.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            if rows:
                connection.executemany(statement, rows)
                return []
            return connection.execute(statement).fetchall()
    with psycopg.connect(world.database) as connected, connected.cursor() as cursor:
        if rows:
            cursor.executemany(statement.replace("?", "%s").encode(), rows)
            return []
        cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def offpath(world: World, *words: str) -> Any:
    """The command line, with the database alone: rows are enough for it."""
    command = [sys.executable, "-m", "offpath", "--database", world.database, *words, "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode in (0, 1), err.decode()  # 1: the job of a tick that has just come is there already
    return json.loads(out)


async def run_now(world: World, name: str) -> str:
    """A run that begins after this moment: not one that was there before."""
    async with asyncio.timeout(200):
        while (job := await offpath(world, "schedules", "run", name))["existing"]:
            pass
    return str(job["id"])


async def until(world: World, statement: str, wanted: Sequence[tuple[Any, ...]]) -> None:
    async with asyncio.timeout(200):
        while sql(world, statement) != list(wanted):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # another process's rows tell nobody


async def test_the_sync_takes_page_after_page_and_a_bad_row_stops_nobody(world: World) -> None:
    bad = {40, 41, 120, 249}
    items = [(999_999 if n in bad else n % 3 + 1,) for n in range(250)]
    sql(world, "insert into sync_items (user_id, retries) values (?, 0)", items)
    await run_now(world, "sync_items")
    await until(
        world,
        'select count(*), sum(retries) from sync_items where user_id < 1000 and "completedAt" is not null '
        "and error is null",
        [(246, 0)],
    )
    await until(
        world,
        'select distinct error from sync_items where user_id = 999999 and retries >= 1 and "completedAt" is null',
        [("there is no user 999999",)],
    )
    assert sql(world, "select count(*) from user_cache where user_id in (1, 2, 3)") == [(3,)]
    failed = sql(world, "select count(*) from offpath_history where task = 'sync_items' and outcome <> 4")
    assert failed == [(0,)], "a bad row fails its row, not the run"


async def test_it_has_run_at_once_and_is_due_each_minute(world: World) -> None:
    [row] = [one for one in await offpath(world, "schedules", "list") if one["name"] == "sync_items"]
    assert row["when"] == "every 1 min"
    assert row["last_tick"] is not None
    first, second = (await offpath(world, "schedules", "explain", "sync_items"))["runs"][:2]
    assert moment(second["utc"]) - moment(first["utc"]) == timedelta(minutes=1)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_the_daily_report_is_at_eight_in_its_zone(world: World) -> None:
    runs = (await offpath(world, "schedules", "explain", "daily-report"))["runs"]
    assert len(runs) == 10
    for run in runs:
        local = moment(run["local"])
        assert (local.hour, local.minute, local.second) == (8, 0, 0)
        assert local.astimezone(BERLIN).utcoffset() == local.utcoffset()
        assert local == moment(run["utc"])
    answer = await world.call("POST", "/api/orders", {"items": [{"product": "lamp", "quantity": 1}]})
    assert answer.status_code == 201
    day = datetime.now(BERLIN).date() - timedelta(days=1)
    yesterday = datetime.combine(day, datetime.min.time(), tzinfo=BERLIN) + timedelta(hours=12)
    sql(world, "update orders set created_at = ?", [(stored(world, yesterday),)])
    job = await run_now(world, "daily-report")
    await until(world, f"select count(*) from offpath_history where cast(id as text) = '{job}'", [(1,)])
    result = (await offpath(world, "jobs", "show", job, "--arguments"))["result"]
    assert date.fromisoformat(result["day"]) in (day, day + timedelta(days=1))  # it may be midnight by now
    if result["day"] == day.isoformat():
        assert result["orders"] >= 1


async def test_files_that_nobody_needs_are_purged_each_night(world: World) -> None:
    runs = (await offpath(world, "schedules", "explain", "purge-files"))["runs"]
    assert {(moment(run["local"]).hour, moment(run["local"]).minute) for run in runs} == {(3, 30)}
    job = await run_now(world, "purge-files")
    await until(world, f"select outcome from offpath_history where cast(id as text) = '{job}'", [(4,)])


async def test_contacts_are_synced_each_night_a_job_for_each_user(world: World) -> None:
    runs = (await offpath(world, "schedules", "explain", "sync-contacts"))["runs"]
    assert {moment(run["local"]).hour for run in runs} == {2}
    job = await run_now(world, "sync-contacts")
    await until(world, f"select outcome from offpath_history where cast(id as text) = '{job}'", [(4,)])
    users = sql(world, "select count(*) from users")
    ended = "select count(*) from offpath_history where task = 'sync_contact' and key is not null and outcome = 4"
    await until(world, ended, users)


def stored(world: World, at: datetime) -> Any:
    """As SQLAlchemy writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f") if world.database.startswith("sqlite") else at


async def test_a_reminder_comes_a_day_after_sign_up(world: World) -> None:
    address = "late@example.org"
    before = datetime.now(UTC)
    assert (await world.call("POST", "/api/users", {"username": "late", "email": address})).status_code == 201
    [job] = await offpath(world, "jobs", "list", "--task", "remind", "--state", "scheduled")
    assert before + timedelta(hours=24) <= moment(job["run_at"]) <= datetime.now(UTC) + timedelta(hours=24)
    sql(world, f"update offpath_job set run_at = 1 where cast(id as text) = '{job['id']}'")
    await world.received.until(
        lambda r: any(letter.subject == "Complete your profile" for letter in r.letters), timeout=60
    )
    [letter] = [letter for letter in world.received.letters if letter.subject == "Complete your profile"]
    assert letter.to == (address,)
    assert letter.id.strip("<>").startswith(job["id"])
