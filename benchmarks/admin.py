"""`python3 dev.py bench admin`: every page of the dashboard and of the admin API over a million live jobs, half as many
that have ended and a week of counts (`million.py`), on SQLite and on PostgreSQL.

Each page is asked for over HTTP, of a server process that has answered nothing before: "first" is its first answer, the
others are those that follow. Searches are one filter by itself: of what is common, of what is rare, and of what is
nowhere.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

from . import million
from .measure import Row, Sample
from .processes import cpu_of
from .server import server

WARM = 20  # looks at a page after the first
SEARCHES = (
    *("", "state=ready", "state=scheduled", "state=running", "state=waiting", "state=succeeded", "state=failed"),
    *("state=canceled", "queue=common", "queue=rare", "queue=none", "task=common", "task=rare", "task=none"),
    *("owner=common", "owner=rare", "owner=none", "key_prefix=common", "key_prefix=rare", "key_prefix=none"),
    *("older_than=3600", "older_than=600000", "older_than=10000000", "error=timeout", "error=none", "error=canceled"),
    *("outstanding=true", "limit=100"),
)
BULKS = (
    ("cancel", "queue=common"),
    ("cancel", "queue=none"),
    ("retry", "error=timeout"),
    ("retry", "error=none"),
    ("delete", "task=rare"),
)


class Page(NamedTuple):
    path: str
    body: str = ""


def pages() -> list[Page]:
    """All that can be looked at."""
    endpoint = million.furnished_endpoint()
    bulk = [("action=" + action, dict([which.split("=")])) for action, which in BULKS]
    boards = [
        *("", "?window=15m", "?window=24h", "?window=7d", "?window=7d&queue=queue-1", "?window=7d&task=task-1"),
        *("jobs", "jobs?state=running", "jobs?state=failed", "jobs?queue=common", "jobs?queue=none", "jobs?limit=100"),
        *(f"jobs/bulk?{action}&{urlencode(which)}" for action, which in bulk),
        *("jobs/{live}", "jobs/{ended}", "queues", "queues/one?name=common", "schedules", "schedules/one?name=daily-1"),
        *("workers", "webhooks", "webhooks?tenant=t1", f"webhooks/{endpoint}", "health", "audit"),
        *("audit?actor=actor-1", "audit?action=job.retry", "audit?target=target-1", "audit?actor=nobody"),
    ]
    rows = [
        *("", "/stats", "/stats?window=24h", "/stats?window=7d", "/stats?window=7d&queue=queue-1"),
        *("/stats?window=7d&task=task-1",),
        *(f"/jobs?{query}".rstrip("?") for query in SEARCHES),
        *("/jobs/{live}", "/jobs/{ended}", "/queues", "/queues/common", "/queues/common/backlog", "/limits"),
        *(
            "/schedules",
            "/schedules/daily-1",
            "/workers",
            "/endpoints",
            "/endpoints?tenant=t1",
            f"/endpoints/{endpoint}",
        ),
        *(
            f"/endpoints/{endpoint}",
            f"/endpoints/{endpoint}/attempts",
            "/alerts",
            "/doctor",
            "/audit",
            "/audit?actor=actor-1",
        ),
    ]
    previews = [
        Page("/admin/jobs:preview", json.dumps({"action": action.partition("=")[2], "filter": which}))
        for action, which in bulk
    ]
    return [*(Page(f"/dashboard/{one}") for one in boards), *(Page(f"/admin{one}") for one in rows), *previews]


def placed(page: Page, url: str) -> Page:
    """With the ids of this store in it."""
    live, ended = million.some_ids(url) if "{" in page.path else ("", "")
    return page._replace(path=page.path.replace("{live}", live).replace("{ended}", ended))


@contextlib.contextmanager
def serving(url: str) -> Iterator[tuple[http.client.HTTPConnection, int]]:
    """A new process that serves this store, and a connection to it; its id."""
    command = [sys.executable, "-m", "benchmarks.admin_app", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[1])
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.connect()
        try:
            yield connection, process.pid
        finally:
            connection.close()
            process.stdin.close()
            process.wait()


def asked(connection: http.client.HTTPConnection, page: Page) -> float:
    """ms until all of it is there."""
    began = time.perf_counter()
    headers = {"content-type": "application/json", "sec-fetch-site": "same-origin"}
    connection.request("POST" if page.body else "GET", page.path, page.body or None, headers)
    answer = connection.getresponse()
    text = answer.read()
    took = (time.perf_counter() - began) * 1000
    if answer.status != 200:
        raise SystemExit(f"{page} answered {answer.status}: {text[:500]!r}")
    return took


def measure(url: str, page: Page, warm: int = WARM) -> Sample:
    with serving(url) as (connection, pid):
        first, cpu = asked(connection, page), cpu_of(pid)
        took = sorted(asked(connection, page) for _ in range(warm))
        used = (cpu_of(pid) - cpu) / warm
        with open(f"/proc/{pid}/statm") as file:
            rss = int(file.read().split()[1]) * 4096 / (1 << 20)
    return Sample(took[warm // 2], used, rss, columns={"first ms": first, "p95 ms": took[int(warm * 0.95)]})


@contextlib.contextmanager
def stores(count: int) -> Iterator[dict[str, str]]:
    """Both of them, full, by name."""
    with (
        server() as postgres,
        tempfile.TemporaryDirectory(prefix="offpath-bench-") as folder,
        postgres.database() as url,
    ):
        there = {"SQLite": f"sqlite:///{folder}/jobs.db", "PostgreSQL": url}
        for one in there.values():
            million.made(one, count)
        yield there


def rows(count: int = million.COUNT, rounds: int = 1, only: str = "") -> Iterator[Row]:
    with stores(count) as there:
        yield from of(there, rounds, only)


def of(there: dict[str, str], rounds: int, only: str) -> Iterator[Row]:
    for page in pages():
        if only in str(page):
            row = Row(f"{page.path} {page.body}".strip(), "ms", 1, base="SQLite")
            for side, url in there.items():
                for _ in range(rounds):
                    row.add(side, measure(url, placed(page, url)))
            yield row
