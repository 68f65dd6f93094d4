"""What could not be read: a dead letter with its bytes, for people and for code that comes later."""

import base64
import json
from pathlib import Path

import pytest

from offpath import Offpath
from offpath.cli import main
from offpath.cloudevents import CloudEvent, encode
from offpath.core import inbox
from offpath.errors import NotFound
from offpath.ports import Message, Received

from .kit import PAID, Order, paid, settled

pytestmark = pytest.mark.anyio

BODY = b"\xff\xfe\x00 no text\n"


def application(url: str) -> Offpath:
    jobs = Offpath(url, group="shop", topic="orders", poll=0.05)

    @jobs.on(PAID)
    async def pack(event: CloudEvent[Order]) -> None: ...

    return jobs


async def buried(jobs: Offpath, body: bytes = BODY) -> str:
    """The dead letter of a message with this body."""
    [reading] = jobs._inbox().readings()
    message = Message(body, {"task": "wipe"}, "text/plain", "k")
    [taken] = await jobs.take("kafka", [Received(message, None, "orders/3@1207", "orders")], reading)
    assert taken.outcome == "unreadable"
    assert taken.why
    [id] = taken.jobs
    async with jobs.worker():
        await settled(jobs, 1, state="failed")
    return id


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db"


async def test_a_letter_is_shown_as_it_came(url: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    jobs = application(url)
    id = await buried(jobs)
    letter = await jobs.raw(id)
    assert (letter.body, letter.place, letter.kind) == (BODY, "orders/3@1207", "kafka")
    assert jobs.raw_sync(id) == letter
    capfdbinary.readouterr()
    assert main(["--database", url, "jobs", "raw", id]) == 0
    assert capfdbinary.readouterr().out == BODY
    assert main(["--database", url, "jobs", "raw", id, "--json"]) == 0
    said = json.loads(capfdbinary.readouterr().out)
    assert base64.b64decode(said["body"]) == BODY
    assert (said["job"], said["headers"], said["key"]) == (id, {"task": "wipe"}, "k")
    assert said["source"] == {"address": "orders", "shape": "topic", "group": "shop"}
    jobs.close()


async def test_other_jobs_stand_for_no_message(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = application(url)

    @jobs.task
    async def other(letter: str) -> None: ...

    job = await other.enqueue("01a21ede-e9c8-76aa-a694-5ea987010c54")
    with pytest.raises(NotFound, match="stands for no message"):
        await jobs.raw(job.id)
    with pytest.raises(NotFound, match="no job"):
        await jobs.raw("nobody")
    assert main(["--database", url, "jobs", "raw", job.id]) == 1
    assert "stands for no message" in capsys.readouterr().err
    jobs.close()


async def test_of_a_message_that_is_too_large_the_first_part_is_kept(
    url: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(inbox, "MAX_RAW", 5)
    jobs = application(url)
    id = await buried(jobs)
    letter = await jobs.raw(id)
    assert (letter.body, letter.size) == (BODY[:5], len(BODY))
    again = await jobs.retry(id)
    async with jobs.worker():
        await settled(jobs, 2, state="failed")
    info = await (await jobs.get(again.id)).info()
    assert info.error is not None
    assert "SHA-256" in info.error["detail"]
    capfdbinary.readouterr()
    assert main(["--database", url, "jobs", "raw", id]) == 0
    assert b"the first 5 of 12 bytes" in capfdbinary.readouterr().err
    jobs.close()


async def test_whoever_deletes_the_job_deletes_the_message(url: str) -> None:
    jobs = application(url)
    id = await buried(jobs)
    await jobs.delete(id)
    with pytest.raises(NotFound):
        await jobs.raw(id)
    assert await jobs.store.read(jobs.store.verbs.letter(id)) is None
    jobs.close()


async def test_what_is_sent_to_us_is_refused_and_not_kept(url: str) -> None:
    """HTTP: the sender hears of it, and has the dead letter."""
    jobs = application(url)
    one = Received(Message(BODY, {}, "text/plain"), None, "POST /events", "")
    [taken] = await jobs.take("http", [one], keep=False)
    assert (taken.outcome, taken.jobs) == ("unreadable", ())
    assert "no CloudEvent" in taken.why
    assert [info async for info in jobs.list()] == []
    jobs.close()


async def test_what_is_taken_carries_on_the_trace_it_was_sent_in(url: str) -> None:
    jobs = application(url)
    trace = "1" * 32
    sent = encode(paid(1, extensions={"traceparent": f"00-{trace}-{'2' * 16}-01"}), "http")
    [taken] = await jobs.take("http", [Received(sent, None, "POST /events", "")])
    found = await jobs.store.read(jobs.store.verbs.find(taken.jobs[0]))
    assert found is not None
    assert found.job is not None
    assert trace in str(found.job.options)
    jobs.close()


@pytest.mark.servers("postgres")
async def test_it_is_the_same_on_postgresql(tables_url: str) -> None:
    jobs = application(tables_url)
    jobs.migrate()
    id = await buried(jobs, BODY * 100_000)
    assert (await jobs.raw(id)).body == BODY * 100_000
    assert [info.state async for info in jobs.list()] == ["failed"]
    jobs.close()
