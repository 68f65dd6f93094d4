"""What only the file and the library can tell: whether they are safe, and whether somebody holds them."""

from __future__ import annotations

import os
import sqlite3
import stat
from typing import Final

from ...core.health import Check
from ...errors import StoreUnavailable
from .. import migrate
from ..statements import migrations
from . import connection as db

LARGE: Final = 256 << 20  # bytes of log: four times what we leave of it after a checkpoint
PATIENCE: Final = 5.0  # s, at most, for which we wait for our turn to write


def examine(path: str, long: float) -> list[Check]:
    """See `ports.Store.doctor`."""
    if not os.path.exists(path):
        return [Check("database", "problem", f"there is no file {path}", "correct the URL, or run `offpath migrate`")]
    log = _log(path)  # before we open it: whoever closes it last empties the log
    return [*_library(path), *_mode(path), *log, *_made(path), *_turn(path, min(long, PATIENCE))]


def _library(path: str) -> list[Check]:
    said = f"SQLite {sqlite3.sqlite_version}, file {path}"
    if sqlite3.sqlite_version_info >= db.SAFE_VERSION:
        return [Check("database", "ok", said)]
    wanted = ".".join(map(str, db.SAFE_VERSION))
    detail = f"{said}: before {wanted} a commit can be lost when the log begins anew beside a checkpoint"
    return [Check("database", "warning", detail, f"use a Python built with SQLite {wanted} or later")]


def _mode(path: str) -> list[Check]:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as e:
        raise StoreUnavailable(f"cannot look at the SQLite database {path}: {e.strerror}") from e
    if mode & 0o077 == 0:
        return [Check("file mode", "ok", f"{mode:04o}: nobody else may read the jobs")]
    detail = f"{mode:04o}: others on this machine may read or change the jobs"
    return [Check("file mode", "warning", detail, f"chmod 0600 {path}*, unless that is intended")]


def _log(path: str) -> list[Check]:
    try:
        size = os.stat(f"{path}-wal").st_size
    except OSError:
        size = 0  # none is there while nobody has it open
    said = f"the write-ahead log has {size / (1 << 20):.0f} MiB"
    if size <= LARGE:
        return [Check("log", "ok", said)]
    detail = f"{said}: a reader that does not end keeps it from beginning anew"
    return [Check("log", "warning", detail, f"end that reader (`fuser {path}` names the processes)")]


def _made(path: str) -> list[Check]:
    """How the file is kept, and whether everything is there that looks for jobs quickly."""
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        [(mode,)] = connection.execute("pragma journal_mode").fetchall()
        names = {name for (name,) in connection.execute("select name from sqlite_master where name like 'offpath%'")}
        have = "select name from offpath_migration" if "offpath_migration" in names else "select 0 where 0"
        applied = {name for (name,) in connection.execute(have)}
    except sqlite3.Error as e:
        raise db.explain(e, path) from e
    finally:
        connection.close()
    found = [Check("journal", "ok", "a write-ahead log: readers and the writer do not wait for each other")]
    if mode != "wal":
        detail = f"journal mode {mode}: readers and writers wait for each other"
        found = [Check("journal", "warning", detail, "start a worker: whoever opens it writes ahead from then on")]
    if not applied:
        return found  # that there are no tables is said elsewhere
    wanted = migrate.indexes(step for step in migrations(__package__) if step[0] in applied)
    return [*found, migrate.complete(wanted, names)]


def _turn(path: str, patience: float) -> list[Check]:
    name = "long transactions"
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)  # changes nothing, not even how it is kept
    try:
        db.begin(connection, patience)
        connection.execute("rollback")
    except StoreUnavailable:
        detail = f"somebody has kept the write lock for more than {patience:g} s: nobody else can write"
        return [Check(name, "problem", detail, f"end that transaction (`fuser {path}` names the processes)")]
    except sqlite3.Error as e:
        raise db.explain(e, path) from e
    finally:
        connection.close()
    return [Check(name, "ok", f"the write lock was free within {patience:g} s")]
