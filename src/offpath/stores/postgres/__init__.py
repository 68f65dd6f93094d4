"""PostgreSQL 14 and newer, through asyncpg, which comes with the store and not before: a URL is checked without it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import PostgresStore as PostgresStore

__all__ = ["PostgresStore"]


def __getattr__(name: str) -> Any:
    if name != "PostgresStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .store import PostgresStore

    return PostgresStore
