"""Canaries through every door (reliability A27): secrets go in, everything that comes out is searched, none is found.

What goes in is here; what comes out is in doors.py.
"""

import base64
import importlib
import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anyio import to_thread

from offpath import Offpath, Schedule
from offpath.cli import main
from offpath.logs import configure
from offpath.ports import Message, Received
from offpath.privacy import Secret
from offpath.privacy.known import FILTER
from offpath.testing import drain
from tests.inbox.kit import settled
from tests.spans import Spans, spans

from .doors import DOORS, Place, python
from .out import CANARY, WORDS, Out, Receiver, receiving
from .test_owners import everything

__all__ = ["spans"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """As an application has it: a handler of its own on the root, everything at DEBUG."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s %(body)s", defaults={"body": ""}))
    before = logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.DEBUG)
    yield stream
    logging.root.removeHandler(handler)
    logging.root.setLevel(before)
    for other in logging.root.handlers:
        other.removeFilter(FILTER)


@pytest.fixture(params=["", "k" * 32], ids=["plain", "sealed"])
async def shop(url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("CANARY_DATABASE", url)
    monkeypatch.setenv("CANARY_KEY", request.param)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    sys.modules.pop("shop_app", None)
    module = importlib.import_module("shop_app")
    module.jobs.migrate()
    async with module.jobs:
        yield module
    sys.modules.pop("shop_app", None)


HEADER, QUERY = "header-Zq81", "query-Zq82"  # of an endpoint's own headers, of a callback's address


async def put_in(place: Place, receiver: Receiver) -> None:
    """Through every door."""
    shop, out, client = place.shop, place.out, place.client
    for path in ("/fine", "/bad"):
        headers = {"Authorization": f"Bearer {HEADER}"}
        made = await client.post("/webhooks/endpoints", json={"url": receiver.url + path, "headers": headers})
        assert made.status_code == 201, made.text
        place.endpoints.append(made.json()["id"])
        out.words.append(made.json()["secret"].removeprefix("whsec_"))
    refused = await client.post("/webhooks/endpoints", json={"url": "http://u:canary-pw@127.0.0.1:9/x"})
    assert refused.status_code == 422
    out("HTTP", refused.text)
    order = shop.Order(CANARY, [424242])
    for task in (shop.on_loop, shop.in_thread, shop.in_process):
        await task.using(owner="ann").enqueue(order=order)
    await shop.together.enqueue_many([shop.together.call(cards=f"{CANARY}-{n}") for n in range(3)])
    await shop.gives.call(card=CANARY).then(shop.gives).using(owner="ann").enqueue()
    await shop.jobs.schedules.put("poll", Schedule.every(3600), shop.gives.call(card=CANARY))
    for path in ("/charges", "/orders"):
        for _ in range(2):  # the second is answered from what is remembered
            headers = {"Idempotency-Key": f'"{path}"', "Authorization": f"Bearer {CANARY}", "X-Card": CANARY}
            body = {"card": CANARY, "callback": f"{receiver.url}/back?token={QUERY}"}
            answer = await client.post(path, json=body, headers=headers)
            assert answer.status_code == 202, answer.text
            out("HTTP", answer.text + repr(dict(answer.headers)))
            if (id := answer.json()["id"]) not in place.ids:
                place.ids.append(id)
        bad = {"card": CANARY, "callback": "http://ann:canary-pw@127.0.0.1:9/back"}
        refused = await client.post(path, json=bad)
        assert refused.status_code == 422
        out("HTTP", refused.text)


async def test_nothing_that_went_in_comes_out(
    shop: Any, url: str, logs: io.StringIO, spans: Spans, capsys: pytest.CaptureFixture[str]
) -> None:
    out, lines = Out(), io.StringIO()
    out.words += [HEADER, QUERY]
    handler = configure(format="json", level="debug", stream=lines)
    try:
        transport = httpx2.ASGITransport(app=shop.api)
        async with (
            receiving(out) as receiver,
            httpx2.AsyncClient(transport=transport, base_url="http://shop.example") as client,
        ):
            place = Place(shop, out, client, capsys)
            await put_in(place, receiver)
            await drain(shop.jobs, timeout=100)
            for door in DOORS:
                await door(place)
    finally:
        logging.root.removeHandler(handler)
    out("logs", logs.getvalue())
    out("JSON logs", lines.getvalue())
    for span in spans():
        out("traces", span.to_json())
    assert {path.partition("?")[0] for path in receiver.got} == {"/fine", "/bad", "/back"}
    for text in (logs.getvalue(), lines.getvalue()):
        assert "in a thread of its own" in text
        assert "process charges [redacted]" in text
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    parts = {line["message"]: line["fields"] for line in said if line["message"].endswith(" in parts")}
    assert set(parts) == {"loop in parts", "thread in parts", "process in parts"}
    for fields in parts.values():
        assert fields["listed"] == [1, "[redacted]"]
        assert fields["mapped"] == {"card": {"of": "[redacted]"}}
        assert fields["thing"] == "Receipt(card='[redacted]')"
        assert (fields["pin"], fields["count"]) == ("[redacted]", 3)
    if shop.jobs.settings.secret_keys:
        out("database", await everything(url))
    assert {
        *("HTTP", "SSE", "views", "export", "audit", "admin API", "dashboard", "/metrics/", "command line"),
        *("webhooks", "logs", "JSON logs", "traces"),
    } <= set(out.texts)
    found = out.leaks()
    assert [line for line in found.pop("database", []) if any(word in line for word in WORDS)] == []
    assert found == {}


@pytest.mark.parametrize("url", ["postgresql://app:canary-pw@127.0.0.1:1/shop", "postgresql://app:canary pw@h/x"])
async def test_no_message_has_the_databases_password(url: str, logs: io.StringIO) -> None:
    out = Out()
    try:
        jobs = Offpath(url, transport="redis://:canary-pw@127.0.0.1:1/0", broker="amqp://u:canary-pw@127.0.0.1:1/")
        out("repr", [jobs, jobs.settings])
        async with jobs:
            pass
    except Exception as error:
        out("error", f"{error!r} {error} {error.__cause__!r}")
    assert "error" in out.texts
    out("logs", logs.getvalue())
    assert out.leaks() == {}


async def test_a_message_that_cannot_be_read_is_shown_by_one_command_alone(
    url: str, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is kept as it came: nobody knows what in it is a secret."""
    out = Out()
    jobs = Offpath(url, group="shop", poll=0.05)

    @jobs.on(queue="charges")
    async def pay(card: Secret[str], amount: int) -> None: ...

    jobs.migrate()
    [reading] = jobs._inbox().readings()
    message = Message(json.dumps({"card": CANARY, "amount": "many"}).encode(), {}, "application/json", None)
    [taken] = await jobs.take("redis", [Received(message, None, "charges@1", "charges")], reading)
    assert taken.outcome == "unreadable"
    out("why", taken.why)
    [id] = taken.jobs
    async with jobs.worker():
        await settled(jobs, 1, state="failed")
    out("views", [await jobs.inspect(id, arguments=True), await (await jobs.get(id)).info()])
    capsys.readouterr()
    for words in (f"jobs show {id} --arguments --json", f"jobs attempts {id}", "jobs list --json"):
        code = await to_thread.run_sync(main, ["--database", url, *words.split(" ")])
        assert code == 0
        out("command line", capsys.readouterr().out)
    out("logs", logs.getvalue())
    assert out.leaks() == {}
    assert await to_thread.run_sync(main, ["--database", url, "jobs", "raw", id]) == 0
    assert CANARY in capsys.readouterr().out
    jobs.close()


def test_the_search_finds_what_is_planted() -> None:
    """A test that cannot fail proves nothing."""
    for planted in (CANARY, json.dumps({"a": [f"x{CANARY}"]}), base64.b64encode(CANARY.encode()).decode(), "4242424"):
        out = Out()
        out("page", f"well\n{planted}\n")
        assert list(out.leaks()) == ["page"]


async def test_without_the_scrubbing_it_does(shop: Any, logs: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same application, with what cuts taken away: the doors are real."""
    for place in ("offpath.engine.failures", "offpath.observe.signals"):
        monkeypatch.setattr(f"{place}.scrub", lambda text: text)
    monkeypatch.setattr("offpath.engine.worker.guard_logging", lambda: None)
    job = await shop.in_thread.enqueue(order=shop.Order(CANARY, [424242]))
    await drain(shop.jobs, timeout=100)
    out = Out()
    out("logs", logs.getvalue())
    out("error", (await job.info()).error)
    assert {"logs", "error"} == set(out.leaks())


async def test_without_the_mask_the_faces_do(
    shop: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What shows arguments shows the stored values then, where no key seals them."""
    out = Out()
    job = await shop.gives.using(owner="ann").enqueue(card=CANARY)
    monkeypatch.setattr("offpath.core.redact._is_secret", lambda value: False)
    transport = httpx2.ASGITransport(app=shop.api)
    async with httpx2.AsyncClient(transport=transport, base_url="http://shop.example") as client:
        place = Place(shop, out, client, capsys)
        await python(place)
        path, who = f"/admin/jobs/{job.id}", {"X-As": "keeper"}
        out("admin API", (await client.get(path, params={"arguments": "true"}, headers=who)).text)
    leaks = set(out.leaks())
    assert leaks == (set() if shop.jobs.settings.secret_keys else {"views", "export", "admin API"})
