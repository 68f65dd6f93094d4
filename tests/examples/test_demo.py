"""The demo is the documentation that moves: it must hold, and what it says to type must work."""

import json
import os
import re
import subprocess
import sys
import threading

import pytest

from tests import servers

STRANGE = {
    "OFFPATH_APP": "nope:jobs",
    "OFFPATH_SCHEMA": "zzz",
    "OFFPATH_TRANSPORT": "redis://127.0.0.1:1",
    "ACCOUNTS_BROKER": "redis://127.0.0.1:1",
    "AUTH_DATABASE": "postgresql://127.0.0.1:1/x",
}
"""Settings of somebody's own application, exported in the shell that the demo is started from."""
CLAIMS = ("the job was running", "nothing was lost", "every effect exactly as asked", "none of them twice", "canceled")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("on", ["sqlite", pytest.param("postgres", marks=pytest.mark.servers("postgres"))])
def test_the_demo_holds(on: str) -> None:
    given = os.environ.get(servers.GIVEN)
    options = {"sqlite": [], "postgres": ["--postgres", *([given] if given else [])]}[on]
    said: list[str] = []
    typed: list[subprocess.CompletedProcess[str]] = []
    with subprocess.Popen(
        [sys.executable, "-m", "examples.accounts.demo", *options],
        env=os.environ | STRANGE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        late = threading.Timer(150, demo.kill)
        late.start()
        assert demo.stdout is not None
        for line in demo.stdout:
            said.append(line)
            command, retry, _ = line.partition(" jobs retry ")
            if retry:  # the demo goes on meanwhile: we may look, but not touch
                look = f"{command} jobs list --state failed --json"
                typed.append(subprocess.run(look, shell=True, capture_output=True, text=True, timeout=200, check=False))
        late.cancel()
    text = "".join(said)
    assert demo.returncode == 0, text
    assert "NOT SO" not in text
    assert "Traceback" not in text
    assert "\x1b" not in text  # nobody looks at a terminal here
    for claim in CLAIMS:
        assert claim in text
    assert ("PostgreSQL" if on == "postgres" else "one SQLite file") in said[1]

    first = re.findall(r"\d+", said[2].partition("worker process")[2])
    assert len(first) == (2 if on == "postgres" else 1)
    [killed] = re.findall(r"worker process (\d+) is gone", text)
    assert killed in first
    assert f"Worker process {killed} is at it" in text

    [seen] = typed
    assert seen.returncode == 0, seen.stderr
    assert [job["task"] for job in json.loads(seen.stdout)] == ["send_confirmation"]


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    command = [sys.executable, "-m", "examples.accounts.demo", "--postgres", "postgresql://u:geheim@127.0.0.1:1/x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("demo: no database can be made on the server: ")
    assert done.stderr.count("\n") == 1
    assert "geheim" not in done.stdout + done.stderr
