"""`ctx.step(…)`: a part of a job whose result is remembered, so that it is not done again."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Generic, Protocol, get_args, get_origin

from ..codec import Value
from ..core.steps import FREE, MAX_STEPS, Asked, Script, check_name, check_version
from ..errors import ConfigurationError, LeaseLost, ResultError, StepError
from ..ports import Pending, R
from ..privacy import Vault
from .needs import hints_of, local_names, name_of


class Notebook(Protocol):
    """Where the steps of one attempt are remembered. All of it may be called from any thread, and is fenced."""

    def remembered(self) -> Pending[Sequence[Asked]]:
        """What earlier attempts have left."""
        ...

    def recall(self, name: str) -> Pending[str | None]: ...
    def remember(self, step: Asked, result: str) -> Pending[bool]:
        """True once it is durable (or will be with the job's own transaction); False: stale."""
        ...

    @property
    def vault(self) -> Vault | None:
        """What seals the secrets in them."""
        ...

    def learn(self, value: object) -> None:
        """The attempt knows the secrets in this result now."""
        ...

    def begin(self, step: Asked) -> bool:
        """May its function be called? False: it is known by now that another worker has the job."""
        ...

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        """A plain function, from the loop."""
        ...

    def on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        """A coroutine, from a thread; blocks."""
        ...


def line() -> tuple[int, object]:
    """Which line of execution we are in: the asyncio task, or the thread."""
    try:
        return 0, asyncio.current_task()
    except RuntimeError:
        return threading.get_ident(), None


class Steps:
    """The steps of one attempt, in the order in which it asks for them. Without a notebook each just runs."""

    def __init__(self, task: str, version: int, home: tuple[int, object], notebook: Notebook | None) -> None:
        self.task, self.version, self.notebook = task, version, notebook
        self._home = home
        self._lock = threading.Lock()
        self._asked: dict[str, Step[Any]] = {}
        self._count = 0
        self._failed: StepError | None = None
        self.script: Script | None = None

    def make(self, name: str, fn: Callable[..., Any], args: Any, kwargs: Any) -> Step[Any]:
        """StepError at once for a name that cannot be, or that has been used."""
        with self._lock:
            if self._failed is not None:
                raise self._failed
            try:
                asked = self._ask(name, _version(fn, kwargs))
            except StepError as error:
                self._failed = error
                raise
            step = self._asked[name] = Step(self, asked, fn, args, kwargs)
            return step

    def _ask(self, name: str, version: int) -> Asked:
        check_name(name)
        outer = _inside.get()
        if outer is not None and outer[0] is self:
            raise StepError(
                f"step {name!r} is inside step {outer[1]!r}, and is not reached once that is remembered: call "
                "one after the other"
            )
        if name in self._asked:
            raise StepError(f'two steps are called {name!r}: in a loop, give each its own, f"{name}-{{n}}"')
        if len(self._asked) >= MAX_STEPS:
            raise StepError(f"a job has at most {MAX_STEPS:,} steps")
        position = FREE
        if line() == self._home:
            self._count = position = self._count + 1
        return Asked(name, position, version, self.version)

    def fail(self, error: StepError) -> None:
        """Remember it: whoever catches it in the task must not get round it."""
        self._failed = self._failed or error

    def finish(self) -> None:
        """The task's function has returned. StepError for whatever was wrong, or is left undone."""
        if self._failed is not None:
            raise self._failed
        for step in self._asked.values():
            if step.state == "made":
                raise StepError(
                    f"step {step.asked.name!r} was never run: await it, or in a plain function call .result() on it"
                )
            if step.state == "running":
                raise StepError(f"step {step.asked.name!r} still runs although the task has ended: await it")


class Step(Coroutine[Any, Any, R], Generic[R]):
    """What `ctx.step(…)` gives: `await` it, hand it to `asyncio.gather` or `create_task`, or, in a plain function, call
    `.result()`. Only then is the function called, unless its result is remembered."""

    __slots__ = ("_coroutine", "_steps", "args", "asked", "fn", "kwargs", "state")

    def __init__(self, steps: Steps, asked: Asked, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._steps, self.asked, self.fn, self.args, self.kwargs = steps, asked, fn, args, kwargs
        self._coroutine: Coroutine[Any, Any, R] | None = None
        self.state = "made"  # then "running", then "over"

    def __repr__(self) -> str:
        return f"<step {self.asked.name!r}>"

    # -- as a coroutine -----------------------------------------------------------------------------------------------

    def _begun(self) -> Coroutine[Any, Any, R]:
        if self._coroutine is None:
            self._coroutine = self._run()
        return self._coroutine

    def __await__(self) -> Generator[Any, Any, R]:
        return self._begun().__await__()

    def send(self, value: Any, /) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        if self.state == "made":  # canceled before it could begin
            self.state = "over"
        return self._begun().throw(*error)

    def close(self) -> None:
        self.state = "over"
        self._begun().close()

    async def _run(self) -> R:
        flow = self._flow()
        proceed: Callable[[Any], Any] = flow.send
        answer: Any = None
        self.state = "running"
        try:
            while True:
                wanted = proceed(answer)
                proceed = flow.send
                try:
                    answer = await (self._call() if wanted is CALL else wanted)
                except BaseException as error:
                    proceed, answer = flow.throw, error
        except StopIteration as stop:
            result: R = stop.value
            return result
        finally:
            self.state, answer = "over", None

    # -- in a thread --------------------------------------------------------------------------------------------------

    def result(self) -> R:
        """Run it here, and block until it is done. StepError on an event loop, where it is to be awaited."""
        if line()[0] == 0:
            self.state = "over"
            error = StepError(f"step {self.asked.name!r}: on an event loop await it; .result() is for plain functions")
            self._steps.fail(error)
            raise error
        flow = self._flow()
        proceed: Callable[[Any], Any] = flow.send
        answer: Any = None
        self.state = "running"
        try:
            while True:
                wanted = proceed(answer)
                proceed = flow.send
                try:
                    answer = self._call_here() if wanted is CALL else wanted.result()
                except BaseException as error:
                    proceed, answer = flow.throw, error
        except StopIteration as stop:
            result: R = stop.value
            return result
        finally:
            self.state, answer = "over", None

    # -- what it is ---------------------------------------------------------------------------------------------------

    def _flow(self) -> Generator[Any, Any, Any]:
        """Yields what is to be waited for: a Pending, or CALL for the function."""
        steps, name = self._steps, self.asked.name
        book = steps.notebook
        if book is None:
            return (yield CALL)
        shape = _shape(self.fn, name)  # before anything is done: a result that cannot be kept is told now
        if steps.script is None:
            steps.script = Script((yield book.remembered()))
        try:
            text: str | None = (yield book.recall(name)) if steps.script.has(self.asked) else None
        except StepError as error:
            steps.fail(error)
            raise
        if text is None:
            if not book.begin(self.asked):
                raise LeaseLost(f"step {name!r} was not begun: another worker has the job by now")
            value = yield CALL
            try:
                text = shape.encode(value, book.vault)
            except ResultError as error:
                raise ResultError(_of(name, steps.task, error)) from error.__cause__
            if not (yield book.remember(self.asked, text)):
                raise LeaseLost(f"step {name!r} was done, but another worker has the job by now")
        try:
            result = shape.decode(text, book.vault)
        except ResultError as error:
            raise StepError(_of(name, steps.task, error) + ": give the step a new version, or another name") from error
        if shape.secret:
            book.learn(result)
        return result

    async def _call(self) -> Any:
        book = self._steps.notebook
        with self._entered():
            if _is_async(self.fn):
                return await self.fn(*self.args, **self.kwargs)
            call = functools.partial(self.fn, *self.args, **self.kwargs)
            value = await (asyncio.to_thread(call) if book is None else book.in_thread(call))
            return await value if inspect.isawaitable(value) else value

    def _call_here(self) -> Any:
        book = self._steps.notebook
        with self._entered():
            value = self.fn(*self.args, **self.kwargs)
            if inspect.isawaitable(value):
                work = _awaited(value)
                return asyncio.run(work) if book is None else book.on_loop(work)
            return value

    @contextlib.contextmanager
    def _entered(self) -> Generator[None]:
        token = _inside.set((self._steps, self.asked.name))
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):  # closed from another context
                _inside.reset(token)


CALL = object()
_inside: contextvars.ContextVar[tuple[Steps, str] | None] = contextvars.ContextVar("offpath.step", default=None)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _of(name: str, task: str, error: ResultError) -> str:
    return f"step {name!r} of task {task}{str(error).removeprefix('step')}"


def _version(fn: Callable[..., Any], kwargs: dict[str, Any]) -> int:
    """The `version=` that is the step's, taken out of the function's own arguments."""
    if "version" not in kwargs:
        return 1
    with contextlib.suppress(TypeError, ValueError):  # some built-in functions do not tell
        if "version" in inspect.signature(fn).parameters:
            raise StepError(
                f"{name_of(fn)} has a parameter `version` of its own, and version= is the step's: pass "
                "functools.partial(…, version=…)"
            )
    return check_version(kwargs.pop("version"))


def _bare(fn: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def _is_async(fn: Callable[..., Any]) -> bool:
    bare = _bare(fn)
    return inspect.iscoroutinefunction(bare) or inspect.iscoroutinefunction(getattr(bare, "__call__", None))  # noqa: B004


def _shape(fn: Callable[..., Any], name: str) -> Value:
    """How its result is kept: by its return annotation; without one (a lambda) as plain JSON data."""
    bare = _bare(fn)
    try:
        annotation = _returns(bare)
    except NameError as error:
        raise StepError(
            f"step {name!r}: {error}; the type that {name_of(bare)} returns must be importable at run time"
        ) from None
    try:
        try:
            return _value(annotation)
        except TypeError:  # unhashable
            return Value("step", annotation)
    except ConfigurationError as error:
        raise StepError(f"step {name!r}{str(error).removeprefix('step')}") from None


_value = functools.lru_cache(maxsize=256)(functools.partial(Value, "step"))


def _returns(fn: Callable[..., Any]) -> Any:
    if hasattr(fn, "decode_result"):  # a task
        return getattr(fn, "returns", Any)
    try:
        try:
            returns = hints_of(fn).get("return", Any)
        except NameError:  # of a function inside a function
            returns = hints_of(fn, local_names()).get("return", Any)
    except TypeError:  # what has no annotations at all
        return Any
    origin = get_origin(returns)
    if isinstance(origin, type) and issubclass(origin, Awaitable):
        return get_args(returns)[-1]
    return returns
