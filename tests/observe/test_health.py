"""/livez and /readyz, of web processes and of workers: real servers, real workers."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from offpath import Offpath, metrics
from offpath.cli import main
from offpath.errors import ConfigurationError
from offpath.integrations.fastapi import Operations
from offpath.metrics import health
from offpath.metrics.server import serving
from offpath.observe.pulse import Pulse
from servers.server import free_port

WELL = Pulse("w", {"async": 1}, {"async": 10}, 0, 1.0, 15.0, "", 0.001, True, False)


@pytest.mark.parametrize(
    ("pulse", "alive", "ready"),
    [
        (WELL, "", ""),
        (WELL._replace(lag=31.0), "has not turned for 31 s", ""),
        (WELL._replace(age=31.0, ready=False), "has not been renewed for 31 s", "has not been renewed for 31 s"),
        (WELL._replace(age=31.0, ready=False, trouble="it is away"), "", "has not been renewed for 31 s"),
        (WELL._replace(age=float("inf"), ready=False), "", "has not registered yet"),
        (WELL._replace(draining=True, ready=False), "", "draining"),
        (WELL._replace(draining=True, age=99.0), "", "draining"),
    ],
)
def test_alive_is_what_a_restart_would_mend_and_ready_what_may_have_work(pulse: Pulse, alive: str, ready: str) -> None:
    for said, wanted in ((health.alive([WELL, pulse]), alive), (health.ready([pulse], ""), ready)):
        assert said.status == (503 if wanted else 200)
        assert wanted in said.why
    assert health.ready([pulse], "it is away").why == "it is away"
    assert health.ready([], "").status == 200
    assert health.ready([], "", worker=True).status == 503


def get(url: str, **headers: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


async def test_a_web_process_says_it_below_where_it_is_mounted(lite: Offpath, tmp_path: Path) -> None:
    app = FastAPI()
    app.mount("/health", Operations(lite, public=True).health)
    nowhere = FastAPI()
    nowhere.mount("/health", Operations(Offpath("postgresql://u:secret@127.0.0.1:1/x"), public=True).health)
    newer = Offpath(f"sqlite:///{tmp_path}/other.db")
    newer.migrate()
    newer.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("insert into offpath_migration values ('9999_later', 0)")
        other.commit()
    bare = FastAPI()
    bare.mount("/health", Operations(Offpath(f"sqlite:///{tmp_path}/other.db"), public=True).health)
    for inside, path, status, said in (
        (app, "livez", 200, '{"status":"pass"}'),
        (app, "readyz", 200, '{"status":"pass"}'),
        (nowhere, "livez", 200, '{"status":"pass"}'),
        (nowhere, "readyz", 503, "the database "),
        (bare, "readyz", 503, "offpath migrate"),
        (app, "other", 404, "livez and readyz"),
    ):
        transport = httpx.ASGITransport(inside, client=("203.0.113.9", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://t.test") as client:
            answer = await client.get(f"/health/{path}")
            assert answer.status_code == status, (path, answer.text)
            assert said in answer.text
            assert "secret" not in answer.text
            assert len(answer.content) < 300
            kind = "application/health+json" if status == 200 else "application/problem+json"
            assert answer.headers["content-type"] == kind
            assert (await client.post(f"/health/{path}")).status_code in (404, 405)


async def test_a_worker_says_it_from_threads_of_its_own(lite: Offpath) -> None:
    release = asyncio.Event()

    @lite.task
    async def waits() -> None:
        await release.wait()

    @lite.task
    async def blocks() -> float:
        began = time.monotonic()
        assert get(f"http://127.0.0.1:{port}/livez")[0] == 200, "asked from the blocked loop itself"
        return time.monotonic() - began

    with serving(lite, 0) as port:
        assert get(f"http://127.0.0.1:{port}/livez")[0] == 200
        status, kind, body = get(f"http://127.0.0.1:{port}/readyz")
        assert (status, kind) == (503, "application/problem+json")
        assert "no worker has started" in body
        async with lite, lite.worker() as worker:
            await asyncio.wait_for(worker.ready.wait(), 60)
            assert (await asyncio.to_thread(get, f"http://127.0.0.1:{port}/readyz"))[0] == 200
            await (await blocks.enqueue()).result(60)
            job = await waits.enqueue()
            async with asyncio.timeout(60):
                while 'offpath_worker_running{lane="async"} 1' not in await page(port):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            worker.stop()
            async with asyncio.timeout(60):
                while True:
                    said = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/readyz")
                    if "draining" in said[2]:
                        break
            assert (await asyncio.to_thread(get, f"http://127.0.0.1:{port}/livez"))[0] == 200
            release.set()
            await job.result(60)
        assert get(f"http://127.0.0.1:{port}/other")[0] == 404
        with pytest.raises(ConfigurationError, match="nothing can listen"), serving(lite, port):
            pass
    with pytest.raises(ConfigurationError, match="--bind is an address"), serving(lite, 0, "example.org"):
        pass


async def page(port: int) -> str:
    return (await asyncio.to_thread(get, f"http://127.0.0.1:{port}/metrics"))[2]


def test_a_token_is_asked_for_the_page_and_not_for_the_probes(lite: Offpath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPATH_METRICS_TOKEN", "a long secret")
    with serving(lite, 0) as port:
        url = f"http://127.0.0.1:{port}"
        assert get(url + "/metrics")[0] == 403
        assert get(url + "/metrics", Authorization="Bearer a long secret")[0] == 200
        assert get(url + "/livez")[0] == 200


# -- real processes ----------------------------------------------------------------------------------------------------

SHOP = """
import logging
from offpath import Offpath
jobs = Offpath("sqlite:///shop.db", poll=0.1)
log = logging.getLogger("shop")

@jobs.task
def work(n: int) -> int:
    log.info("working on %d", n)
    return n
"""


@contextmanager
def worker(folder: Path, *flags: str) -> Iterator[Popen[str]]:
    (folder / "shop.py").write_text(SHOP)
    command = [sys.executable, "-m", "offpath", "--app", "shop:jobs"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("OFFPATH_")}
    Popen([*command, "migrate"], cwd=folder, env=env, stdout=PIPE).communicate(timeout=100)
    with Popen([*command, "worker", *flags], cwd=folder, env=env, stderr=PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=100)


def until(url: str, wanted: int, process: Popen[str]) -> str:
    end = time.monotonic() + 100
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        try:
            status, _, body = get(url)
        except OSError:
            time.sleep(0.05)  # it does not listen yet: nobody tells
            continue
        if status == wanted:
            return body
    raise AssertionError(f"{url} never answered {wanted}")


def test_the_command_serves_its_pages_and_writes_json(tmp_path: Path) -> None:
    with worker(tmp_path, "--port", "0", "--log-format", "json") as process:
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []
        port = ""
        while not port:
            lines.append(json.loads(process.stderr.readline()))
            if lines[-1].get("signal") == "app.pages":
                port = lines[-1]["fields"]["url"].rpartition(":")[2]
        until(f"http://127.0.0.1:{port}/readyz", 200, process)
        script = "import shop; print(shop.work.enqueue_sync(n=7).id)"
        done, _ = Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=PIPE, text=True).communicate(timeout=100)
        while lines[-1]["logger"] != "shop":
            lines.append(json.loads(process.stderr.readline()))
        assert lines[-1]["message"] == "working on 7"
        assert (lines[-1]["job"], lines[-1]["task"], lines[-1]["attempt"]) == (done.strip(), "work", 1)
        families = text_string_to_metric_families(get(f"http://127.0.0.1:{port}/metrics")[2])
        assert {"offpath_worker_ready", "offpath_store_up"} <= {family.name for family in families}


def two_ports() -> int:
    """The first of two next to each other, which the system gives to no connection either."""
    for _ in range(50):
        port = free_port()
        with socket.socket() as next_one, contextlib.suppress(OSError):
            next_one.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no two free ports")


def test_with_processes_each_has_the_next_port(tmp_path: Path) -> None:
    port = two_ports()
    with worker(tmp_path, "--processes", "2", "--port", str(port)) as process:
        bodies = [until(f"http://127.0.0.1:{one}/readyz", 200, process) for one in (port, port + 1)]
        assert bodies == ['{"status":"pass"}'] * 2
        pages = [get(f"http://127.0.0.1:{one}/metrics")[2] for one in (port, port + 1)]
        assert all(re.search(r"^offpath_worker_ready 1\.0$", one, re.M) for one in pages)


def test_the_command_prints_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    for what, made in (("grafana", metrics.grafana()), ("rules", metrics.rules())):
        assert main(["metrics", what]) == 0
        assert capsys.readouterr().out == made
