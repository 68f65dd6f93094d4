"""How both stores answer the admin's lists: by an index, and no further than they are told."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from offpath import Offpath
from offpath.core.selection import JobFilter, select
from offpath.ports import Statement
from offpath.stores.statements import positional, pyformat

pytestmark = pytest.mark.anyio

WHICH: list[dict[str, Any]] = [
    {},
    {"state": "ready"},
    {"state": "failed"},
    {"queue": "a"},
    {"task": "a"},
    {"owner": "a"},
    {"key_prefix": "a"},
    {"older_than": 10},
    {"error": "timeout"},
    {"outstanding": True},
]


def statements(jobs: Offpath, where: JobFilter) -> list[Statement]:
    """Those of one look, as they are sent."""
    sent: list[Statement] = []
    for verb in (jobs.store.verbs.walk(where, None, 20, 100), jobs.store.verbs.count_walk(where, None, 100)):
        answer: Any = None
        try:
            while True:
                step = verb.send(answer)
                assert isinstance(step, Statement)
                sent.append(step)
                answer = step.read([])
                if "offset" in step.sql:
                    answer = "01a21f92-a71e-703b-bfb1-7c4fd924b052"
                elif "count(*)" in step.sql:
                    answer = 0
        except StopIteration:
            pass
    return sent


@pytest.mark.parametrize("which", WHICH, ids=str)
def test_sqlite_seeks_by_an_index_in_order(tmp_path: Path, which: dict[str, Any]) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/jobs.db")
    jobs.migrate()
    with sqlite3.connect(tmp_path / "jobs.db") as db:
        for one in statements(jobs, select(which, jobs.store.now())):
            sql, names = positional(one.sql)
            plan = [row[3] for row in db.execute(f"explain query plan {sql}", [one.params[name] for name in names])]
            assert plan[0].startswith("SEARCH offpath_"), plan
            assert "id<?" in plan[0], plan
            assert not any("TEMP B-TREE" in line for line in plan), plan
    jobs.close()


@pytest.mark.parametrize("which", WHICH, ids=str)
def test_postgres_walks_an_index_in_order(postgres_url: str, which: dict[str, Any]) -> None:
    jobs = Offpath(postgres_url)
    jobs.migrate()
    with psycopg.connect(postgres_url) as db:
        db.execute("set enable_seqscan = off")  # of an empty table anything is as good
        db.execute("set enable_bitmapscan = off")
        db.execute("set enable_sort = off")
        for one in statements(jobs, select(which, jobs.store.now())):
            found = db.execute("explain " + pyformat(one.sql), one.params).fetchall()
            plan = "\n".join(line for (line,) in found)
            assert "Seq Scan" not in plan, plan
            assert "Sort  (" not in plan, plan
            assert "Index Cond: (" in plan or "count(*)" in one.sql, plan
    jobs.close()


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_a_page_costs_the_same_of_ten_times_as_many_jobs(tmp_path: Path) -> None:
    """What is nowhere is looked for no longer in a large store than in a small one."""
    from benchmarks.million import fill

    took: dict[int, float] = {}
    for count in (100_000, 1_000_000):
        url = f"sqlite:///{tmp_path}/{count}.db"
        jobs = Offpath(url)
        jobs.migrate()
        fill(url, count, count // 2)
        jobs.store.open()
        store, where = jobs.store, JobFilter(queue="nowhere")
        times = []
        for _ in range(20):
            began = time.monotonic()
            found, floor = await store.read(store.verbs.walk(where, None, 20, 5_000))
            times.append(time.monotonic() - began)
            assert (found, floor is None) == ([], False)
        took[count] = sorted(times)[len(times) // 2]
        jobs.close()
    assert took[1_000_000] < 5 * took[100_000]
