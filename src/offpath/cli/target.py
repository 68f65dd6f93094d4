"""Which application, on which database."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import importlib
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ..app import Offpath, places
from ..app.acting import acting
from ..core import redact
from ..errors import ConfigurationError


def application(options: argparse.Namespace) -> Offpath:
    """The user's Offpath object, on the database that was asked for. ConfigurationError when there is none."""
    if not options.app:
        raise ConfigurationError("say which application: --app module:attr, or OFFPATH_APP")
    jobs = _load(options.app, options.app_dir)
    if options.database:
        jobs.use_database(options.database)
    return jobs


def application_or_database(options: argparse.Namespace) -> Offpath:
    """The same, but a database alone will do: for commands that only look at rows."""
    if options.app:
        return application(options)
    if not options.database and not os.environ.get("OFFPATH_DATABASE"):
        raise ConfigurationError(
            "say which jobs: --app module:attr or --database URL (or OFFPATH_APP, OFFPATH_DATABASE)"
        )
    return Offpath(options.database)


@contextlib.contextmanager
def opened(options: argparse.Namespace) -> Iterator[Offpath]:
    """The same, open, on a database that is there and has tables of ours."""
    jobs = application_or_database(options)
    demand_file(jobs)
    try:
        _demand_tables(jobs)
        jobs.store.open()  # a database that cannot be used says so in one sentence, before anything else
        with acting(actor(), tenant=None):
            yield jobs
    finally:
        jobs.close()


def demand_file(jobs: Offpath) -> None:
    """ConfigurationError when there is no database: a mistyped path must not become a new, empty one."""
    if not places.exists(jobs.settings.url):
        url = redact.url(jobs.settings.url)
        raise ConfigurationError(f"there is no database at {url}: correct the URL, or run `offpath migrate`")


def _demand_tables(jobs: Offpath) -> None:
    """A store that is opened makes its tables where it finds none. Whoever looks, or has mistyped a name, does not want
    them: only `migrate` and workers make them."""
    if len(jobs.store.lacking()) < len(jobs.store.migrations()):
        return
    url, schema = redact.url(jobs.settings.url), jobs.settings.schema
    where, what = (url, "the URL") if url.startswith("sqlite") else (f"schema {schema} of {url}", "it (OFFPATH_SCHEMA)")
    raise ConfigurationError(f"there are no offpath tables in {where}: correct {what}, or run `offpath migrate`")


def actor(by: str = "cli") -> str:
    """Who types: `cli:USER@HOST`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # an account without a name, as in containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{by}:{user}@{socket.gethostname()}"[:255]


def plain(value: Any) -> dict[str, Any]:
    """A dataclass as plain data: times as ISO 8601 text in UTC."""
    data = asdict(value)
    return {k: v.isoformat().replace("+00:00", "Z") if isinstance(v, datetime) else v for k, v in data.items()}


def _load(name: str, folder: str) -> Offpath:
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(f"--app looks like module:attr, for instance shop.tasks:jobs, not {name!r}")
    path = os.path.abspath(folder)
    if not os.path.isdir(path):
        raise ConfigurationError(f"--app-dir {folder}: there is no such directory")
    if path not in sys.path:
        sys.path.insert(0, path)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise  # the module is there, something it imports is not: the traceback says what
        raise ConfigurationError(f"--app {name}: there is no module {error.name!r} in {path} or on the path") from None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Offpath):
        what = "is not there" if found is None else f"is a {type(found).__name__}, not an Offpath"
        raise ConfigurationError(f"--app {name}: {attribute} {what}")
    return found
