"""serve and worker as processes: how they start, how they stop, and that nothing is left behind."""

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import quote, urlsplit

import psutil
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from examples.accounts.processes import FLAG, Child
from examples.accounts.receivers import Letter, Received

from . import forked
from .conftest import running


def worker_of(server: Child) -> psutil.Process:
    [worker] = psutil.Process(server.pid).children()
    assert "examples.accounts.worker" in " ".join(worker.cmdline())
    return worker


def confirmations(received: Received) -> set[str]:
    """The jobs whose confirmation of an order was refused: an e-mail's Message-ID is made from its job's id."""
    letters = [letter for letter in received.refused if isinstance(letter, Letter)]
    return {letter.id.strip("<>").partition("@")[0] for letter in letters if letter.subject.startswith("Your order")}


async def gone(process: psutil.Process) -> None:
    await asyncio.to_thread(process.wait, 100)


async def test_serve_starts_and_stops_with_its_worker(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        worker = worker_of(world.server)
        assert any("curl" in line for line in world.server.lines) or await world.server.line("Try it")
        world.server.process.send_signal(signal.SIGINT)
        assert await world.server.process.wait() == 0
        assert not worker.is_running()
    assert (tmp_path / "accounts.db").exists()


async def test_a_second_signal_does_not_wait_for_a_long_report(tmp_path: Path) -> None:
    async with running(tmp_path, OFFPATH_DRAIN="240") as world:
        answer = await world.call("POST", "/api/reports", {"title": "Long", "rows": 10_000, "delay_ms": 100})
        await world.follow(answer.headers["location"], until="operation.progress")
        open_now = asyncio.Event()
        streaming = asyncio.create_task(world.follow(answer.headers["location"], heard=open_now))
        await open_now.wait()
        start = time.monotonic()
        world.server.ask()
        await world.server.line("stopping")
        await streaming  # open event streams end when the server stops
        await world.server.line("worker.draining")
        world.server.ask()
        assert await world.server.process.wait() == 0
        assert time.monotonic() - start < 120  # the worker would have waited four minutes for the report


async def test_no_worker_means_none_and_another_process_can_be_it(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, "--no-worker", database=database) as world:
        assert psutil.Process(world.server.pid).children() == []
        answer = await world.call("POST", "/api/reports", {"title": "Later", "rows": 3})
        operation = await world.call("GET", answer.headers["location"])
        assert operation.json()["status"] == "queued"
        worker = await forked.start(
            "examples.accounts.worker", "--database", world.database, "--until-empty", env=world.environment
        )
        assert await worker.process.wait() == 0
        done = (await world.call("GET", answer.headers["location"])).json()
        assert done["status"] == "succeeded"
        assert (await world.call("GET", done["result"]["url"])).status_code == 200


@pytest.mark.parametrize("program", ["serve", "worker"])
def test_a_database_without_a_name_is_refused(program: str, tmp_path: Path) -> None:
    """Not taken for "the default one"."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", f"examples.accounts.{program}", "--database", ""]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 2
    assert "--database must name one" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_the_worker_does_not_survive_its_parent(tmp_path: Path) -> None:
    environment = {"ACCOUNTS_DATABASE": f"sqlite:///{tmp_path / 'accounts.db'}"}
    server = await Child.start("examples.accounts.serve", "--port", "0", env=environment)
    await server.line("ready ")
    worker = worker_of(server)
    await server.kill()
    await gone(worker)


async def test_serve_itself_ends_with_its_parent(tmp_path: Path) -> None:
    environment = {"ACCOUNTS_DATABASE": f"sqlite:///{tmp_path / 'accounts.db'}"}
    server = await Child.start("examples.accounts.serve", "--port", "0", FLAG, env=environment)
    await server.line("ready ")
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert await server.process.wait() == 0


async def test_a_restart_keeps_what_there_was(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, "--no-worker", database=database) as world:
        await world.call("PATCH", "/api/user/update", {"username": "kept"})
        location = (await world.call("POST", "/api/reports", {"title": "Kept", "rows": 1})).headers["location"]
        path = location.removeprefix(world.base_url)
    async with running(tmp_path, database=database) as world:
        assert (await world.call("GET", "/users/1")).json()["username"] == "kept"
        assert (await world.follow(path))[-1][0] == "operation.succeeded"
        await world.received.until(lambda r: len(r.letters) == 1 and len(r.calls) == 1)


def test_several_may_set_up_one_empty_database_at_once(tmp_path: Path, database: str) -> None:
    """One makes the tables and the data, the others find them."""
    script = (
        "import asyncio\n"
        "from examples.accounts.seed import create_database, create_tables, development_data\n"
        "async def main():\n"
        "    for step in (create_database, create_tables, development_data):\n"
        "        await asyncio.gather(*(step() for _ in range(8)))\n"
        "asyncio.run(main())\n"
    )
    env = {**os.environ, "ACCOUNTS_DATABASE": database}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")


async def test_serve_makes_the_database_that_a_url_names(tmp_path: Path, postgres_url: str) -> None:
    name = f'it\'s a "new" one {uuid.uuid4().hex[:8]}'
    url = urlsplit(postgres_url)._replace(path=f"/{quote(name, safe='')}").geturl()
    try:
        async with running(tmp_path, "--no-worker", database=url) as world:
            answer = await world.call("POST", "/api/users", {"username": "dora", "email": "dora@example.org"})
            assert answer.json()["id"] > 4
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))


async def test_lost_connections_are_told_as_503_and_made_anew(tmp_path: Path, postgres_url: str) -> None:
    async with running(tmp_path, database=postgres_url) as world:
        assert (await world.call("PATCH", "/api/user/update", {"username": "one"})).status_code == 200
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        for n in range(20):
            answer = await world.call("PATCH", "/api/user/update", {"username": f"two {n}"})
            if answer.status_code == 200:
                break
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status_code == 200
        await world.received.until(lambda r: len(r.letters) == 2 and len(r.calls) == 2)
        assert world.received.duplicates == 0


async def test_an_unreachable_mail_server_delays_an_email_and_loses_none(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        world.received.refusing_mail = True
        await world.call("PATCH", "/api/user/update", {"username": "patient"})
        await world.received.until(lambda r: len(r.refused) >= 1)
        failed = await world.call(
            "PUT", "/users/2", {"username": "b", "email": "b@acme.example", "phoneNumber": None}, user="bob"
        )
        assert failed.status_code == 500
        assert failed.json()["detail"] == "Failed to update user"
        assert (await world.call("GET", "/users/2", user="bob")).json()["username"] == "b"
        await world.call("POST", "/api/orders", {"items": [{"product": "lamp", "quantity": 1}]}, user="carol")
        await world.received.until(lambda r: bool(confirmations(r)))
        world.received.refusing_mail = False  # at once: it is tried three times only
        [job] = confirmations(world.received)
        await world.server.line(f"order confirmation {job}: attempt 1 of 3 failed")
        await world.received.until(lambda r: len(r.letters) == 2)
        assert {letter.id for letter in world.received.letters} <= {letter.id for letter in world.received.refused}
        await world.received.until(lambda r: len(r.calls) == 1)
        assert world.received.duplicates == 0


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", *command], env=env, capture_output=True, text=True, timeout=200, check=False
    )


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        database = f"sqlite:///{tmp_path / 'a.db'}"
        done = run("examples.accounts.serve", "--port", port, "--database", database)
    assert done.returncode == 1
    assert done.stderr.startswith(f"serve: cannot listen on port {port}")
    assert "Traceback" not in done.stderr


BAD_URLS = [
    ("nonsense", "nonsense is no database we know"),
    ("mysql://u:geheim@localhost/x", "mysql://u:…@localhost/x is no database we know"),
    ("postgresql://u:geheim@localhost", "postgresql://u:…@localhost names no database"),
    ("postgresql://u:geheim@localhost:port/x", "port"),
    ("postgresql://u:geheim@127.0.0.1:1/x", "127.0.0.1"),
    ("postgresql:///x?keepalives=1&host=/nowhere", "No such file"),
]


FORKED = """
import gc, json, os, runpy, sys, tempfile
import asyncpg, offpath.client, offpath.integrations.fastapi, offpath.stores.postgres.store, offpath.webhooks.sender
import examples.accounts.docs_ui, examples.accounts.webserver, examples.databases  # nothing that asks for the settings

gc.freeze()  # nor need each of them clear away what it has inherited
module, *cases = sys.argv[1:]
answers = []
for case in cases:
    sys.argv = [module, *json.loads(case)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if not (child := os.fork()):
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            os._exit(0)  # it came back, and sys.exit did not see to the code
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0), err.seek(0)
        answers.append([code, out.read().decode(), err.read().decode()])
print(json.dumps(answers))
"""
"""`python -m MODULE` with several lists of arguments, each in a process of its own, of which each starts with what all
import."""


@pytest.mark.parametrize("program", ["serve", "worker"])
def test_a_bad_database_url_is_one_sentence(program: str) -> None:
    more = ["--port", "0"] if program == "serve" else []
    cases = [json.dumps(["--database", url, *more]) for url, _ in BAD_URLS]
    command = [sys.executable, "-c", FORKED, f"examples.accounts.{program}", *cases]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    for (url, said), (code, out, err) in zip(BAD_URLS, json.loads(done.stdout), strict=True):
        assert code > 0, url
        assert said in err, url
        assert "geheim" not in out + err
        assert "Traceback" not in err


async def test_the_command_line_for_one_more_worker_can_be_pasted(tmp_path: Path, postgres_url: str) -> None:
    """A password is in it only where it was typed; elsewhere the shell finds it where serve did."""
    world_of = {"ACCOUNTS_DATABASE": postgres_url, "ACCOUNTS_DATA_DIR": str(tmp_path)}
    for options, shown in (((), '"$ACCOUNTS_DATABASE"'), (("--database", postgres_url), postgres_url)):
        server = await Child.start("examples.accounts.serve", "--port", "0", "--no-worker", *options, env=world_of)
        try:
            line = await server.line("One more worker:")
        finally:
            assert await server.stop() == 0
        command = line.partition("python3 dev.py worker ")[2]
        assert command.split(" ", 1)[1] == shown
        shell = f"{shlex.quote(sys.executable)} -m examples.accounts.worker {command} --until-empty"
        environment = {**os.environ, **world_of}
        done = subprocess.run(shell, shell=True, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr


async def test_development_identities_are_off_by_default() -> None:
    """Only serve, the demo and the tests switch them on; the application as such knows nobody."""
    script = (
        "from fastapi import HTTPException\n"
        "from fastapi.security import HTTPAuthorizationCredentials as Sent\n"
        "from examples.accounts.auth import current_user\n"
        "try: current_user(Sent(scheme='Bearer', credentials='dev-admin'))\n"
        "except HTTPException as error: print(error.status_code)\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("ACCOUNTS_")}
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=env, stdout=asyncio.subprocess.PIPE)
    out, _ = await done.communicate()
    assert out.decode().strip() == "401"
