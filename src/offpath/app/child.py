"""The first lines of a child (see `engine/children`): find the application again, then make attempts for its worker."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from ..core.call import Call
from ..core.options import CallOptions
from ..engine import children
from ..engine.children.inside import Line, serve, settle_in
from ..engine.children.launch import MAIN
from ..errors import ConfigurationError
from ..ports import Found
from ..ports.outbox import NewEvent
from ..tasks import Flow, Job, Registry
from . import desk

R = TypeVar("R")

ALIAS = "__offpath_main__"  # what the worker's `__main__` is called here, so that its guard holds


def main(fd: int) -> None:
    """Talk to the worker over the descriptor `fd` until it is done with us."""
    children.in_child = True
    line = Line(fd)
    boot = line.receive()
    if boot is None:
        return
    settle_in(boot["parent"])
    try:
        registry = load(boot)
    except BaseException as error:  # an application may even call sys.exit while it is imported
        line.send({"say": "unready", "why": _why(error)})
        os._exit(1)
    serve(line, registry, boot)


def load(boot: dict[str, Any]) -> Registry:
    """Import what the worker has imported. ConfigurationError when its tasks are not there then."""
    sys.argv[:] = boot["arguments"]
    sys.path.extend(folder for folder in dict.fromkeys(boot["path"]) if folder not in sys.path)
    if boot["boot"]:
        module, _, function = boot["boot"].partition(":")
        getattr(importlib.import_module(module), function)()
    desk.importing = refusing = _Refusing()
    try:
        for name in boot["modules"]:
            if name == MAIN:
                _main(boot["main"])
            else:
                importlib.import_module(name)
    finally:
        desk.importing = None
        for counter in desk.counters():
            if counter.instead is refusing:
                counter.instead = None
    found = [counter for counter in desk.counters() if _has(counter.registry, boot["tasks"])]
    if not found:
        raise ConfigurationError(
            f"importing {', '.join(boot['modules'])} does not declare {', '.join(boot['tasks'])}: a task with "
            'executor="process" must be declared when its module is imported, not by a call that only the worker makes'
        )
    if len(found) > 1:
        raise ConfigurationError(
            f"{len(found)} Offpath objects have the tasks {', '.join(boot['tasks'])}, and a process cannot tell which "
            "one its worker works for: give each its own module"
        )
    (counter,) = found
    if counter.settings.url != boot["url"]:
        counter.use(boot["url"])
    return counter.registry


class _Refusing:
    """In the place of every store while the application is imported (see `Counter.instead`)."""

    async def submit(self, calls: Sequence[Call], tx: object | None = None) -> list[Job[Any]]:
        return self.submit_sync(calls, tx)

    def submit_sync(self, calls: Sequence[Call], tx: object | None = None) -> NoReturn:
        raise ConfigurationError(
            'a process for tasks (executor="process") imports this module to find them, and that enqueues jobs: '
            'put what enqueues them under `if __name__ == "__main__":`'
        )

    async def submit_flow(self, flow: Flow[R], options: CallOptions, tx: object | None = None) -> Job[R]:
        self.submit_sync((), tx)

    def submit_flow_sync(self, flow: Flow[R], options: CallOptions, tx: object | None = None) -> Job[R]:
        self.submit_sync((), tx)

    async def publish(self, events: Sequence[NewEvent], tx: object | None = None) -> list[Job[None]]:
        self.submit_sync((), tx)

    def publish_sync(self, events: Sequence[NewEvent], tx: object | None = None) -> list[Job[None]]:
        self.submit_sync((), tx)

    def all_found(self) -> list[Found]:
        return []


def _has(registry: Registry, names: list[str]) -> bool:
    return all((task := registry.get(name)) is not None and task.executor == "process" for name in names)


def _main(told: dict[str, str]) -> None:
    if "name" in told:
        importlib.import_module(told["name"])
        return
    spec = importlib.util.spec_from_file_location(ALIAS, told["path"])
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    sys.modules[ALIAS] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _why(error: BaseException) -> str:
    """What went wrong and where, in one line."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    at = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames and frames[-1].filename != __file__ else ""
    return f"{type(error).__name__}: {error}{at}"
