"""A small Django project in a folder of its own, and child processes that run in it: Django is set up once per process,
so never in the one that runs the tests."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.nursery import Ended, Nursery, nursery

TIMEOUT = 150
IMPORTED = (
    "django.core.management", "django.db.models", "django.db.backends.sqlite3.base",
    "django.db.backends.postgresql.base", "django_tasks", "offpath.integrations.django", "offpath.stores.sqlite",
    "offpath.stores.postgres.store", "offpath.engine.worker", "offpath.cli", "offpath.codec.typed",
    "offpath.transports.local", "offpath.transports.notify", "offpath.integrations.django.backend",
    "django.views.debug", "django.template.defaulttags", "django.template.loader_tags", "pydantic.json_schema",
)  # fmt: skip
"""By every child before it begins; that sets nothing up."""

MANAGE = """
import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
execute_from_command_line(sys.argv)
"""

SETTINGS = """
from pathlib import Path

from offpath import Backoff, Queue, Retry

BASE_DIR = Path(__file__).parent
SECRET_KEY = "x"
USE_TZ = True
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django_tasks", "shop", "offpath.integrations.django"]
DATABASES = {databases}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
OFFPATH = {{"QUEUES": [Queue("mail", weight=2)]}}
TASKS = {{
    "default": {{
        "BACKEND": "offpath.integrations.django.OffpathBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {{"retry": Retry(max_attempts=2, backoff=Backoff.fixed(0.0))}},
    }},
}}
"""

MODELS = """
from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=100)
"""

TASKS = """
import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from django.db import Error, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django_tasks import task

from offpath import Context, Retry, provided
from offpath.integrations.django import jobs
from shop.models import Note


@jobs.task
def note(text: str) -> int:
    return Note.objects.create(text=text).pk


@jobs.task(queue="mail")
async def anote(text: str) -> int:
    return (await Note.objects.acreate(text=text)).pk


@jobs.provider(lifetime="attempt")
def database() -> Iterator[BaseDatabaseWrapper]:
    yield connections["default"]


@jobs.task(retry=Retry(max_attempts=1))
def once(ctx: Context, text: str, then: str = "", db: BaseDatabaseWrapper = provided(transaction=True)) -> str:
    made = Note.objects.create(text=text)
    Note.objects.filter(pk=made.pk).update(text=f"{text} by {ctx.fence}")
    if then == "fail":
        raise LookupError
    if then == "break":
        try:
            db.cursor().execute("select nonsense")
        except Error:
            pass
    if then == "doom":
        transaction.set_rollback(True)
    if then == "close":
        db.close()
    if then == "lose":  # somebody else has it by now, as after a stall
        settle_elsewhere(ctx.job)
    return text


def settle_elsewhere(job: str) -> None:
    def steal() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("update offpath_job set fence = fence + 1 where id = %s", [job])
        connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(steal).result()


@jobs.task(executor="process")
def note_from_a_process(text: str) -> None:
    from offpath.engine import children

    Note.objects.create(text=f"{text} {children.in_child}")


@jobs.task
def pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]


@jobs.task
async def apid() -> int:
    from asgiref.sync import sync_to_async

    return await sync_to_async(pid)()


@jobs.task(retry=Retry(max_attempts=1))
def lose_the_server() -> None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pg_backend_pid())")


@task
def write(text, *, times=1):
    for _ in range(times):
        Note.objects.create(text=text)
    return {"written": times}


@task(takes_context=True, queue_name="mail", priority=10)
async def awrite(context, text):
    await Note.objects.acreate(text=f"{text} {context.attempt} {context.task_result.id}")
    return [text, context.attempt]


@task(takes_context=True)
def fail(context, times):
    if context.attempt <= times:
        raise LookupError(f"attempt {context.attempt}")
    return context.attempt


@task
def unstorable():
    Note.objects.create(text="ran")
    return object()
"""


def databases(address: str) -> str:
    """`settings.DATABASES` for a URL or a SQLite file, as source."""
    if not address.startswith("postgres"):
        options = {"transaction_mode": "IMMEDIATE"}
        entry: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": address, "OPTIONS": options}
    else:
        url = urlsplit(address)
        entry = {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username}
        entry |= {"PASSWORD": url.password, "HOST": url.hostname, "PORT": url.port, "CONN_MAX_AGE": None}
    return repr({"default": entry, "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": "other.sqlite3"}})


def born() -> Nursery:
    return nursery(*IMPORTED, warnings="error")


class Project:
    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        (folder / "shop").mkdir()
        for name, text in {
            "manage.py": MANAGE,
            "site_settings.py": SETTINGS.format(databases=databases(address)),
            "shop/__init__.py": "",
            "shop/urls.py": "urlpatterns = []",
            "shop/models.py": MODELS,
            "shop/tasks.py": TASKS,
        }.items():
            (folder / name).write_text(text)

    def settings(self, more: str) -> None:
        """Add lines to the settings."""
        path = self.folder / "site_settings.py"
        path.write_text(f"{path.read_text()}\n{textwrap.dedent(more)}")

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OFFPATH_", "DJANGO_"))}
        return own | {"PYTHONWARNINGS": "error"}

    def manage(self, *words: str, code: int = 0, cwd: Path | None = None) -> str:
        """What `manage.py` printed, both streams; it must end with `code`."""
        command, folder = [str(self.folder / "manage.py"), *words], cwd or self.folder
        done: Ended | subprocess.CompletedProcess[str]
        if "--processes" in words:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=folder, env=self.environment, capture_output=True, text=True, check=False, timeout=TIMEOUT,
            )  # fmt: skip
        else:
            done = born().run(command, folder, self.environment, TIMEOUT)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def migrate(self) -> None:
        self.manage("migrate", "--run-syncdb", "-v0")

    def run(self, code: str, setup: bool = True) -> Any:
        """Run Python with Django set up; what it gives to `say` (JSON), or None. Its asserts are this test's."""
        head = "import json\ndef say(value): print('said', json.dumps(value))\n"
        if setup:
            head += "import django; django.setup()\n"
            head += "from django.db import connection, connections, transaction\n"
            head += (
                "from shop.models import Note\nfrom shop import tasks\nfrom offpath.integrations.django import jobs\n"
            )
            head += "from offpath.errors import ConfigurationError, StoreError\n"
        environment = self.environment | {"DJANGO_SETTINGS_MODULE": "site_settings"}
        words = ["-c", head + textwrap.dedent(code)]
        done: Ended | subprocess.CompletedProcess[str]
        if setup:
            done = born().run(words, self.folder, environment, TIMEOUT)
        else:  # it is about what is imported, and when
            done = subprocess.run(
                [sys.executable, *words],
                cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT,
            )  # fmt: skip
        assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
        said = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("said ")]
        return said[-1] if said else None

    def work(self, *words: str) -> str:
        """A worker until nothing is left."""
        return self.manage("offpath_worker", "--until-empty", *words)

    @contextmanager
    def worker(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A worker that is told to stop at the end, and must then end in order."""
        with subprocess.Popen(
            [sys.executable, "manage.py", "offpath_worker", *words],
            cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
                process.send_signal(signal.SIGTERM)
                _, said = process.communicate(timeout=TIMEOUT)
                assert process.returncode == 0, said
            finally:
                process.kill()
