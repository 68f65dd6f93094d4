"""What a task is given instead of passed: providers, and the parameters that ask for them."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from ..errors import ConfigurationError

Lifetime = Literal["worker", "attempt"]


class Provided:
    """The mark of a parameter that a worker fills in; `transaction`: its transaction is also the job's."""

    __slots__ = ("transaction",)

    def __init__(self, transaction: bool = False) -> None:
        self.transaction = transaction

    def __repr__(self) -> str:
        return "provided(transaction=True)" if self.transaction else "provided()"


_PROVIDED, _TRANSACTION = Provided(), Provided(transaction=True)


def provided(*, transaction: bool = False) -> Any:
    """The default of a parameter that is given by a provider and never passed: `pool: Pool = provided()`.

    The annotated type says which provider, or `Annotated[Session, Depends(get_session)] = provided()` names it.

    `session: AsyncSession = provided(transaction=True)` makes one transaction of what the task writes there and of its
    success: the worker begins it, notes in it that the job is done once the function has returned, and commits. So the
    writes happen once, however often the job is delivered. One such parameter per task; the provider makes it for each
    attempt, on the jobs' own database, and the task must neither commit nor roll back (savepoints are its own).
    """
    return _TRANSACTION if transaction else _PROVIDED


@dataclass(frozen=True, slots=True)
class Need:
    """One parameter that is provided.

    type         the annotated type: a provider with this return annotation serves it
    depends      the function inside `Depends(...)`, which serves it instead; None when there is none
    cached       whether one attempt may share its value (`Depends(..., use_cache=True)`, the default)
    transaction  whether the commit of its transaction also settles the job
    """

    type: Any
    depends: Callable[..., Any] | None = None
    cached: bool = True
    transaction: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """A function that makes something tasks need.

    provides  the type it serves, from its return annotation
    lifetime  "worker": made once by each worker, closed when it stops; "attempt": made for each attempt
    kind      how to call it; of a generator, what follows the `yield` is the closing
    needs     its own parameters, provided in turn
    """

    fn: Callable[..., Any]
    provides: Any
    lifetime: Lifetime
    kind: ProviderKind
    needs: Mapping[str, Need]


ProviderKind = Literal["function", "coroutine", "generator", "async generator"]

_YIELDING: tuple[Any, ...] = (Generator, Iterator, Iterable, AsyncGenerator, AsyncIterator, AsyncIterable)


def provider_of(fn: Callable[..., Any], lifetime: Lifetime, names: Mapping[str, Any] | None = None) -> Provider:
    """A user's function as a Provider; ConfigurationError when it does not say what it returns.

    `names` are local names its annotations may use.
    """
    if lifetime not in ("worker", "attempt"):
        raise ConfigurationError(f'lifetime must be "worker" or "attempt", not {lifetime!r}')
    hints = hints_of(fn, names)
    kind = kind_of(fn)
    provides = hints.get("return")
    if kind in ("generator", "async generator") and get_origin(provides) in _YIELDING:
        provides = get_args(provides)[0]
    if get_origin(provides) is Annotated:
        provides = get_args(provides)[0]
    if provides in (None, type(None), Any):
        raise ConfigurationError(f"provider {name_of(fn)} needs a return annotation: the type that tasks will ask for")
    return Provider(fn, provides, lifetime, kind, needs_of(fn, hints, every=True))


def kind_of(fn: Callable[..., Any]) -> ProviderKind:
    """How to call a provider or a Depends function; a callable object is judged by its `__call__`."""
    target = fn if inspect.isroutine(fn) or inspect.isclass(fn) else getattr(fn, "__call__", fn)  # noqa: B004
    if inspect.isasyncgenfunction(target):
        return "async generator"
    if inspect.isgeneratorfunction(target):
        return "generator"
    if inspect.iscoroutinefunction(target):
        return "coroutine"
    return "function"


def needs_of(fn: Callable[..., Any], hints: Mapping[str, Any] | None = None, *, every: bool = False) -> dict[str, Need]:
    """The provided parameters of a function.

    `every`: parameters without a default count too (of providers and Depends functions: nobody passes them anything).
    """
    if hints is None:
        hints = hints_of(fn)
    needs: dict[str, Need] = {}
    for name, parameter in inspect.signature(fn).parameters.items():
        need = need_of(parameter, hints.get(name, Any), every=every)
        if need is None:
            continue
        if need.transaction:
            raise ConfigurationError(
                f"{name_of(fn)}: parameter {name!r} is provided(transaction=True), and only a task's own parameter may "
                "be; leave the mark out here: whatever needs that type in the same attempt is given the same one"
            )
        needs[name] = need
    return needs


def need_of(parameter: inspect.Parameter, annotation: Any, *, every: bool = False) -> Need | None:
    """What this parameter needs, or None when it is passed like any other.

    `Depends(f)` is recognised by what it has (`.dependency`), so FastAPI is not imported here.
    """
    kind: Any = annotation
    marks: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        kind, *rest = get_args(annotation)
        marks = tuple(rest)
    depends = next((m for m in (parameter.default, *marks) if _is_depends(m)), None)
    marked = [m for m in (parameter.default, *marks) if isinstance(m, Provided)]
    transaction = any(m.transaction for m in marked)
    if depends is not None:
        function = depends.dependency or (kind if callable(kind) else None)
        return Need(kind, function, bool(getattr(depends, "use_cache", True)), transaction)
    if marked:
        if kind is Any:
            raise ConfigurationError(f"parameter {parameter.name!r} is provided() and needs the annotation of a type")
        return Need(kind, transaction=transaction)
    if every and parameter.default is inspect.Parameter.empty:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            return None
        if kind is Any:
            raise ConfigurationError(f"parameter {parameter.name!r} has no annotation: nothing says what to give it")
        return Need(kind)
    return None


def _is_depends(value: object) -> bool:
    dependency = getattr(value, "dependency", value)
    return dependency is not value and (dependency is None or callable(dependency))


def hints_of(fn: Callable[..., Any], names: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Annotations of a function, resolved, with `Annotated` kept. NameError when a name does not exist (yet)."""
    target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004
    if inspect.isclass(fn):
        hints = typing.get_type_hints(fn.__init__, localns=dict(names or {}), include_extras=True)
        return {**hints, "return": fn}
    return typing.get_type_hints(target, localns=dict(names or {}), include_extras=True)


def name_of(fn: object) -> str:
    """For messages: how the function is called in the source."""
    return getattr(fn, "__qualname__", None) or repr(fn)


def declaring() -> tuple[str, str]:
    """Where the decorator stands (outside of this package): the name of the module, and file and line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "offpath":
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "__main__")), f"{frame.f_code.co_filename}:{frame.f_lineno}"


def local_names() -> dict[str, Any]:
    """Local names where the decorator stands (outside of this package), which annotations inside a function may use."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "offpath":
        frame = frame.f_back
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
