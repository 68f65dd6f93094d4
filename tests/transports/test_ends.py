"""A script that enqueues and ends, without a farewell: workers are told all the same."""

import textwrap
from pathlib import Path

import pytest

from offpath.ports import Hint
from offpath.transports.notify import NotifyTransport
from tests.nursery import OFFPATH, nursery
from tests.transports.ear import listening

BEGIN = """
import psycopg
from offpath import Offpath
from offpath.stores.borrow import lookout
from offpath.transports import carrier, line

line.LAST = carrier.PATIENCE = lookout.FAREWELL = 60.0  # this machine has other things to do
jobs = Offpath({url!r})

@jobs.task
def send(to: str) -> None: ...
"""
WAYS = {
    "its own transaction": "send.enqueue_sync(to='a')",
    "the caller's": "with psycopg.connect({plain!r}) as mine: send.using(tx=mine).enqueue_sync(to='a')",
}


@pytest.mark.parametrize("way", WAYS)
def test_workers_hear_at_once_of_what_a_script_enqueues_as_its_last_act(
    way: str, tables_url: str, tmp_path: Path
) -> None:
    transport = NotifyTransport(tables_url)
    try:
        ear = listening(transport)
        before = ear.heard.count(Hint("work", ("default",)))
        program = textwrap.dedent(BEGIN.format(url=tables_url)) + WAYS[way].format(plain=tables_url)
        ended = nursery(*OFFPATH).run(["-c", program], tmp_path, {})
        assert ended.returncode == 0, ended
        ear.wait(Hint("work", ("default",)), before + 1)
    finally:
        transport.close()
