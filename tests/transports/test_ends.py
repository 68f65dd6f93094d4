"""A script that enqueues and ends, without a farewell: workers are told all the same."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from offpath import Offpath
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


LATE = """
import threading
from offpath import Offpath

jobs = Offpath({url!r})

@jobs.task
def send(to: str) -> None: ...

def last() -> None:
    threading.main_thread().join()
    print(send.enqueue_sync(to="a").id)

threading.Thread(target=last).start()
"""


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_a_thread_that_outlives_the_main_one_may_be_the_first_to_enqueue(
    store: str, tables_url: str, tmp_path: Path
) -> None:
    url = tables_url if store == "postgresql" else f"sqlite:///{tmp_path}/app.db"
    ended = subprocess.run(
        [sys.executable, "-c", LATE.format(url=url)], capture_output=True, text=True, timeout=200, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    jobs = Offpath(url)
    try:
        assert jobs.get_sync(ended.stdout.strip()).info_sync().state == "ready"
    finally:
        jobs.close()
