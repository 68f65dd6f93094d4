"""`ctx.events.emit`, as whoever follows the operation gets it: on the stream and by the client."""

import json
from collections.abc import AsyncIterator

import pytest

from offpath.client import AsyncClient
from offpath.core.outputs import output
from tests.http.decoder import decode
from tests.http.site import BOTH, Hand, Site, checked_client, served

pytestmark = pytest.mark.anyio


@pytest.fixture
async def base(site: Site) -> AsyncIterator[str]:
    async with served(site.api) as base:
        yield base


@BOTH
async def test_it_is_an_event_of_its_own_that_resumes_and_hides_nothing(site: Site, base: str, worker: Hand) -> None:
    # Data that looks like the event's own members must not take their place.
    data = {"sequence": 99, "at": "never", "text": "a\u2028\r\nb"}
    async with checked_client("alice", base_url=base) as client:
        url = await site.start(client, "echo", value=1)
        job = await worker.claim()
        lines = [output("page-rendered", json.dumps(data)), output("plain", "null")]
        assert await worker.store.perform(worker.store.verbs.emit(job.id, job.fence, worker.id, lines))
        await worker.done(job, "end")
        stream = await client.get(url + "/events", headers={"last-event-id": "2"})
        events = decode(stream.content)
        assert [event.type for event in events] == ["operation.output", "operation.output", "operation.succeeded"]
        first, second = (json.loads(event.data) for event in events[:2])
        assert first["sequence"] == int(events[0].id) == 3
        assert first["at"] != "never"
        assert (first["name"], first["data"]) == ("page-rendered", data)
        assert (second["name"], second["data"]) == ("plain", None)
        stream = await client.get(url + "/events", headers={"last-event-id": "3"})
        assert [event.id for event in decode(stream.content)] == ["4", "5"]
    async with AsyncClient(base, headers={"authorization": "alice"}) as follower:
        told = [event async for event in follower.operation(url).events(after="2")]
    assert [(event.type, event.data.get("name")) for event in told] == [
        ("operation.output", "page-rendered"),
        ("operation.output", "plain"),
        ("operation.succeeded", None),
    ]
