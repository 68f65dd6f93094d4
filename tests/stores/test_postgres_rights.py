"""Roles that may do less than the owner of the tables: what they can do all the same, and what they are told."""

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from offpath.core.job import State
from offpath.core.options import DAY, SECOND
from offpath.core.outcome import Done
from offpath.core.policy import Policy, Retention
from offpath.errors import ConfigurationError, StoreUnavailable
from offpath.stores.postgres.store import PostgresStore
from offpath.stores.postgres.verbs import AHEAD
from tests.conftest import missing
from tests.stores.kit import Hand, change, ended, new_job, now, perform, put

RIGHTS = """
grant usage on schema public to {role};
grant select, insert, update, delete on all tables in schema public to {role};
"""

Make = Callable[..., PostgresStore]


class Clerk:
    """A role of its own that owns nothing. `url` logs in as it; `do` runs SQL as the owner, with `{role}` filled in."""

    def __init__(self, owner: str) -> None:
        self.role, password = f"offpath_clerk_{secrets.token_hex(4)}", secrets.token_hex(8)
        at = urlsplit(owner)
        self.url = at._replace(netloc=f"{self.role}:{password}@{at.netloc.rpartition('@')[2]}").geturl()
        self._owner = psycopg.connect(owner, autocommit=True)
        self.do(f"create role {{role}} login password '{password}'; revoke create on schema public from public")

    def do(self, text: str) -> psycopg.Cursor[Any]:
        return self._owner.execute(text.replace("{role}", self.role).encode())

    def days(self) -> list[str]:
        found = self.do(
            "select relname from pg_inherits join pg_class on pg_class.oid = inhrelid "
            "where inhparent = 'offpath_history'::regclass and relname ~ '[0-9]{8}$' order by 1"
        )
        return [row[0].removeprefix("offpath_history_") for row in found.fetchall()]

    def keep_days(self, more: int) -> None:
        """As if the last migration were so long ago that there are only days for what ends until `more` days later."""
        kept = {day(now() + length + n * DAY) for length in Retention().lengths() for n in range(more + 1)}
        for name in set(self.days()) - kept:
            self.do(f"drop table offpath_history_{name}")

    def leave(self) -> None:
        self.do("drop schema if exists jobs cascade; drop schema public cascade; create schema public")
        self.do("grant connect on database {database} to public".replace("{database}", self._owner.info.dbname))
        self.do("drop role {role}")
        self._owner.close()


def day(at: int) -> str:
    return time.strftime("%Y%m%d", time.gmtime(at / SECOND))


@pytest.fixture
def clerk(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[Clerk]:
    try:
        clerk = Clerk(postgres_url)
    except psycopg.errors.InsufficientPrivilege:
        missing(request.config, "postgres", "its role may not create roles")
    yield clerk
    clerk.leave()


@pytest.fixture
def make(clerk: Clerk) -> Iterator[Make]:
    made: list[PostgresStore] = []

    def make(url: str = clerk.url, **options: Any) -> PostgresStore:
        store = PostgresStore(url, announce=lambda hints: None, **options)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def owner(make: Make, postgres_url: str, clerk: Clerk) -> PostgresStore:
    """Its store, with tables that the clerk may write rows to."""
    store = make(postgres_url)
    store.migrate()
    clerk.do(RIGHTS)
    return store


def works(store: PostgresStore) -> None:
    """A job lives its life."""
    hand = Hand(store)
    put(store, new_job())
    [job] = hand.claim(1)
    assert hand.finish(job) == ["applied"]
    assert ended(store, job.id).state is State.SUCCEEDED
    hand.close()


def short(caplog: pytest.LogCaptureFixture) -> list[int]:
    """The days that were said to be left."""
    given: list[dict[str, Any]] = [getattr(record, "offpath", {}) for record in caplog.records]
    return [fields["days"] for fields in given if fields.get("signal") == "store.short_of_days"]


# ── rows, and no tables ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_migration_makes_the_days_of_a_week(owner: PostgresStore, clerk: Clerk) -> None:
    ahead = [day(now() + 7 * DAY + n * DAY) for n in range(AHEAD + 1)]
    assert set(ahead) < set(clerk.days())
    clerk.keep_days(0)
    assert len(clerk.days()) == 2
    assert owner.migrate() == []
    assert set(ahead) < set(clerk.days())


@pytest.mark.parametrize(("more", "said"), [(AHEAD, []), (AHEAD - 1, []), (2, []), (1, [2]), (0, [1])])
def test_whoever_may_only_write_rows_works_as_long_as_there_are_days(
    owner: PostgresStore, make: Make, clerk: Clerk, caplog: pytest.LogCaptureFixture, more: int, said: list[int]
) -> None:
    caplog.set_level(logging.WARNING, "offpath")
    clerk.keep_days(more)
    store = make()
    store.open()
    works(store)
    assert short(caplog) == said
    assert ("grant OWNER to" in caplog.text) is bool(said)


def test_without_a_day_for_today_it_says_which_grant_is_missing(owner: PostgresStore, make: Make, clerk: Clerk) -> None:
    clerk.keep_days(-1)
    with pytest.raises(StoreUnavailable, match=f'grant OWNER to "{clerk.role}"'):
        make().open()
    owner.migrate()
    works(make())


def test_at_work_too_it_says_which_grant_a_new_day_takes(owner: PostgresStore, make: Make, clerk: Clerk) -> None:
    store = make()
    hand = Hand(store)
    put(store, new_job())
    jobs = hand.claim(1)
    late = change(jobs[0], Done("1"), Policy(retention=Retention(100 * DAY, None, 100 * DAY)))
    with pytest.raises(StoreUnavailable, match=f'grant OWNER to "{clerk.role}"'):
        hand.settle(late)
    perform(owner, owner.verbs.make_days(owner.verbs.lacking([late])))
    assert hand.settle(late) == ["applied"]
    hand.close()


def test_a_past_day_is_left_to_whoever_may_drop_it(owner: PostgresStore, make: Make, clerk: Clerk) -> None:
    store = make()
    store.open()
    past = day(now() - 2 * DAY)
    perform(owner, owner.verbs.make_days([now() // DAY - 2]))
    store.verbs.days = owner.verbs.days
    assert perform(store, store.verbs.prune(100)) == 0
    assert past in clerk.days()
    owner.migrate()
    assert past not in clerk.days()


# ── less than that ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_right_to_connect_it_is_not_called_unreachable(
    owner: PostgresStore, make: Make, clerk: Clerk
) -> None:
    clerk.do("revoke connect on database {database} from public".replace("{database}", urlsplit(clerk.url).path[1:]))
    with pytest.raises(ConfigurationError, match=rf'grant connect on database … to "{clerk.role}"') as caught:
        make().open()
    assert "cannot be reached" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="grant connect"):
        put(make(), new_job())


@pytest.mark.parametrize("right", ["usage on schema public", "insert on offpath_job"])
def test_whoever_lacks_a_right_is_told_the_grants(owner: PostgresStore, make: Make, clerk: Clerk, right: str) -> None:
    clerk.do(f"revoke {right} from {{role}}")
    with pytest.raises(StoreUnavailable) as caught:
        put(make(), new_job())
    for grant in ("usage on schema", "select, insert, update, delete on all tables in schema"):
        assert f'grant {grant} "public" to "{clerk.role}"' in str(caught.value)
    assert "permission denied" in str(caught.value)


def test_an_empty_database_in_which_it_may_make_nothing(make: Make, clerk: Clerk) -> None:
    grant = f'grant usage, create on schema "public" to "{clerk.role}"'
    for call in (make().open, make().migrate):
        with pytest.raises(StoreUnavailable, match=r"denies a right .*to make tables") as caught:
            call()
        assert f"`{grant}`" in str(caught.value)
        assert f'`create schema offpath authorization "{clerk.role}"`' in str(caught.value)
        assert "on all tables" not in str(caught.value), "there are none"
    clerk.do(grant)
    store = make()
    store.migrate()
    works(store)


def test_a_schema_that_it_may_not_make(make: Make, clerk: Clerk) -> None:
    grant = f'grant create on database "{urlsplit(clerk.url).path[1:]}" to "{clerk.role}"'
    with pytest.raises(StoreUnavailable, match="to make tables") as caught:
        make(schema="jobs").migrate()
    assert f"`{grant}`" in str(caught.value)
    assert f'`create schema "jobs" authorization "{clerk.role}"`' in str(caught.value)
    clerk.do(grant)
    try:
        store = make(schema="jobs")
        store.migrate()
        works(store)
        store.close()
    finally:
        with psycopg.connect(clerk.url) as own:
            own.execute("drop schema if exists jobs cascade")
        clerk.do(grant.replace("grant", "revoke").replace(" to ", " from "))


def test_a_migration_by_somebody_else_than_the_owner(owner: PostgresStore, make: Make, clerk: Clerk) -> None:
    clerk.do("delete from offpath_migration where name = (select max(name) from offpath_migration)")
    with pytest.raises(StoreUnavailable, match=f'to make tables it takes the role .*grant OWNER to "{clerk.role}"'):
        make().migrate()


def test_a_schema_that_was_made_for_it_is_enough(make: Make, clerk: Clerk) -> None:
    """It need not be allowed to make schemas."""
    clerk.do("create schema jobs; grant usage, create on schema jobs to {role}")
    store = make(schema="jobs")
    store.open()
    works(store)
