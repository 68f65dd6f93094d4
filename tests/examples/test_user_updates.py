"""A PUT that leaves a plain message in a queue, and the process of its own that consumes it."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis as Client

from examples.accounts.processes import FLAG, Child
from servers.redis import Redis

from . import forked
from .conftest import World, running

BOB = {"username": "bob", "email": "bob@acme.example", "phoneNumber": None}


@dataclass
class Both:
    """The application with its worker, and the process that consumes."""

    world: World
    updates: Child
    broker: str


@pytest.fixture
async def both(tmp_path: Path, redis_server: Redis) -> AsyncIterator[Both]:
    url = redis_server.url
    async with running(tmp_path, ACCOUNTS_BROKER=url, ACCOUNTS_USER_UPDATES="publish") as world:
        updates = await forked.start("examples.accounts.worker", "--user-updates", FLAG, env=world.environment)
        try:
            await updates.line("inbox.consuming")
            yield Both(world, updates, url)
        finally:
            code = await updates.stop()
    assert code == 0, updates.lines


async def foreign(broker: str, *messages: bytes) -> None:
    """What another program leaves in the queue, which knows nothing of us."""
    async with contextlib.aclosing(Client.from_url(broker)) as client:
        for message in messages:
            await client.xadd("user-updates", {"body": message})


async def test_a_put_is_left_in_the_queue_and_applied_by_another_process(both: Both) -> None:
    world = both.world
    before = (await world.call("GET", "/users/2", user="bob")).json()
    changed = BOB | {"phoneNumber": "+1 555 0200"}
    missing = await world.call("PUT", "/users/1", changed, user="bob", Prefer="respond-async")
    assert missing.status_code == 404
    stale = await world.call("PUT", "/users/2", changed, user="bob", Prefer="respond-async", If_Match='"0"')
    assert stale.status_code == 412
    answer = await world.call("PUT", "/users/2", changed, user="bob", Prefer="respond-async")
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["location"].endswith("/users/2")
    await world.received.until(lambda received: len(received.letters) == 1)
    after = (await world.call("GET", "/users/2", user="bob")).json()
    assert after == before | {"phoneNumber": "+1 555 0200", "version": before["version"] + 1}
    assert (await world.call("GET", "/operations", user="bob")).json()["items"] == []

    # and what another program says in the same words; once more it changes nothing
    theirs = json.dumps({"userId": 2, "userData": BOB | {"username": "robert"}}).encode()
    await foreign(both.broker, theirs, theirs)
    await world.received.until(lambda received: len(received.letters) == 2)
    again = (await world.call("GET", "/users/2", user="bob")).json()
    assert again == after | {"username": "robert", "phoneNumber": None, "version": after["version"] + 1}

    # what does not fit is a dead letter, and those behind it are done
    await foreign(both.broker, b"\xff", b'{"userId": 2, "userData": {"username": ""}}', b'{"task": "send_email"}')
    await foreign(both.broker, json.dumps({"userId": 2, "userData": BOB}).encode())
    await world.received.until(lambda received: len(received.letters) == 3)
    assert (await world.call("GET", "/users/2", user="bob")).json()["username"] == "bob"
    assert len([line for line in both.updates.lines if "inbox.unreadable" in line]) == 3
