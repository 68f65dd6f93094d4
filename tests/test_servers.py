"""The tests' own PostgreSQL: shared by the processes of a run, gone with the last of them, an empty database for each
borrower."""

import os
import secrets
import subprocess
import sys

import psycopg
import pytest

from tests import servers

pytestmark = pytest.mark.servers("postgres")
USER = "import sys; from tests import servers; print(servers.postgres().url, flush=True); sys.stdin.read()"


def user(run: str) -> subprocess.Popen[str]:
    """A process that uses the run's server until it is told to end."""
    env = {name: value for name, value in os.environ.items() if name != servers.GIVEN}
    return subprocess.Popen(
        [sys.executable, "-c", USER],
        env=env | {"PYTEST_XDIST_TESTRUNUID": run},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_share_one_server_and_it_goes_with_the_last_however_it_ends() -> None:
    if os.environ.get(servers.GIVEN):
        pytest.skip("this run's server is somebody else's")
    run = secrets.token_hex(8)
    with user(run) as first, user(run) as second:
        address = url(first)
        assert address == url(second) != ""
        with psycopg.connect(address, autocommit=True) as connection:
            first.communicate("")
            assert first.returncode == 0
            assert connection.execute("select 1").fetchone() == (1,)
            second.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select pg_sleep(200)")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(address)


def test_a_database_is_empty_and_belongs_to_an_ordinary_role() -> None:
    server = servers.postgres()
    assert isinstance(server, servers.Server)
    with server.database() as first, server.database() as second:
        assert first != second
        with psycopg.connect(first) as connection:
            connection.execute("create table a (id int); create schema b; create table b.c (id int)")
            assert connection.execute("show fsync").fetchone() == ("on",)
            mine = "select rolsuper from pg_roles where rolname = current_user"
            assert os.environ.get(servers.GIVEN) or connection.execute(mine).fetchone() == (False,)
        left = psycopg.connect(first)
        left.execute("lock table a")
    with pytest.raises(psycopg.OperationalError):
        left.execute("select 1")
    left.close()
    with server.database() as again:
        assert again in {first, second}
        with psycopg.connect(first) as connection:
            names = "select nspname from pg_namespace where nspname !~ '^pg_' order by 1"
            assert connection.execute(names).fetchall() == [("information_schema",), ("public",)]
            assert connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone() == (0,)


def test_nothing_that_a_borrower_changed_in_the_tables_goes_unnoticed() -> None:
    server = servers.postgres()
    assert isinstance(server, servers.Server)
    with server.database(servers.with_tables) as lent, psycopg.connect(lent) as connection:

        def stamp() -> str:
            row = connection.execute(servers.STAMP.encode()).fetchone()
            assert row is not None
            return str(row[0])

        found = stamp()
        for change in (
            "alter table offpath_job add column more int",
            "alter table offpath_job alter column state set default 3",
            "alter table offpath_job set (fillfactor = 50)",
            "alter table offpath_job disable trigger all",
            "alter table offpath_job add constraint no check (false) not valid",
            "grant select on offpath_job to public",
            "create index on offpath_job (state)",
            "create view more as select 1",
            "create function more() returns int language sql as 'select 1'",
            "create type more as enum ('a')",
            "create schema more",
            "create publication more",
            "alter database {} connection limit 3".format(lent.rpartition("/")[2]),
            "delete from offpath_migration",
            "update offpath_home set id = gen_random_uuid()",
        ):
            connection.execute(change.encode())
            assert stamp() != found, change
            connection.rollback()
            assert stamp() == found
        connection.execute("truncate offpath_job restart identity")
        connection.commit()
        assert stamp() == found
