"""`offpath completion SHELL`: a script with which a shell completes commands, flags and their choices (by shtab), and
in bash and zsh the names of queues, tasks and schedules, when OFFPATH_APP or OFFPATH_DATABASE say where they are.

Names are asked for by calling `offpath completion --names KIND` (a third of a second), only when TAB is pressed where
one belongs. What a shell might take for more than a name is left out: `compgen -W` expands its words.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from ..errors import MissingExtraError
from . import printing
from .target import opened

SHELLS = ("bash", "zsh", "tcsh", "fish")
KINDS = ("queues", "tasks", "schedules")
MOST = 1_000
_NAME = re.compile(r"[A-Za-z0-9_.@+/-]{1,128}")

_PREAMBLE = {
    "bash": "".join(
        f'_offpath_{kind}() {{\n  compgen -W "$(offpath completion bash --names {kind} 2>/dev/null)" -- "$1"\n}}\n'
        for kind in KINDS
    ),
    "zsh": "".join(
        f"_offpath_{kind}() {{\n  local -a names\n"
        f'  names=(${{(f)"$(offpath completion zsh --names {kind} 2>/dev/null)"}})\n'
        f"  compadd -a names\n}}\n"
        for kind in KINDS
    ),
}


def run(options: argparse.Namespace) -> int:
    """Print the script; with --names the names of one kind, or nothing where they cannot be had."""
    if options.names is not None:
        for name in _names(options):
            print(name)
        return 0
    text = script(options.shell)
    if options.json:
        printing.as_json(text)
    else:
        print(text)
    return 0


def script(shell: str) -> str:
    """MissingExtraError without shtab."""
    try:
        import shtab
    except ImportError as error:
        raise MissingExtraError("shell completion", "cli") from error
    with unsaid() as parser:
        _mark(parser)
    preamble: Any = _PREAMBLE  # by shell; shtab says that it wants a text
    return str(shtab.complete(parser, shell, preamble=preamble))


@contextlib.contextmanager
def unsaid() -> Iterator[argparse.ArgumentParser]:
    """The command line without what this machine's OFFPATH_* variables say in it."""
    from .parser import build

    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OFFPATH_")}
    try:
        yield build()
    finally:
        os.environ.update(kept)


def _mark(parser: argparse.ArgumentParser) -> None:
    """What `flags.completed` has said, as shtab wants it."""
    import shtab

    for action in parser._actions:
        kind = getattr(action, "names", "")
        if isinstance(kind, str) and kind in KINDS:
            action.complete = {"bash": f"_offpath_{kind}", "zsh": f"_offpath_{kind}"}  # type: ignore[attr-defined]
        elif action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _mark(below)


def _names(options: argparse.Namespace) -> list[str]:
    """Never an error: a shell is waiting."""
    names: set[str] = set()
    with contextlib.suppress(Exception), opened(options) as jobs:
        store = jobs.store
        if options.names == "queues":
            names = jobs.queues.known() | store.read(store.verbs.filled()).result()
        elif options.names == "tasks":
            known = store.read(store.verbs.known_tasks()).result()
            names = {name.rpartition("@")[0] for name in known} | set(jobs.registry.names())
        else:
            names = {found.name for found in jobs.schedules.list().result()} | set(jobs.registry.schedules)
    return sorted(name for name in names if _NAME.fullmatch(name))[:MOST]
