"""The address book downstream takes ten calls a second, however many workers there are."""

import asyncio
import json
import os
import subprocess
import sys

from examples.accounts.processes import FLAG
from offpath import Offpath

from . import forked
from .conftest import World

ENQUEUE = """
import json
from examples.accounts.tasks import jobs, sync_contact
from offpath.ports import NewOperation

calls = [sync_contact.call(user_id=n % 3 + 1).core._replace(watched=True) for n in range(12)]
new = [jobs.new_job(call, NewOperation("acme", "test", call.task, "")) for call in calls]
print(json.dumps([one.id for one in jobs.store.enqueue(new).result(60)]))
"""
SPACING = 100_000  # µs


async def test_a_sync_of_contacts_starts_ten_calls_a_second(world: World) -> None:
    """Seen where the claim is written: how soon a call then arrives is the network's affair."""
    other = await forked.start("examples.accounts.worker", "--database", world.database, FLAG, env=world.environment)
    try:
        environment = {**os.environ, **world.environment, "ACCOUNTS_DATABASE": world.database}
        command = [sys.executable, "-c", ENQUEUE]
        # In a thread: the receivers answer on this loop.
        ids = json.loads(await asyncio.to_thread(subprocess.check_output, command, env=environment, timeout=60))
        await world.received.until(
            lambda received: {call.id.strip('"') for call in received.calls} >= set(ids), timeout=60
        )
    finally:
        await other.stop()
    synced = [call for call in world.received.calls if call.id.strip('"') in ids]
    assert {call.body["event"] for call in synced} == {"contact.synced"}
    assert sorted({call.body["user"]["id"] for call in synced}) == [1, 2, 3]

    jobs = Offpath(world.database)
    starts = sorted(
        event.at
        for id in ids
        for event in jobs.store.read(jobs.store.verbs.events(id, 0, 100)).result(60)
        if event.type == "started"
    )
    jobs.close()
    assert len(starts) >= len(ids)
    for first in range(len(starts)):
        for last in range(first + 1, len(starts)):
            assert last - first <= (starts[last] - starts[first]) // SPACING
