"""The Offpath object of a Django project: on its database, as its settings say."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper

from ... import settings as config
from ...app import Offpath
from ...app.desk import Counter
from ...app.places import Parts
from ...core.options import Queue
from ...errors import ConfigurationError
from ...settings import Settings
from . import conf

P = ParamSpec("P")
R = TypeVar("R")

_made: list[_Offpath] = []
_guard = threading.Lock()


def jobs() -> Offpath:
    """The one of this process, made when it is first asked for. ConfigurationError when `settings.OFFPATH` is wrong."""
    return _jobs()


def _jobs() -> _Offpath:
    if not _made:
        with _guard:
            if not _made:
                _made.append(_Offpath(conf.read()))
    return _made[0]


def transaction() -> BaseDatabaseWrapper | None:
    """The connection whose `atomic` block we are in, if there is one on the jobs' database."""
    alias = _jobs().said.alias
    return connections[alias] if alias is not None and connections[alias].in_atomic_block else None


def make(said: conf.Conf) -> Offpath:
    """One more, on the same database."""
    return _Offpath(said)


class _Offpath(Offpath):
    def __init__(self, said: conf.Conf) -> None:
        super().__init__("", queues=said.queues, **said.given)
        self.said = said
        self._desk = _Counter(config.settle("", dict(said.given)), said.queues, said.url)
        self.registry.boot = "django:setup"  # in a process for tasks, before the project's modules are imported
        self.registry.around = around

    def __repr__(self) -> str:
        return f"<Offpath of Django's {self.said.database}>"


class _Counter(Counter):
    """It looks up where the database is as long as nothing has been opened: a test runner changes that."""

    def __init__(self, settings: Settings, queues: Iterable[Queue], where: Callable[[], str]) -> None:
        self._where: Callable[[], str] | None = where
        self._parts: Parts | None = None
        self._settings = settings
        super().__init__(settings, queues)

    @property
    def settings(self) -> Settings:
        """Without a URL where Django's database can be none of ours; whoever opens it is told why."""
        if self._where is not None and self._parts is None:
            try:
                url = self._where()
            except ConfigurationError:
                url = ""
            if url != self._settings.url:
                self._settings = replace(self._settings, url=url)
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings

    def _make(self) -> Parts:
        if self._where is not None:
            self._where()
        return super()._make()

    def use(self, url: str) -> None:
        where, self._where = self._where, None
        try:
            super().use(url)
        except ConfigurationError:
            self._where = where
            raise


# ── around an attempt ────────────────────────────────────────────────────────────────────────────────────────────────


def around(fn: Callable[P, Any]) -> Callable[P, Any]:
    """What Django does around a request: connections that have broken or grown too old (CONN_MAX_AGE) are closed, so a
    worker outlives its database server. A task finds no connection, and leaves none, that is not fit for use."""
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(inspect.unwrap(fn)):
        return _on_loop(fn)

    @functools.wraps(fn)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> Any:
        refresh()
        try:
            return fn(*args, **kwargs)
        finally:
            refresh()

    return attempt


def _on_loop(fn: Callable[P, Any]) -> Callable[P, Any]:
    """Django's async ORM works in a thread, and outside of a request all of a process share one. Here each attempt has
    its own: none waits for another's query. The thread ends with the attempt, and so must its connections."""

    @functools.wraps(fn)
    async def attempt(*args: P.args, **kwargs: P.kwargs) -> Any:
        async with ThreadSensitiveContext():
            try:
                return await fn(*args, **kwargs)
            finally:
                await sync_to_async(connections.close_all)()

    return attempt


def refresh() -> None:
    """Of this thread: what Django does when a request begins and when it ends. The job's own transaction goes on."""
    reset_queries()
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
