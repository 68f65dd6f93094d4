"""A worker that dies: what `crash_everywhere` puts around the real store and the user's functions. Everything else is
the real thing; once it is dead, nothing of what it says arrives."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from typing import Any, Generic

from ..core.change import Change
from ..core.steps import Asked
from ..ports import Exchanged, Pending, R, Store, Verb, Verdict, Want
from ..privacy import Vault
from ..tasks import Context
from ..tasks.steps import Notebook

_task: contextvars.ContextVar[tuple[Death, str] | None] = contextvars.ContextVar("offpath.mortal", default=None)


class Killed(BaseException):
    """The worker of this attempt has died. No `except Exception` catches it."""


class Cut(Exception):
    """The same inside of the job's own transaction, where no code of the user's runs: the engine rolls back, as the
    database does when its client is gone."""


class Death:
    """One worker's. `past`: the points at which others have died; it dies at the first that is not among them."""

    def __init__(self, past: set[str]) -> None:
        self.point = ""
        self.worker = ""
        self.then: Callable[[], object] = lambda: None
        self._past = past
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, point: str) -> bool:
        """At this point now. True: dead, at it or before."""
        with self._lock:
            if self.point:
                return True
            self._counts[point] += 1
            nth = self._counts[point]
            named = point if nth == 1 else f"{point} ({nth})"
            if named in self._past:
                return False
            self._past.add(named)
            self.point = named
        self.then()
        return True

    def __call__(self, point: str) -> None:
        """The same; raises Killed."""
        if self.reach(point):
            raise Killed(self.point)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear of the commits of SQLAlchemy's sessions, where there is SQLAlchemy."""
        if "sqlalchemy.orm" not in sys.modules:
            yield
            return
        from sqlalchemy import event
        from sqlalchemy.orm import Session

        def before(session: Any) -> None:
            self._session("commits")

        def after(session: Any) -> None:
            self._session("has committed")

        event.listen(Session, "before_commit", before)
        event.listen(Session, "after_commit", after)
        try:
            yield
        finally:
            event.remove(Session, "before_commit", before)
            event.remove(Session, "after_commit", after)

    def _session(self, what: str) -> None:
        mine = _task.get()
        if mine is not None and mine[0] is self:
            self(f"a session of {mine[1]} {what}")


class MortalStore:
    """The store as this worker sees it."""

    def __init__(self, store: Store, death: Death) -> None:
        self._store, self._death = store, death
        self._asked = False
        self._tasks: dict[str, str] = {}  # by job
        self.verbs = MortalVerbs(store.verbs, death, self._tasks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def exchange(self, worker: str, changes: Sequence[Change], want: Want | None) -> Exchanged:
        death = self._death
        death.worker = worker
        refused: list[Verdict] = ["stale"] * len(changes)
        dead = Exchanged(refused, [], full=False, alive=False)
        if death.point:
            return dead
        if want is not None and not self._asked:
            self._asked = True
            if death.reach("nothing is claimed yet"):
                return dead
        if any(death.reach(f"{self._of(change)} has ended and is not settled") for change in changes):
            return dead
        answer = await self._store.exchange(worker, changes, want)
        if any(death.reach(f"{self._of(change)} is settled, which its worker never hears") for change in changes):
            return dead
        self._tasks.update((job.id, job.task) for job in answer.claimed)
        if any(death.reach(f"{job.task} is claimed and has not begun") for job in answer.claimed):
            return dead
        return answer

    def released(self, worker: str, job: str) -> None:
        self._death.reach(f"{self._tasks.get(job, 'a task')} has committed its own transaction")
        self._store.released(worker, job)

    def _of(self, change: Change) -> str:
        return self._tasks.get(change.id, "a task")


class MortalVerbs:
    def __init__(self, verbs: Any, death: Death, tasks: dict[str, str]) -> None:
        self._verbs, self._death, self._tasks = verbs, death, tasks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._verbs, name)

    def settle_one(self, worker: str, change: Change) -> Verb[Any]:
        task = self._tasks.get(change.id, "a task")
        if self._death.reach(f"{task} has returned and is not settled in its own transaction"):
            raise Cut(self._death.point)
        answer = yield from self._verbs.settle_one(worker, change)
        if self._death.reach(f"{task} is settled in its own transaction and that is not committed"):
            raise Cut(self._death.point)
        return answer


class After(Generic[R]):
    """A Pending, and what happens when its result is there."""

    def __init__(self, pending: Pending[R], then: Callable[[], None]) -> None:
        self._pending, self._then = pending, then

    def __await__(self) -> Generator[Any, None, R]:
        value = yield from self._pending.__await__()
        self._then()
        return value

    def result(self, timeout: float | None = None) -> R:
        value = self._pending.result(timeout)
        self._then()
        return value


class MortalNotebook:
    """See `tasks.steps.Notebook`."""

    def __init__(self, book: Notebook, task: str, death: Death) -> None:
        self._book, self._task, self._death = book, task, death

    def remembered(self) -> Pending[Sequence[Asked]]:
        return self._book.remembered()

    def recall(self, name: str) -> Pending[str | None]:
        return self._book.recall(name)

    @property
    def vault(self) -> Vault | None:
        return self._book.vault

    def learn(self, value: object) -> None:
        self._book.learn(value)

    def begin(self, step: Asked) -> bool:
        self._death(f"{self._task} is about to do step {step.name!r}")
        return self._book.begin(step)

    def remember(self, step: Asked, result: str) -> Pending[bool]:
        self._death(f"{self._task} has done step {step.name!r}, which is not remembered")
        said = f"{self._task} has remembered step {step.name!r}"
        return After(self._book.remember(step, result), lambda: self._death(said))

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        return await self._book.in_thread(call)

    def on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._book.on_loop(work)


def mortal(fn: Callable[..., Any], task: str, death: Death) -> Callable[..., Any]:
    """The function of a task, whose context leads to the points."""

    def arm(args: tuple[Any, ...]) -> None:
        _task.set((death, task))  # in the attempt's own context, and until its end
        if not args or not isinstance(args[0], Context):
            return
        ctx: Context[Any] = args[0]
        if (book := ctx._notebook) is not None:
            ctx._notebook = lambda: MortalNotebook(book(), task, death)
        ctx._sink = _heard(ctx._sink, f"{task} tells its progress", death)
        ctx._outputs = _heard(ctx._outputs, f"{task} emits an event", death)

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            arm(args)
            return await fn(*args, **kwargs)

        return coroutine

    @functools.wraps(fn)
    def plain(*args: Any, **kwargs: Any) -> Any:
        arm(args)
        return fn(*args, **kwargs)

    return plain


def _heard(sink: Callable[[str], Pending[bool]], point: str, death: Death) -> Callable[[str], Pending[bool]]:
    def hear(line: str) -> Pending[bool]:
        death(point)
        return sink(line)

    return hear
