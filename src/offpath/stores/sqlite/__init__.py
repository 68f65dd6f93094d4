"""SQLite: the embedded default. One writer thread per process, WAL, synchronous=FULL, several processes at once."""

from .store import SqliteStore

__all__ = ["SqliteStore"]
