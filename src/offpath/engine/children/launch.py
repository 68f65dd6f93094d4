"""How a child is started: a new interpreter, and a first frame that says what to import.

Jobs name their tasks, never a module: what is imported is what this worker itself has imported, by the places in the
source where tasks, providers and context variables were declared.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError
from ...settings import Settings
from ...tasks import Registry
from . import logs
from .wire import Message

MAIN = "__main__"


def boot(registry: Registry, settings: Settings) -> Message:
    """The first frame. ConfigurationError when no other process could import one of the modules."""
    homes = registry.homes()
    main = _main() if MAIN in homes else None
    return {
        "say": "boot",
        "parent": os.getpid(),
        "boot": registry.boot,
        "modules": homes,
        "path": [root for name in homes if (root := _root(name)) is not None],
        "main": main,
        "tasks": [name for name in registry.names() if (task := registry.get(name)) and task.executor == "process"],
        "url": settings.url,
        "arguments": sys.argv,
    }


def refreshed(message: Message) -> Message:
    """What may have changed since: the levels of logging."""
    return {**message, "logging": logs.levels()}


def _root(name: str) -> str | None:
    """The folder from which this module can be imported by its name: whoever imported it here may have had other ways
    (pytest does). It is looked at last."""
    file = getattr(sys.modules.get(name), "__file__", None)
    parts = name.split(".")
    if name == MAIN or not file:
        return None
    path = Path(os.path.abspath(file))
    path = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return str(path.parents[len(parts) - 1]) if list(path.parts[-len(parts) :]) == parts else None


def _main() -> dict[str, Any]:
    """How another process finds the module that this one was started with."""
    module: Any = sys.modules[MAIN]
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name:  # python -m shop.worker
        return {"name": spec.name}
    file = getattr(module, "__file__", None)
    if file and Path(file).is_file():  # python shop.py
        return {"path": os.path.abspath(file)}
    raise ConfigurationError(
        'a task with executor="process" was declared where no other process could import it (an interactive session, '
        "`python -c`, a notebook): put it into a module"
    )


def command(line: int) -> list[str]:
    """A new interpreter with our flags and our path, that talks over the descriptor `line`."""
    path = [os.path.abspath(entry) if entry == "" else entry for entry in sys.path]
    code = f"import sys; sys.path[:] = {path!a}; from offpath.app.child import main; main({line})"
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()  # as multiprocessing does
    return [sys.executable, *(flag for flag in flags if not flag.startswith("-W")), "-c", code, "offpath-child"]
