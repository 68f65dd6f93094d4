"""docs/how-to/transactions.md: its snippets, run as they stand, against real databases."""

import inspect
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from offpath.testing import drain

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "transactions.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TABLE = "create table users (email text unique deferrable initially deferred)"
"""An e-mail that is there already is refused by COMMIT, when the job has long been written."""
pytestmark = pytest.mark.anyio


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module that the page adds up to."""
    module = type(sys)("page_about_transactions")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(PAGE.read_text("utf-8"))), str(PAGE), "exec"), module.__dict__)
    return module.__dict__


@pytest.fixture
async def shop(page: dict[str, Any], postgres_url: str) -> AsyncIterator[dict[str, Any]]:
    page["jobs"].desk.use(postgres_url)
    page["jobs"].migrate()
    with psycopg.connect(postgres_url) as connection:
        connection.execute(TABLE)
    yield page
    page["jobs"].desk.close()


async def stands_or_falls(function: Callable[..., Any], tx: object, email: str, refusal: type[Exception]) -> None:
    for _ in range(2):
        try:
            if inspect.isawaitable(answer := function(tx, email)):
                await answer
        except refusal:
            break
    else:
        pytest.fail("the second commit was not refused")


async def test_on_postgres(shop: dict[str, Any], postgres_url: str) -> None:
    """Of each pair of calls only the first is committed, and only its job is there."""
    engine = create_async_engine(postgres_url.replace("postgresql", "postgresql+asyncpg", 1))
    async with AsyncSession(engine) as session:
        await stands_or_falls(shop["with_async_session"], session, "a", IntegrityError)
    async with engine.connect() as connection:
        await stands_or_falls(shop["with_core"], connection, "b", IntegrityError)
    await engine.dispose()
    plain = create_engine(postgres_url.replace("postgresql", "postgresql+psycopg", 1))
    with Session(plain) as sync_session:
        await stands_or_falls(shop["with_session"], sync_session, "c", IntegrityError)
    plain.dispose()
    async with asyncpg.create_pool(postgres_url, min_size=1, max_size=1) as pool:
        await stands_or_falls(shop["with_asyncpg"], pool, "d", asyncpg.UniqueViolationError)
    refused = psycopg.errors.UniqueViolation
    with psycopg.connect(postgres_url) as raw:
        await stands_or_falls(shop["with_psycopg"], raw, "e", refused)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as lazy:
        await stands_or_falls(shop["with_async_psycopg"], lazy, "f", refused)
        users = await (await lazy.execute("select email from users order by 1")).fetchall()
    assert [email for (email,) in users] == [*"abcdef"]
    assert await drain(shop["jobs"]) == {"succeeded": 6}


async def test_on_sqlite(page: dict[str, Any], tmp_path: Path) -> None:
    page["jobs"].desk.use(f"sqlite:///{tmp_path / 'shop.db'}")
    page["jobs"].migrate()
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("pragma foreign_keys=on")
    connection.execute("create table people (email text primary key)")
    connection.execute("create table users (email text references people deferrable initially deferred)")
    connection.execute("insert into people values ('a')")
    connection.commit()
    page["with_sqlite3"](connection, "a")
    with pytest.raises(sqlite3.IntegrityError):
        page["with_sqlite3"](connection, "nobody")
    assert connection.execute("select email from users").fetchall() == [("a",)]
    connection.close()
    assert await drain(page["jobs"]) == {"succeeded": 1}
    page["jobs"].desk.close()
