"""`offpath dashboard`: alone, for this machine, or with a token."""

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from offpath import Offpath
from offpath.cli.target import actor
from offpath.dashboard import alone
from offpath.errors import ConfigurationError
from tests.dashboard.place import field

pytestmark = pytest.mark.anyio
TOKEN = "correct-horse-battery"
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "192.168.1.4", "::", "example.org", "localhost.example.org", "127.0.0.1.test"]
)
def test_a19_off_loopback_it_takes_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--token"):
        alone.check(host, None)
    alone.check(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_takes_none(host: str) -> None:
    alone.check(host, None)


@pytest.mark.parametrize("token", ["", "short", "with a space in it", "nicht-für-die-ohren"])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(ConfigurationError, match="16 or more"):
        alone.check("127.0.0.1", token)


def client(app: Any, peer: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(peer, 5000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8321/")


@pytest.mark.parametrize("writable", [False, True])
async def test_it_changes_things_only_when_it_may(tmp_path: Path, writable: bool) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path / 'jobs.db'}")

    @jobs.task(name="later")
    async def later() -> None: ...

    job = await later.using(delay=3600).enqueue()
    async with client(alone.application(jobs, writable=writable, actor="dashboard:ann@vm")) as http:
        page = (await http.get(f"jobs/{job.id}")).text
        assert ("/cancel" in page) is writable
        assert ("Show values" in page) is writable
        form = {"form": field(page) if writable else "x"}
        answer = await http.post(f"jobs/{job.id}/cancel", data=form, headers=OURS)
        assert answer.status_code == (303 if writable else 403)
    assert [one.state async for one in jobs.list()] == ["canceled" if writable else "scheduled"]
    acts = [(one.actor, one.action) async for one in jobs.audit()]
    assert acts == ([("dashboard:ann@vm", "job.cancel")] if writable else [])
    jobs.close()


async def test_with_a_token_everybody_has_to_show_it(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path / 'jobs.db'}")
    async with client(alone.application(jobs, token=TOKEN), "10.0.0.9") as http:
        assert (await http.get("jobs")).status_code == 303
        for wrong in ("dev-admin", TOKEN + "x", TOKEN[:-1]):
            answer = await http.get("jobs", headers={"Authorization": f"Bearer {wrong}"})
            assert answer.status_code == 303
        page = await http.get("sign-in")
        answer = await http.post("sign-in", data={"form": field(page.text), "credential": TOKEN}, headers=OURS)
        assert answer.status_code == 303
        assert (await http.get("jobs")).status_code == 200
    jobs.close()


@pytest.mark.parametrize("writable", [False, True])
async def test_the_command(tmp_path: Path, writable: bool) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    jobs = Offpath(url)
    await asyncio.to_thread(jobs.migrate)
    jobs.close()
    command = (sys.executable, "-m", "offpath", "--database", url, "dashboard", "--port", "0")
    flags = ["--writable"] if writable else []
    child = await asyncio.create_subprocess_exec(*command, *flags, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    line = (await asyncio.wait_for(child.stdout.readline(), 60)).decode()
    assert line.startswith("ready http://127.0.0.1:")
    async with httpx.AsyncClient(base_url=line.split()[1]) as http:
        answer = await http.get("/queues/one?name=mail")
        assert (answer.status_code, "read-only" in answer.text) == (200, not writable)
        form = {"form": field(answer.text) if writable else "x", "name": "mail"}
        answer = await http.post("/queues/pause", data=form, headers=OURS)
        assert answer.status_code == (303 if writable else 403)
        assert (await http.get("/jobs", headers={"Host": "evil.example"})).status_code == 403
    child.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 60) in (0, -signal.SIGTERM)
    jobs = Offpath(url)
    acts = [(one.action, one.target, one.actor) async for one in jobs.audit()]
    assert acts == ([("queue.pause", "mail", actor("dashboard"))] if writable else [])
    jobs.close()


async def test_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    command = (sys.executable, "-m", "offpath", "--database", url, "dashboard", "--host", "0.0.0.0")
    child = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 2
    assert b"--token" in said
    assert said.count(b"\n") == 1


async def test_its_answers_are_not_held_back() -> None:
    """An answer is two writes; with Nagle's algorithm the second waits 40 ms for the client's acknowledgement."""
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def met(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with alone.listen("127.0.0.1", 0) as listening:
        async with await asyncio.start_server(met, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            assert await asyncio.wait_for(found, 60)
            writer.close()
