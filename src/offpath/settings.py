"""One checked settings value for an application: what code says beats `OFFPATH_*` variables, which beat the defaults.

(On the command line flags beat all of them.) What is written in code wins over the environment, so that a web process
and its workers, started in different environments, cannot end up in different databases.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, TypedDict

from .core import redact
from .core.checks import number, shown, whole
from .core.memory import memory
from .core.options import SECOND
from .core.policy import Retention
from .core.retry import Seconds
from .errors import ConfigurationError

DAY = 86_400.0  # s
LEASE = 15.0  # s
FOREVER = 10.0**10  # s
SHORTEST_KEY = 16  # bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations are seconds.

    url                  where the jobs live: sqlite:///relative.db, sqlite:////absolute.db, postgresql://user@host/name
    schema               on PostgreSQL: the schema of offpath's tables (made by `migrate` when it is not there)
    transport            what carries hints in place of the store's own way: redis://…, amqp://…, kafka://… or sqs://…
    broker               what carries events between applications: one of these, or https://… (default: the transport)
    topic                where events are published, and where handlers look for them, unless they say otherwise
    group                the name under which this application's workers share what they consume
    source               what events of this application have as their source: a URI reference, as in "/accounts"
    dedupe               for how long a consumed message is known, so that the same one again makes no second job
    backlog              nothing is consumed while so many jobs of the queue that it would go to are ready
    lease                a worker without a sign of life for so long is taken for dead and its jobs run again
    renew                how often it gives that sign (default: a third of the lease)
    poll                 how long a worker waits at most before it looks for work without having been told of any
    concurrency          jobs that one worker runs at once
    threads              of them, how many plain functions (each needs a thread)
    processes            how many tasks with executor="process" run at once, each in a process (default: one per core)
    recycle_jobs         a process is thrown away after so many attempts
    recycle_age          or when it is so old
    recycle_memory       or when it holds more than so much after an attempt: bytes or "512MiB" (None = whatever)
    drain                how long a stopping worker lets running jobs finish before it gives them back
    cancel_grace         how long a cancelled coroutine may take to tidy up before it is abandoned
    retention            how long finished jobs are kept; None = until someone deletes them
    retention_failed     the same for failed ones (default None: dead letters do not vanish by themselves)
    retention_operation  the same for jobs that HTTP shows
    retention_stats      how long counts of what ended, and samples of queues, are kept: what charts are drawn from
    retention_audit      the same for the audit log: who has done what
    max_body             bytes of a request body that the HTTP routes accept
    secret_keys          seal values of type `Secret` in the database: the first seals, all of them open. Each 16
                         characters or more (none: such values are stored as they are)
    redact               regular expressions: what they match is cut out of errors, logs and progress, besides what
                         looks like a credential anyway
    """

    url: str = field(default="", repr=False)
    schema: str = "public"
    transport: str = field(default="", repr=False)
    broker: str = field(default="", repr=False)
    topic: str = "events"
    group: str = ""
    source: str = ""
    dedupe: float = 7 * DAY
    backlog: int = 10_000
    lease: float = LEASE
    renew: float = LEASE / 3
    poll: float = 1.0
    concurrency: int = 100
    threads: int = 16
    processes: int | None = None
    recycle_jobs: int = 1_000
    recycle_age: float = 3600.0
    recycle_memory: int | None = None
    drain: float = 25.0
    cancel_grace: float = 5.0
    retention: float | None = 7 * DAY
    retention_failed: float | None = None
    retention_operation: float | None = 30 * DAY
    retention_stats: float = 7 * DAY
    retention_audit: float | None = 365 * DAY
    max_body: int = 1 << 20
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    redact: tuple[str, ...] = ()

    def kept(self) -> Retention:
        """The three retentions as `core` wants them, µs."""
        return Retention(*(micros(v) for v in (self.retention, self.retention_failed, self.retention_operation)))


class Given(TypedDict, total=False):
    """The same as keyword arguments of `Offpath(…)`: durations may be timedeltas too."""

    schema: str
    transport: str | None
    broker: str | None
    topic: str
    group: str
    source: str
    dedupe: Seconds
    backlog: int
    lease: Seconds
    renew: Seconds
    poll: Seconds
    concurrency: int
    threads: int
    processes: int | None
    recycle_jobs: int
    recycle_age: Seconds
    recycle_memory: int | str | None
    drain: Seconds
    cancel_grace: Seconds
    retention: Seconds | None
    retention_failed: Seconds | None
    retention_operation: Seconds | None
    retention_stats: Seconds
    retention_audit: Seconds | None
    max_body: int
    secret_keys: str | Sequence[str]
    redact: str | Sequence[str]


_RANGES = {
    "dedupe": (1, FOREVER),
    "backlog": (1, 10**7),
    "lease": (0.5, 3600),
    "renew": (0.05, 1800),
    "poll": (0.005, 3600),
    "drain": (0, 86_400),
    "cancel_grace": (0, 3600),
    "retention_stats": (1, FOREVER),
    "concurrency": (1, 10_000),
    "threads": (1, 1_000),
    "processes": (1, 1_000),
    "recycle_jobs": (1, 10**9),
    "recycle_age": (0.1, 10**8),
    "max_body": (1, 1 << 30),
}
_WHOLE = frozenset({"concurrency", "threads", "processes", "recycle_jobs", "max_body", "backlog"})
_OPTIONAL = frozenset({"processes", "recycle_memory"})
_TEXTS = frozenset({"transport", "broker", "topic", "group", "source"})
_LISTS = {"secret_keys": r"[,\s]+", "redact": r"[\r\n]+"}  # how a variable's members are parted
_KEPT = frozenset({"retention", "retention_failed", "retention_operation", "retention_audit"})
NAMES = frozenset(field.name for field in fields(Settings))


def settle(url: str | None, given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from what code gave, then `OFFPATH_DATABASE` and `OFFPATH_<NAME>`, then the defaults.

    ConfigurationError for an unknown name or a value out of range.
    """
    env = os.environ if environment is None else environment
    unknown = sorted(set(given) - (NAMES - {"url"}))
    if unknown:
        raise ConfigurationError(f"there is no setting {unknown[0]!r}; there are {', '.join(sorted(NAMES))}")
    values: dict[str, Any] = {}
    for name in sorted(NAMES - {"url"}):
        variable = f"OFFPATH_{name.upper()}"
        if name in given:
            values[name] = _checked(name, given[name], name)
        elif variable in env:
            values[name] = _checked(name, _parsed(name, env[variable], variable), variable)
    lease = values.setdefault("lease", LEASE)
    values.setdefault("renew", lease / 3)
    if values["renew"] > lease / 2:
        raise ConfigurationError(
            f"renew ({values['renew']:g} s) must be at most half of the lease ({lease:g} s): one late renewal must not "
            "look like a death"
        )
    return Settings(url=_url(url, env), **values)


def _url(url: str | None, env: Mapping[str, str]) -> str:
    """May be empty: the command line can still say where; the first use of the database asks for one."""
    found = url if url is not None else env.get("OFFPATH_DATABASE", "")
    if not isinstance(found, str):
        raise ConfigurationError(f"the database URL must be text, not {shown(found)}")
    return found


def _parsed(name: str, text: str, variable: str) -> Any:
    """An environment variable as the value it means."""
    if name == "schema" or name in _TEXTS:
        return text
    if name in _LISTS:
        return [one for one in re.split(_LISTS[name], text) if one]
    if name in _KEPT | _OPTIONAL and text.strip().lower() == "none":
        return None
    if name == "recycle_memory":
        return int(text) if text.strip().isdecimal() else text
    try:
        return int(text) if name in _WHOLE else float(text)
    except ValueError:
        raise ConfigurationError(f"{variable} must be a number, not {shown(text)}") from None


def _checked(name: str, value: Any, what: str) -> Any:
    if name == "schema":
        return _schema(value, what)
    if name in _TEXTS:
        return _text(value, what)
    if name == "secret_keys":
        return _keys(value, what)
    if name == "redact":
        return tuple(redact.compiled(one).pattern for one in _listed(value))
    if name in _KEPT:
        return None if value is None else number(_plain(value), 0, FOREVER, what)
    if name in _OPTIONAL and value is None:
        return None
    if name == "recycle_memory":
        return memory(value, what)
    low, high = _RANGES[name]
    if name in _WHOLE:
        return whole(value, int(low), int(high), what)
    return number(_plain(value), low, high, what)


def _schema(value: object, what: str) -> str:
    """PostgreSQL cuts longer names off without a word."""
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value.encode()) <= 63:
        raise ConfigurationError(f"{what} must be the name of a schema, 1 to 63 bytes, not {shown(value)}")
    return value


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _keys(value: Any, what: str) -> tuple[str, ...]:
    """What is wrong with a key is told without the key."""
    keys = _listed(value)
    for key in keys:
        if not isinstance(key, str) or len(key.encode("utf-8", "surrogatepass")) < SHORTEST_KEY:
            raise ConfigurationError(f"{what}: a key is text of {SHORTEST_KEY} bytes or more, better 32 random ones")
    return tuple(keys)


def _text(value: object, what: str) -> str:
    if value is None:  # as from os.environ.get
        return ""
    if not isinstance(value, str) or len(value) > 2048 or not (value.isprintable() or not value):
        raise ConfigurationError(f"{what} must be text of at most 2,048 characters, not {shown(value)}")
    return value


def checked(name: str, value: Any) -> Any:
    """One setting's value by itself; ConfigurationError when it is out of range."""
    return _checked(name, value, name)


def _plain(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def micros(value: Seconds | None) -> int | None:
    """Seconds as µs; None stays None."""
    return None if value is None else round(_plain(value) * SECOND)
