"""Where the demo keeps its rows: in a SQLite file, or in a database of its own on a PostgreSQL server."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio

from servers.postgres import Unavailable, scratch, wheel

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Place:
    """A fresh database: its URL, what it is called in the story, and how many worker processes share it there."""

    url: str
    name: str
    workers: int


@contextlib.asynccontextmanager
async def place(postgres: str | None, folder: Path) -> AsyncIterator[Place]:
    """`postgres`: the URL of a server, "" for one that lives as long as the block, None for SQLite.

    Nothing is left behind. Unavailable when there is no such server, or when no database can be made there.
    """
    if postgres is None:
        yield Place(f"sqlite:///{folder / 'demo.db'}", "one SQLite file", workers=1)
        return
    with contextlib.ExitStack() as stack:
        url = postgres or stack.enter_context(scratch(wheel())).url
        async with _database(url) as own:
            yield own


@contextlib.asynccontextmanager
async def _database(url: str) -> AsyncIterator[Place]:
    import asyncpg

    name = f"accounts_demo_{secrets.token_hex(4)}"
    try:
        admin = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        await admin.execute(f"create database {name}")
        version = str(await admin.fetchval("show server_version")).split()[0]
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"no database can be made on the server: {str(error) or type(error).__name__}") from error
    try:
        yield Place(_renamed(url, name), f"PostgreSQL {version}", workers=2)
    finally:
        with anyio.CancelScope(shield=True):
            try:
                await admin.execute(f"drop database {name} with (force)")
            except asyncpg.InsufficientPrivilegeError:  # an autovacuum is there; without force it is asked to leave
                await admin.execute(f"drop database {name}")
            await admin.close()


def _renamed(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    before, question, options = url.partition("?")
    kind, _, rest = before.partition("://")
    return f"{kind}://{rest.partition('/')[0]}/{name}{question}{options}"
