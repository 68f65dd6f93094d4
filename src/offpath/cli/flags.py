"""What commands have in common: where the jobs are, `--json`, filters, and help that shows how."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

from ..core.job import State

Run = Callable[[argparse.Namespace], int]
STATES = [state.name.lower() for state in State]


def add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Run,
    text: str,
    *examples: str,
) -> argparse.ArgumentParser:
    """A command, with its function in `run`. `examples`: what follows `offpath`, as one types it."""
    command = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog="examples:\n" + "\n".join(f"  offpath {one}" for one in examples) if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where(command, here=False)
    command.set_defaults(run=run, command=command)
    return command


def group(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """A command that has commands of its own."""
    made = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return made.add_subparsers(title="commands", metavar="COMMAND", required=True)


def where(parser: argparse.ArgumentParser, *, here: bool) -> None:
    """The flags that may stand before the command or after it; only before it do they have a default."""
    missing = argparse.SUPPRESS
    parser.add_argument(
        "--app",
        metavar="MODULE:ATTR",
        default=os.environ.get("OFFPATH_APP") if here else missing,
        help="your Offpath object, as in shop.tasks:jobs (OFFPATH_APP)",
    )
    parser.add_argument(
        "--app-dir",
        metavar="DIR",
        default="." if here else missing,
        help="look for that module here first (default: the current directory)",
    )
    parser.add_argument(
        "--database",
        metavar="URL",
        default=None if here else missing,
        help="sqlite:///file.db or postgresql://user@host:port/name, instead of the application's own (without either: "
        "OFFPATH_DATABASE)",
    )


def json(command: argparse.ArgumentParser, text: str = "print JSON") -> None:
    command.add_argument("--json", action="store_true", help=text)


def named(command: argparse.ArgumentParser, name: str, text: str, kind: str = "") -> None:
    """A positional argument. `kind`: what a shell may complete it with, see `completion.py`."""
    completed(command.add_argument(name, metavar=name.upper(), help=text), kind)


def completed(action: argparse.Action, kind: str) -> None:
    if kind:
        action.names = kind  # type: ignore[attr-defined]


def filters(command: argparse.ArgumentParser) -> None:
    """Which jobs; see `filters.py`."""
    command.add_argument(
        "--state",
        metavar="STATE",
        action="append",
        choices=STATES,
        default=[],
        help=f"only in this state, repeatable: {', '.join(STATES)}",
    )
    queue_and_task(command)
    command.add_argument("--owner", metavar="NAME", help="only this owner's")
    command.add_argument("--key-prefix", metavar="TEXT", help="only with a key that begins so")
    command.add_argument(
        "--older-than",
        metavar="DURATION",
        help="only enqueued longer ago than 30s, 15m, 12h, 7d; of what has ended: ended",
    )
    command.add_argument(
        "--error", metavar="KIND", help="only ended with this kind of error (timeout, raised, …) or class of exception"
    )
    command.add_argument("--outstanding", action="store_true", help="only what has ended and has not been run again")


def queue_and_task(command: argparse.ArgumentParser) -> None:
    completed(command.add_argument("--queue", metavar="NAME", help="only in this queue"), "queues")
    completed(command.add_argument("--task", metavar="NAME", help="only of this task"), "tasks")


def choices(command: argparse.ArgumentParser, name: str, values: Sequence[str], text: str) -> None:
    command.add_argument(name, choices=values, metavar=name.lstrip("-").upper(), help=text)
