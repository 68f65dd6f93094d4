"""What whoever runs an application does with its jobs: look for them, stop, run again and erase many, be told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack

from ..core import alerts, redact, selection
from ..core.alerts import AlertGiven
from ..core.checks import flag, shown, whole
from ..core.ids import is_id
from ..core.job import LIVE, TERMINAL, State
from ..core.retry import check_max_attempts
from ..core.selection import JobFilter, Which, as_json
from ..errors import ArgumentError, ConfigurationError, NotFound
from ..ports import Found, Page, Pending, Round, Store, Verb
from ..tasks import JobInfo, Task, found, info_of
from .auditing import Auditing
from .bulk import PAGE, Again, Bulk, Deed, Progress, Tally, Turn
from .desk import Counter, fresh_id
from .queues import QueueBoard
from .watching import Watching

T = TypeVar("T", bound=Task[..., Any])

LOOK = 100  # jobs of one page of a list: each may carry 1 MiB of arguments and as much of a result
RETRIES = 100  # the same, of those that are run again
FAILED = frozenset({State.FAILED})


@dataclass(frozen=True, slots=True)
class Inspection:
    """One job, with what it was called with.

    redacted    whether `arguments` and `result` are shapes and lengths ("text, 17 characters") and no values; those of
                a change of many jobs (`offpath.bulk`) never are
    arguments   by parameter; None: they have been erased
    result      None: there is none, or it was not kept
    retried_as  the newest job that runs it again, if there has been one
    """

    info: JobInfo
    redacted: bool
    arguments: Any
    result: Any
    retried_as: str | None


class Managing(Auditing, Watching):
    """A part of `Offpath`."""

    _desk: Counter

    @property
    def queues(self) -> QueueBoard:
        """Pause, resume and drain queues, and see how they stand: see `QueueBoard`."""
        return QueueBoard(self._desk)

    @property
    def dead_letters(self) -> DeadLetters:
        """Jobs that failed for good and have not been run again: see `DeadLetters`."""
        return DeadLetters(self._desk)

    # -- looking ------------------------------------------------------------------------------------------------------

    def list(
        self, *, limit: int | None = None, after: str | None = None, **which: Unpack[Which]
    ) -> AsyncIterator[JobInfo]:
        """`async for job in jobs.list(queue="mail", state="failed"):` all that `which` means, the newest first.

        They are read page by page, so that jobs which come or go meanwhile may be seen or not. limit: at most so many;
        after: the id of the last one that is known already.
        """
        return _listed(self._desk, _page_of(limit, after), self._desk_filter(which))

    def list_sync(
        self, *, limit: int | None = None, after: str | None = None, **which: Unpack[Which]
    ) -> Iterator[JobInfo]:
        """The same, blocking."""
        return _listed_sync(self._desk, _page_of(limit, after), self._desk_filter(which))

    async def count(self, **which: Unpack[Which]) -> int:
        """How many jobs `which` means; nothing said: all there are."""
        store = self._desk.store
        return await store.read(store.verbs.count_jobs(self._desk_filter(which)))

    def count_sync(self, **which: Unpack[Which]) -> int:
        """The same, blocking."""
        store = self._desk.store
        return store.read(store.verbs.count_jobs(self._desk_filter(which))).result()

    async def inspect(self, id: str, *, arguments: bool = False) -> Inspection:
        """A job with its arguments and its result: their shapes, or with `arguments=True` their values, which the
        audit log remembers when somebody is acting (see `offpath.app.acting`). NotFound."""
        there = found(id, await (self._desk.look if arguments else self._desk.find)(id))
        return _inspection(there, arguments, await self._again(id))

    def inspect_sync(self, id: str, *, arguments: bool = False) -> Inspection:
        """The same, blocking."""
        there = found(id, (self._desk.look if arguments else self._desk.find)(id).result())
        return _inspection(there, arguments, self._again(id).result())

    def _again(self, id: str) -> Pending[str | None]:
        store = self._desk.store
        return store.read(store.verbs.retried_as(id))

    def _desk_filter(self, which: Mapping[str, Any]) -> JobFilter:
        return selection.select(which, self._desk.store.now())

    # -- one ----------------------------------------------------------------------------------------------------------

    async def delete(self, id: str) -> None:
        """Erase a job that has ended: arguments, result, operation, log. NotFound; Conflict while it lives."""
        _deleted(id, await self._desk.delete(id))

    def delete_sync(self, id: str) -> None:
        """The same, blocking."""
        _deleted(id, self._desk.delete(id).result())

    # -- many ---------------------------------------------------------------------------------------------------------

    def cancel_many(
        self, *, reason: str = "cancel requested", progress: Progress | None = None, **which: Unpack[Which]
    ) -> Bulk:
        """Ask every job that `which` means to stop: those that wait end at once, those that run are told. See `Bulk`.

        Without a state, all that live are meant; without any filter, it is a ConfigurationError.
        """
        if not isinstance(reason, str):
            raise ConfigurationError(f"reason must be text, not {shown(reason)}")

        def turn(store: Store, where: JobFilter) -> tuple[Turn, Again]:
            def page(after: str | None, limit: int, round: Round) -> Verb[Page]:
                return store.verbs.cancel_page(where, after, limit, reason, round)

            return page, lambda ids, round: store.verbs.cancel_these(ids, where, reason, round)

        deed = Deed(self._opened, "jobs.cancel", {"filter": as_json(which), "reason": reason})
        return self._bulk("cancel_many", which, LIVE, LIVE, turn, progress, deed)

    def cancel_many_sync(
        self, *, reason: str = "cancel requested", progress: Progress | None = None, **which: Unpack[Which]
    ) -> Tally:
        """The same, blocking."""
        return self.cancel_many(reason=reason, progress=progress, **which).run()

    def retry_many(
        self, *, max_attempts: int | None = None, progress: Progress | None = None, **which: Unpack[Which]
    ) -> Bulk:
        """Run every job that `which` means again, as a new job with a fresh budget of attempts (`max_attempts`, or as
        many as before). See `Bulk`.

        Without a state, those that failed are meant; without any filter, it is a ConfigurationError. Only those that
        have not been run again yet are meant (`outstanding=True`, said or not), so that the same call twice runs none
        twice. Skipped is one whose key a live job has, whose arguments have been erased, or that is a flow.
        """
        if max_attempts is not None:
            check_max_attempts(max_attempts)
        if not flag(which.get("outstanding", True), "outstanding"):
            raise ConfigurationError("what has been run again is not run again with many: outstanding cannot be False")
        if "outstanding" not in which and selection.select(which, 0) == JobFilter():
            which = {}  # and that is refused below, as of the others
        else:
            which = {**which, "outstanding": True}

        def turn(store: Store, where: JobFilter) -> tuple[Turn, None]:
            def page(after: str | None, limit: int, round: Round) -> Verb[Page]:
                now = store.now()
                new = [fresh_id(now) for _ in range(limit)]
                return store.verbs.retry_page(where, after, new, max_attempts, round)

            return page, None

        deed = Deed(self._opened, "jobs.retry", {"filter": as_json(which), "max_attempts": max_attempts})
        return self._bulk("retry_many", which, TERMINAL, FAILED, turn, progress, deed, RETRIES)

    def retry_many_sync(
        self, *, max_attempts: int | None = None, progress: Progress | None = None, **which: Unpack[Which]
    ) -> Tally:
        """The same, blocking."""
        return self.retry_many(max_attempts=max_attempts, progress=progress, **which).run()

    def delete_many(self, *, progress: Progress | None = None, **which: Unpack[Which]) -> Bulk:
        """Erase every job that has ended and that `which` means, with its operation and its log. See `Bulk`.

        Without a state, all that have ended are meant; without any filter, it is a ConfigurationError.
        """

        def turn(store: Store, where: JobFilter) -> tuple[Turn, None]:
            def page(after: str | None, limit: int, round: Round) -> Verb[Page]:
                return store.verbs.delete_page(where, after, limit, round)

            return page, None

        deed = Deed(self._opened, "jobs.delete", {"filter": as_json(which)})
        return self._bulk("delete_many", which, TERMINAL, TERMINAL, turn, progress, deed)

    def delete_many_sync(self, *, progress: Progress | None = None, **which: Unpack[Which]) -> Tally:
        """The same, blocking."""
        return self.delete_many(progress=progress, **which).run()

    def _opened(self) -> Store:
        return self._desk.store

    def _bulk(
        self,
        doing: str,
        which: Mapping[str, Any],
        states: frozenset[State],
        default: frozenset[State],
        turn: Callable[[Store, JobFilter], tuple[Turn, Again | None]],
        progress: Progress | None,
        deed: Deed,
        page: int = PAGE,
    ) -> Bulk:
        """Checked now; `older_than` counts from when it begins."""

        def where(now: int) -> JobFilter:
            return selection.narrowed(selection.select(which, now), states, default, doing)

        where(0)
        desk = self._desk
        return Bulk(lambda: desk.store, lambda: where(desk.store.now()), turn, progress, deed, page)

    # -- being told ---------------------------------------------------------------------------------------------------

    def alert(self, name: str, *, tell: Task[..., Any] | None = None, **given: Unpack[AlertGiven]) -> None:
        """Watch for dead letters that grow, or for a queue that gets old: see `AlertGiven` for what can be said.

            jobs.alert("mail is failing", dead_letters=10, within=timedelta(hours=1), queue="mail")

        Whichever worker sees it first says so in the log (`alert.raised`), once for all of them, and again when it is
        well (`alert.resolved`). `tell`: a task with one parameter, a mapping, that is enqueued in the same transaction.
        """
        if tell is not None:
            _check_tell(name, tell)
        rule = alerts.rule(name, given, None if tell is None else tell.name)
        known = {one.name: one for one in self._desk.registry.alerts}
        if known.get(name, rule) != rule:
            raise ConfigurationError(f"there is an alert {name!r} already, and it watches something else")
        if name not in known:
            self._desk.registry.alerts.append(rule)

    def on_alert(self, name: str, **given: Unpack[AlertGiven]) -> Callable[[T], T]:
        """`alert` as a decorator of the task that is told:

        @jobs.on_alert("mail is late", queue="mail", age=300)
        @jobs.task(queue="pager")
        async def page_somebody(alert: dict[str, object]) -> None: …
        """

        def register(task: T) -> T:
            if not isinstance(task, Task):
                raise ConfigurationError(f"on_alert({name!r}) goes above @jobs.task, not on {shown(task)}")
            self.alert(name, tell=task, **given)
            return task

        return register


class DeadLetters:
    """Jobs that failed for good and have not been run again. They stay until somebody says what is to become of them,
    or for as long as `retention` says."""

    def __init__(self, desk: Counter) -> None:
        self._jobs = Managing()
        self._jobs._desk = desk

    def list(
        self, *, limit: int | None = None, after: str | None = None, **which: Unpack[Which]
    ) -> AsyncIterator[JobInfo]:
        """All of them, the newest first: see `Offpath.list`."""
        return self._jobs.list(limit=limit, after=after, **_dead(which))

    def list_sync(
        self, *, limit: int | None = None, after: str | None = None, **which: Unpack[Which]
    ) -> Iterator[JobInfo]:
        """The same, blocking."""
        return self._jobs.list_sync(limit=limit, after=after, **_dead(which))

    async def count(self, **which: Unpack[Which]) -> int:
        return await self._jobs.count(**_dead(which))

    def count_sync(self, **which: Unpack[Which]) -> int:
        return self._jobs.count_sync(**_dead(which))

    def retry(
        self, *, max_attempts: int | None = None, progress: Progress | None = None, **which: Unpack[Which]
    ) -> Bulk:
        """Run them again: see `Offpath.retry_many`. Nothing said: all of them. (One by its id: `jobs.retry(id)`.)"""
        return self._jobs.retry_many(max_attempts=max_attempts, progress=progress, **_dead(which))

    def discard(self, *, progress: Progress | None = None, **which: Unpack[Which]) -> Bulk:
        """Erase them: see `Offpath.delete_many`. (One by its id: `jobs.delete(id)`.)

        What may not be lost by a slip of the pen wants a filter; to mean all of them: `state="failed"`.
        """
        if not which:
            raise ConfigurationError('discard needs to be told which dead letters; to mean all of them: state="failed"')
        return self._jobs.delete_many(progress=progress, **_dead(which))


def _dead(which: Which) -> Which:
    states = selection.states_of(which.get("state"))
    if states and states != (State.FAILED,):
        raise ConfigurationError("dead letters are jobs that failed; for others there is jobs.list(…)")
    return {**which, "state": "failed", "outstanding": True}


def _page_of(limit: int | None, after: str | None) -> tuple[int | None, str | None]:
    if limit is not None:
        whole(limit, 1, 1_000_000_000, "limit")
    if after is not None and not is_id(after):
        raise ConfigurationError(f"after wants the id of a job, not {shown(after)}")
    return limit, after


def _next(limit: int | None) -> int:
    return LOOK if limit is None else min(LOOK, limit)


async def _listed(desk: Counter, begin: tuple[int | None, str | None], where: JobFilter) -> AsyncIterator[JobInfo]:
    left, after = begin
    while left is None or left > 0:
        asked = _next(left)
        page = await desk.store.read(desk.store.verbs.list_jobs(where, after, asked))
        infos = [info_of(one) for one in page]
        for info in infos:
            yield info
        if len(page) < asked:
            return
        left, after = None if left is None else left - asked, infos[-1].id


def _listed_sync(desk: Counter, begin: tuple[int | None, str | None], where: JobFilter) -> Iterator[JobInfo]:
    left, after = begin
    while left is None or left > 0:
        asked = _next(left)
        page = desk.store.read(desk.store.verbs.list_jobs(where, after, asked)).result()
        infos = [info_of(one) for one in page]
        yield from infos
        if len(page) < asked:
            return
        left, after = None if left is None else left - asked, infos[-1].id


def _inspection(there: Found, full: bool, retried_as: str | None) -> Inspection:
    row = there.job or there.finished
    assert row is not None  # noqa: S101
    result = None if there.finished is None else there.finished.result
    return Inspection(info_of(there), *redact.called(row.task, row.args, result, full=full), retried_as)


def _deleted(id: str, there: bool) -> None:
    if not there:
        raise NotFound(f"no job {id}")


def _check_tell(name: str, tell: Task[..., Any]) -> None:
    """It can be called with an alert of any kind."""
    for given in ({"age": 1}, {"dead_letters": 1, "within": 1}):
        try:
            tell.call(alerts.alert(alerts.rule(name, given), "raised", 1, 0, None))
        except ArgumentError as error:
            raise ConfigurationError(
                f"alert {name!r}: {tell.name} is told with one argument, a mapping (alert: dict[str, object]): {error}"
            ) from None
