"""A job in the caller's hands: what `enqueue` gives back. (`core/job.py` has the row.)"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol

from ..core import call as core
from ..core.job import State
from ..errors import ConfigurationError, JobFailed, NotFound, ResultTimeout
from ..ports import Found, Hint, Pending, R
from ..privacy import Vault

if TYPE_CHECKING:
    from ..core.options import CallOptions
    from .flow import Flow

FIRST_LOOK = 0.02  # s
LAST_LOOK = 1.0  # s


class Desk(Protocol):
    """What tasks and jobs ask of the application they belong to (`app.py`, or the testing kit in its place)."""

    @property
    def vault(self) -> Vault | None:
        """What seals the secrets that are stored; None: nothing does."""
        ...

    async def submit(self, calls: Sequence[core.Call], tx: object | None) -> list[Job[Any]]: ...
    def submit_sync(self, calls: Sequence[core.Call], tx: object | None) -> list[Job[Any]]: ...
    async def submit_flow(self, flow: Flow[R], options: CallOptions, tx: object | None) -> Job[R]: ...
    def submit_flow_sync(self, flow: Flow[R], options: CallOptions, tx: object | None) -> Job[R]: ...
    def find(self, id: str) -> Pending[Found | None]: ...
    def stop(self, id: str, reason: str) -> Pending[Found | None]: ...
    def listen(self, on_hint: Callable[[Hint], None]) -> Callable[[], None]:
        """Hear hints, from any thread, until the returned function is called."""
        ...

    def decoder(self, task: str) -> Callable[[str], Any]:
        """How to read a result of this task; plain JSON when the task is not known here."""
        ...

    def encoder(self, task: str) -> Callable[[Any], str]:
        """How to write one."""
        ...


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as it stands. `state`: scheduled, waiting, ready, running, succeeded, failed or canceled.

    error        of a job that ended without a result: the stored error as plain data (see `core/outcome.py`)
    canceling    someone asked it to stop and it has not stopped yet
    """

    id: str
    task: str
    state: str
    queue: str
    priority: int
    attempt: int
    crashes: int
    run_at: datetime
    key: str | None
    owner: str | None
    retry_of: str | None
    canceling: bool
    finished_at: datetime | None
    error: dict[str, Any] | None


class Job(Generic[R]):
    """One enqueued job.

    id        canonical UUID text
    existing  True when `key` matched a live job: this is that one, and nothing was written; with `debounce`, `throttle`
              or `latest` it has taken the new arguments
    task      the task's name
    """

    __slots__ = ("_desk", "_read", "existing", "id", "task")

    def __init__(
        self, desk: Desk, id: str, task: str, existing: bool = False, read: Callable[[str], Any] | None = None
    ) -> None:
        """`read`: how to read its result; None: as its task's."""
        self._desk = desk
        self._read = read
        self.id = id
        self.task = task
        self.existing = existing

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.task}>"

    async def info(self) -> JobInfo:
        """How it stands now. NotFound once it has been forgotten."""
        return info_of(found(self.id, await self._desk.find(self.id)))

    def info_sync(self) -> JobInfo:
        """The same, blocking."""
        return info_of(found(self.id, self._desk.find(self.id).result()))

    async def cancel(self, reason: str = "cancel requested") -> JobInfo:
        """Ask it to stop; gives the job as it stands after that. One that has ended stays as it ended."""
        return info_of(found(self.id, await self._desk.stop(self.id, reason)))

    def cancel_sync(self, reason: str = "cancel requested") -> JobInfo:
        """The same, blocking."""
        return info_of(found(self.id, self._desk.stop(self.id, reason).result()))

    async def result(self, timeout: float | None = None) -> R:
        """Wait until it has ended, at most `timeout` seconds (None = for ever), and give its result.

        None when the result was not kept. JobFailed when it failed or was canceled, ResultTimeout when the time is
        up, NotFound when there is no such job. A job in a transaction of yours that is still open is not found.
        """
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        looks = _Looks(self.id, timeout)
        with self._listening(looks, lambda: loop.call_soon_threadsafe(woken.set)):
            while True:
                woken.clear()
                looks.begin()
                there = found(self.id, await self._desk.find(self.id))
                if there.finished is not None:
                    return self._outcome(there)
                pause = looks.pause()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), pause)
                await asyncio.sleep(looks.gap())

    def result_sync(self, timeout: float | None = None) -> R:
        """The same, blocking. Not on an event loop: it would stand still."""
        woken = threading.Event()
        looks = _Looks(self.id, timeout)
        with self._listening(looks, woken.set):
            while True:
                woken.clear()
                looks.begin()
                there = found(self.id, self._desk.find(self.id).result())
                if there.finished is not None:
                    return self._outcome(there)
                woken.wait(looks.pause())
                time.sleep(looks.gap())

    @contextlib.contextmanager
    def _listening(self, looks: _Looks, wake: Callable[[], Any]) -> Iterator[None]:
        def heard(hint: Hint) -> None:
            if hint.kind == "event" and self.id in hint.names:
                looks.urgent = True
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                wake()

        stop = self._desk.listen(heard)
        try:
            yield
        finally:
            stop()

    def _outcome(self, there: Found) -> R:
        ended = there.finished
        assert ended is not None  # noqa: S101
        if ended.state is State.SUCCEEDED:
            read = self._read or self._desk.decoder(ended.task)
            value: R = None if ended.result is None else read(ended.result)  # type: ignore[assignment]
            return value
        raise JobFailed(self.id, ended.state.name.lower(), json.loads(ended.error) if ended.error else {})


class _Looks:
    """When to look at the store again. Only operations announce themselves: of a plain job the look is the news, made
    when any hint says that something happened, and otherwise less and less often."""

    def __init__(self, job: str, timeout: float | None) -> None:
        if timeout is not None and not timeout >= 0:
            raise ConfigurationError(f"timeout must be 0 seconds or more, not {timeout!r}")
        self._job = job
        self._timeout = timeout
        self._start = self._last = time.monotonic()
        self.urgent = False  # a hint named this very job

    def begin(self) -> None:
        self._last = time.monotonic()
        self.urgent = False

    def pause(self) -> float:
        """Seconds to wait for a hint after a look; ResultTimeout when there are none left."""
        waited = time.monotonic() - self._start
        pause = min(LAST_LOOK, max(FIRST_LOOK, waited / 10))
        if self._timeout is None:
            return pause
        if waited >= self._timeout:
            raise ResultTimeout(f"job {self._job} has not ended within {self._timeout:g} s; it goes on")
        return min(pause, self._timeout - waited)

    def gap(self) -> float:
        """Seconds still to wait after a hint about something else: a busy database is not asked at every commit."""
        if self.urgent:
            return 0.0
        now = time.monotonic()
        gap = min(LAST_LOOK, max(FIRST_LOOK, (now - self._start) / 50))
        if self._timeout is not None:
            gap = min(gap, self._start + self._timeout - self._last)
        return max(0.0, self._last + gap - now)


def found(id: str, there: Found | None) -> Found:
    """NotFound instead of None."""
    if there is None:
        raise NotFound(f"no job {id}")
    return there


def info_of(there: Found) -> JobInfo:
    """A row, live or of history, as users read it."""
    row = there.job or there.finished
    assert row is not None  # noqa: S101
    live, ended = there.job, there.finished
    return JobInfo(
        id=row.id,
        task=row.task,
        state=State(row.state).name.lower(),
        queue=row.queue,
        priority=row.priority,
        attempt=row.attempt,
        crashes=row.crashes,
        run_at=at(row.run_at),
        key=row.key,
        owner=row.owner,
        retry_of=row.retry_of,
        canceling=live is not None and live.cancel_at is not None,
        finished_at=at(ended.finished_at) if ended else None,
        error=json.loads(ended.error) if ended and ended.error else None,
    )


def at(micros: int) -> datetime:
    """µs since the epoch as an aware datetime."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
