"""Settings, checks, tables, the worker and Django's own connections in it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.django.project import TIMEOUT, Project

# ── where the jobs are ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_url_for_every_entry_of_databases(sqlite_project: Project) -> None:
    given: list[tuple[dict[str, Any], str]] = [
        ({}, "postgresql:///shop"),
        ({"HOST": "db.example.org"}, "postgresql://db.example.org/shop"),
        (
            {"USER": "a@b", "PASSWORD": "p:/?#%", "PORT": "5433"},
            "postgresql://a%40b:p%3A%2F%3F%23%25@localhost:5433/shop",
        ),
        ({"HOST": "::1", "PORT": 5432, "USER": "u"}, "postgresql://u@[::1]:5432/shop"),
        ({"HOST": "/run/postgresql", "PORT": 5433}, "postgresql:///shop?host=%2Frun%2Fpostgresql&port=5433"),
        ({"HOST": "a,b", "PORT": "1,2", "USER": "u"}, "postgresql://u@/shop?host=a%2Cb&port=1%2C2"),
        ({"OPTIONS": {"sslmode": "require", "pool": True}}, "postgresql:///shop?sslmode=require"),
        (
            {"OPTIONS": {"assume_role": "owner", "connect_timeout": 3}},
            "postgresql:///shop?role=owner&connect_timeout=3",
        ),
        ({"PASSWORD": "p"}, "postgresql:///shop?password=p"),
        ({"NAME": "shop#1/é"}, "postgresql:///shop%231%2F%C3%A9"),
    ]
    made = sqlite_project.run(
        f"""
        from offpath.integrations.django.conf import url_of
        connections.settings = dict(connections.settings)
        made = []
        for said in {[said for said, _ in given]!r}:
            connections.settings["x"] = {{"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}} | said
            connections.settings = connections.configure_settings(connections.settings)
            made.append(url_of(connections.create_connection("x")))
        say(made)
        """
    )
    assert made == [url for _, url in given]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DATABASES['default']['OPTIONS'] = {'service': 'x'}", "does not know what 'service'"),
        ("DATABASES['default']['NAME'] = ''", "wants a NAME"),
        ("DATABASES['default']['ENGINE'] = 'django.db.backends.mysql'", "mysql"),
        ("OFFPATH = {'DATABASE': 'nowhere'}", "not in settings.DATABASES"),
        ("OFFPATH = {'DATABASE': 'mysql://x/y'}", "must look like"),
        ("OFFPATH = {'DATABSE': 'default'}", "no 'DATABSE'"),
        ("OFFPATH = {'LEASE': 'long'}", "lease"),
        ("OFFPATH = {'QUEUES': ['mail']}", "QUEUES is a list of"),
        ("OFFPATH = ['DATABASE']", "must be a dict"),
    ],
)
def test_check_says_what_is_wrong(tmp_path: Path, change: str, said: str) -> None:
    project = Project(tmp_path, "postgresql://u@localhost/shop")
    project.settings(f"TASKS = {{}}\n{change}")
    (tmp_path / "shop" / "tasks.py").write_text("")
    assert said in project.manage("check", code=1)


def test_check_warns(tmp_path: Path) -> None:
    project = Project(tmp_path, str(tmp_path / "db.sqlite3"))
    assert "no issues" in project.manage("check")
    project.settings("DATABASES['default']['OPTIONS'] = {}")
    assert "transaction_mode" in project.manage("check")
    project.settings("DATABASES['default']['NAME'] = ':memory:'")
    assert "wants a file" in project.manage("check")
    project.settings("OFFPATH = {'DATABASE': 'sqlite:///jobs.db'}")
    assert "do not join" in project.manage("check")


def test_a_database_of_its_own_and_an_alias(sqlite_project: Project) -> None:
    sqlite_project.settings("OFFPATH = {'DATABASE': 'other'}")
    sqlite_project.manage("migrate", "--database", "other", "-v0")
    sqlite_project.run(
        """
        with transaction.atomic(using="other"):
            job = tasks.note.using(tx=connections["other"]).enqueue_sync(text="x")
        assert job.info_sync().state == "ready"
        assert jobs.settings.url.endswith("/other.sqlite3"), jobs.settings
        assert repr(jobs) == "<Offpath of Django's other>"
        """
    )
    sqlite_project.settings("OFFPATH = {'DATABASE': 'sqlite:///jobs.db', 'CONCURRENCY': 7}")
    sqlite_project.run(
        """
        job = tasks.note.enqueue_sync(text="x")
        assert job.info_sync().state == "ready"
        assert (jobs.settings.url, jobs.settings.concurrency) == ("sqlite:///jobs.db", 7)
        """
    )


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_migrate_brings_the_tables_and_makes_no_migration_of_its_own(empty: Project) -> None:
    assert "run `manage.py migrate`, or `manage.py offpath_migrate`" in empty.manage(
        "offpath_migrate", "--check", code=1
    )
    assert "Applied offpath.0001_initial" in empty.manage("migrate", "--run-syncdb")
    assert "offpath" not in empty.manage("migrate", "--run-syncdb").replace("offpath,", "")
    assert empty.manage("offpath_migrate", "--check") == "nothing to do\n"
    assert "No changes detected" in empty.manage("makemigrations", "offpath", "--check")
    empty.manage("flush", "--no-input")


def test_the_command_alone(empty: Project) -> None:
    assert "offpath_job (" in empty.manage("offpath_migrate", "--print")
    assert empty.manage("offpath_migrate").splitlines()[0] == "applied 0001_initial"


TESTS = """
import atexit

from django.db import connection
from django.test import TestCase, TransactionTestCase

from offpath.integrations.django import jobs
from offpath.testing import run_inline
from shop import tasks
from shop.models import Note


class InATransaction(TestCase):
    def test_enqueue(self):
        Note.objects.create(text="mine")
        with self.captureOnCommitCallbacks(execute=True) as calls:
            tasks.note.using(tx=connection).enqueue_sync(text="x")
        assert len(calls) == 1
        result = tasks.write.enqueue("y")
        assert tasks.write.get_result(result.id).status == "READY"

    def test_inline(self):
        with run_inline(jobs):
            job = tasks.note.using(tx=connection).enqueue_sync(text="x")
            assert Note.objects.get(pk=job.result_sync()).text == "x"


class WithCommits(TransactionTestCase):
    def test_enqueue(self):
        assert tasks.note.enqueue_sync(text="x").info_sync().state == "ready"
        assert "test_" in jobs.settings.url
        jobs.close()
"""


def test_jobs_follow_the_test_runners_database(project: Project) -> None:
    project.settings(
        """
        import os
        DATABASES["default"]["TEST"] = {"NAME": "test_" + os.path.basename(DATABASES["default"]["NAME"])}
        """
    )
    (project.folder / "shop" / "tests.py").write_text(TESTS)
    assert "Ran 3 tests" in project.manage("test", "shop")
    assert json.loads(outside(project, "jobs", "list", "--json")) == [], "nothing reached the project's own database"


def test_a_test_database_in_memory_is_left_alone(sqlite_project: Project) -> None:
    """Django's default for SQLite: no worker could ever see it."""
    sqlite_project.settings("DATABASES['default']['OPTIONS'] = {}")
    (sqlite_project.folder / "shop" / "tests.py").write_text(
        """
from django.db import connection
from django.test import TestCase

from offpath.errors import ConfigurationError
from offpath.integrations.django import jobs
from offpath.testing import run_inline
from shop import tasks


class InMemory(TestCase):
    def test_it_is_said(self):
        for tx in (None, connection):
            with self.assertRaisesMessage(ConfigurationError, "wants a file"):
                tasks.note.using(tx=tx).enqueue_sync(text="x")

    def test_inline(self):
        with run_inline(jobs):
            assert tasks.note.enqueue_sync(text="x").result_sync() == 1
"""
    )
    assert "Ran 2 tests" in sqlite_project.manage("test", "shop")
    assert json.loads(outside(sqlite_project, "jobs", "list", "--json")) == []


# ── the worker ───────────────────────────────────────────────────────────────────────────────────────────────────────


def outside(project: Project, *words: str) -> str:
    """The command `offpath`, without `manage.py`."""
    done = subprocess.run(
        [sys.executable, "-m", "offpath", "--app", "offpath.integrations.django.standalone:jobs", *words],
        cwd=project.folder, env=project.environment | {"DJANGO_SETTINGS_MODULE": "site_settings"},
        capture_output=True, text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_worker_runs_plain_and_async_tasks(project: Project) -> None:
    project.run("tasks.note.enqueue_sync(text='a'); tasks.anote.enqueue_sync(text='b')")
    project.work("--queues", "mail", "--concurrency", "3")
    assert project.run("say([n.text for n in Note.objects.all()])") == ["b"]
    outside(project, "worker", "--until-empty")
    assert project.run("say([n.text for n in Note.objects.order_by('pk')])") == ["b", "a"]
    assert {job["state"] for job in json.loads(outside(project, "jobs", "list", "--json"))} == {"succeeded"}


def test_a_task_in_a_process_finds_the_project_set_up(project: Project) -> None:
    project.run("tasks.note_from_a_process.enqueue_sync(text='c')")
    project.work()
    assert project.run("say([n.text for n in Note.objects.all()])") == ["c True"]


def test_several_processes_from_another_folder(project: Project) -> None:
    project.run("for n in range(20): tasks.note.enqueue_sync(text=str(n))")
    project.manage("offpath_worker", "--until-empty", "--processes", "2", cwd=Path("/"))
    assert project.run("say(Note.objects.count())") == 20


def test_what_the_worker_is_asked_wrongly(sqlite_project: Project) -> None:
    assert "must be 1 to 1000" in sqlite_project.manage("offpath_worker", "--processes", "0", code=2)
    sqlite_project.settings("OFFPATH = {'LEASE': 0}")
    assert "offpath.E001" in sqlite_project.manage("offpath_worker", "--until-empty", code=1)


def test_a_connection_is_kept_mended_and_closed(postgres_project: Project) -> None:
    """CONN_MAX_AGE is None here: a thread keeps its connection from one attempt to the next, unless it has broken."""
    with postgres_project.worker("--concurrency", "1"):
        postgres_project.run(
            """
            def now(task):
                return task.enqueue_sync().result_sync(timeout=60)
            first = now(tasks.pid)
            assert now(tasks.pid) == first
            try:
                now(tasks.lose_the_server)
                raise AssertionError
            except Exception as e:
                assert "terminat" in str(e), e
            second = now(tasks.pid)
            assert second != first
            one, two = now(tasks.apid), now(tasks.apid)
            assert len({first, second, one, two}) == 4
            with connection.cursor() as cursor:
                cursor.execute("select pid from pg_stat_activity where pid = any(%s)", [[first, second, one, two]])
                assert cursor.fetchall() == [(second,)], "an async attempt leaves no connection behind"
            """
        )


def test_calling_a_task_here_leaves_connections_alone(postgres_project: Project) -> None:
    postgres_project.settings("DATABASES['default']['CONN_MAX_AGE'] = 0")
    postgres_project.run("assert tasks.pid() == tasks.pid()")


def test_importing_asks_for_nothing() -> None:
    """Neither for settings nor for a registry of applications."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    code = "import offpath.integrations.django as d; print(d.__all__)"
    subprocess.run([sys.executable, "-c", code], env=own, check=True, timeout=TIMEOUT, capture_output=True)
