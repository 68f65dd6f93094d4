"""What tasks are given instead of passed: recipes, worked out when the worker starts, followed once per attempt.

A provider lives as long as the worker (opened when first needed, closed when the worker stops) or as long as one
attempt. FastAPI's `Depends` functions are attempt providers. Plain providers of a coroutine run on the loop; those of a
plain function run in its thread, before and after it, because many a connection may only be used where it was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, get_origin

from ..errors import ConfigurationError
from ..tasks import Lifetime, Need, Registry, Task, kind_of, name_of, needs_of
from . import drivers

_ASYNC = frozenset({"coroutine", "async generator"})
_OF_A_REQUEST = frozenset({"Request", "HTTPConnection", "WebSocket", "Response", "BackgroundTasks", "SecurityScopes"})


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How to make one value; compared by identity: the same recipe is followed once per attempt (or worker)."""

    fn: Callable[..., Any]
    kind: str
    lifetime: Lifetime
    needs: Mapping[str, Recipe]

    @property
    def on_loop(self) -> bool:
        """It can only be followed on the loop."""
        return self.kind in _ASYNC or self.lifetime == "worker"


class Wanted(NamedTuple):
    """What one task is given: by parameter, and `ctx.deps`; `transaction`: the one whose commit settles the job."""

    parameters: Mapping[str, Recipe]
    deps: Recipe | None
    transaction: str | None = None

    @property
    def any(self) -> bool:
        return bool(self.parameters) or self.deps is not None


class Recipes:
    """The recipes of every task of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._recipes: dict[Any, Recipe] = {}

    def check(self) -> None:
        """Work out all of them. ConfigurationError names the task and the parameter that cannot be given."""
        for name in self._registry.names():
            if (task := self._registry.get(name)) is not None:
                self.of(task)

    def of(self, task: Task[..., Any]) -> Wanted:
        parameters = {
            name: self._recipe(need, (f"task {task.name}: parameter {name!r}",)) for name, need in task.needs.items()
        }
        deps = None
        if task.context_deps is not None and task.context_deps in self._registry.providers:
            deps = self._recipe(Need(task.context_deps), (f"task {task.name}: its Context",))
        elif isinstance(task.context_deps, type) and task.context_deps not in (object, type(None)):
            raise ConfigurationError(
                f"task {task.name}: its Context asks for {_shown(task.context_deps)}, and nothing provides that: "
                "write a function that returns it and decorate it with @jobs.provider"
            )
        return Wanted(parameters, deps, self._transaction(task, parameters))

    def _transaction(self, task: Task[..., Any], parameters: Mapping[str, Recipe]) -> str | None:
        """The parameter with `transaction=True`. ConfigurationError when it cannot be one transaction with the job."""
        marked = [name for name, need in task.needs.items() if need.transaction]
        if not marked:
            return None
        name, *more = marked
        where = f"task {task.name}: parameter {name!r} is provided(transaction=True)"
        if more:
            raise ConfigurationError(
                f"{where}, and {more[0]!r} is too: one commit settles a job, so mark one of them, and let what else "
                "writes with it need the same session"
            )
        recipe = parameters[name]
        if recipe.lifetime == "worker":
            raise ConfigurationError(
                f"{where}, but {name_of(recipe.fn)} makes it once for the whole worker: an attempt needs one of its "
                'own, @jobs.provider(lifetime="attempt")'
            )
        kind = task.needs[name].type
        cls = get_origin(kind) or kind
        if isinstance(cls, type) and cls is not object and not getattr(cls, "_is_protocol", False):
            known = drivers.kind_of(cls)
            if known is None:
                raise ConfigurationError(
                    f"{where}, but {_shown(cls)} has no transaction that can be the job's: {drivers.KINDS}"
                )
            if known.asynchronous and task.executor == "thread":
                raise ConfigurationError(
                    f"{where}, but a plain function cannot await {_shown(cls)}: make the task `async def`, or give it "
                    "a synchronous session"
                )
        return name

    def _recipe(self, need: Need, path: tuple[str, ...]) -> Recipe:
        where = ", for ".join(reversed(path))
        if need.depends is None:
            provider = self._registry.providers.get(need.type)
            if provider is None:
                raise ConfigurationError(_missing(where, need.type))
            fn, kind, lifetime = provider.fn, str(provider.kind), provider.lifetime
            wants: Mapping[str, Need] = provider.needs
        else:
            fn, kind, lifetime = need.depends, kind_of(need.depends), "attempt"
            wants = _needs(need.depends, where)
        if need.cached and (known := self._recipes.get(fn)) is not None:
            return known
        name = name_of(fn)
        step = f"parameter {{!r}} of {name}"
        if any(f" of {name}" in part for part in path):
            raise ConfigurationError(f"{where}: {name} needs itself")
        needs = {n: self._recipe(wanted, (*path, step.format(n))) for n, wanted in wants.items()}
        if lifetime == "worker" and (short := next((n for n, r in needs.items() if r.lifetime == "attempt"), None)):
            raise ConfigurationError(
                f"{where}: {name} lives as long as the worker, but its parameter {short!r} only as long as one attempt"
            )
        recipe = Recipe(fn, kind, lifetime, needs)
        if need.cached:
            self._recipes[fn] = recipe
        return recipe


def _needs(fn: Callable[..., Any], where: str) -> Mapping[str, Need]:
    """The needs of a `Depends` function; ConfigurationError when it reads a request."""
    for parameter in _parameters(fn):
        if type(parameter.default).__module__ == "fastapi.params" and not hasattr(parameter.default, "dependency"):
            raise ConfigurationError(
                f"{where}: {name_of(fn)} reads {parameter.name!r} from an HTTP request, and a job has none; pass the "
                "value to the task as an argument"
            )
    try:
        return needs_of(fn, every=True)
    except (ConfigurationError, NameError, TypeError) as error:
        raise ConfigurationError(f"{where}: {name_of(fn)}: {error}") from None


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return []


def _missing(where: str, kind: Any) -> str:
    if getattr(kind, "__name__", "") in _OF_A_REQUEST and str(getattr(kind, "__module__", "")).startswith(
        ("starlette.", "fastapi.")
    ):
        return (
            f"{where} needs an HTTP {kind.__name__}, and a job has none; write a dependency without it for the task, "
            "or pass what it reads as an argument"
        )
    return (
        f"{where} needs {_shown(kind)}, and nothing provides that: write a function that returns it and decorate it "
        "with @jobs.provider"
    )


def _shown(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else repr(kind)


class Shared:
    """Values that live as long as the worker: opened when first needed, closed in reverse order."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._values: dict[Recipe, Any] = {}
        self._opening = asyncio.Lock()

    async def get(self, recipe: Recipe) -> Any:
        if recipe in self._values:
            return self._values[recipe]
        async with self._opening:
            return await self._open(recipe)

    async def _open(self, recipe: Recipe) -> Any:
        if recipe not in self._values:
            given = {name: await self._open(need) for name, need in recipe.needs.items()}
            self._values[recipe] = await _follow(recipe, given, self._stack)
        return self._values[recipe]

    async def close(self) -> None:
        self._values.clear()
        await self._stack.aclose()


class Scope:
    """The values of one attempt. Leave it with the attempt's exception, so that providers can roll back."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._values: dict[Recipe, Any] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Scope:
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> bool:
        return bool(await self._stack.__aexit__(*exc))

    async def get(self, recipe: Recipe) -> Any:
        """Follow the recipe on the loop."""
        if recipe.lifetime == "worker":
            return await self._shared.get(recipe)
        if recipe not in self._values:
            given = {name: await self.get(need) for name, need in recipe.needs.items()}
            self._values[recipe] = await _follow(recipe, given, self._stack)
        return self._values[recipe]

    async def prepare(self, recipe: Recipe) -> None:
        """Follow only what a thread could not."""
        if recipe.lifetime == "worker":
            self._values[recipe] = await self._shared.get(recipe)
        elif recipe.on_loop:
            await self.get(recipe)
        else:
            for need in recipe.needs.values():
                await self.prepare(need)

    def here(self, recipe: Recipe, stack: contextlib.ExitStack) -> Any:
        """Follow what `prepare` has left, in this thread."""
        if recipe not in self._values:
            given = {name: self.here(need, stack) for name, need in recipe.needs.items()}
            if recipe.kind == "generator":
                self._values[recipe] = stack.enter_context(contextlib.contextmanager(recipe.fn)(**given))
            else:
                self._values[recipe] = recipe.fn(**given)
        return self._values[recipe]


async def _follow(recipe: Recipe, given: dict[str, Any], stack: contextlib.AsyncExitStack) -> Any:
    match recipe.kind:
        case "coroutine":
            return await recipe.fn(**given)
        case "generator":
            return stack.enter_context(contextlib.contextmanager(recipe.fn)(**given))
        case "async generator":
            return await stack.enter_async_context(contextlib.asynccontextmanager(recipe.fn)(**given))
        case _:
            return recipe.fn(**given)
