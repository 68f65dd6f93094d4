"""Every command and every flag, in one place."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from ..core.job import State
from . import doctor, jobs, migrate, queues, schedules, worker

Run = Callable[[argparse.Namespace], int]
STATES = [state.name.lower() for state in State]


def build() -> argparse.ArgumentParser:
    """The whole command line; each command leaves its function in `run`."""
    parser = argparse.ArgumentParser(
        prog="offpath",
        description="Durable background jobs behind an HTTP API.",
        epilog="Flags beat OFFPATH_* variables beat defaults. Exit 0 done, 1 not done, 2 asked wrongly or no database.",
    )
    parser.add_argument("--version", action="version", version=_version())
    _where(parser, here=True)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = _command(commands, "worker", worker.run, "run jobs until SIGTERM or SIGINT")
    command.add_argument(
        "--queues",
        metavar="A,B:3",
        default=os.environ.get("OFFPATH_QUEUES"),
        help="serve only these, with weights if need be (OFFPATH_QUEUES; default: all)",
    )
    command.add_argument(
        "--concurrency", metavar="N", type=int, help="jobs at once (OFFPATH_CONCURRENCY; default: 100)"
    )
    command.add_argument(
        "--processes",
        metavar="N",
        type=int,
        default=1,
        help="so many workers; one that dies is started again (default: 1)",
    )
    command.add_argument("--life", metavar="FD", type=int, help=argparse.SUPPRESS)  # see processes.py
    command.add_argument(
        "--until-empty",
        action="store_true",
        help="end when nothing is ready or running; jobs scheduled for later do not hold it. The database has to be "
        "there already (without this flag a missing SQLite file is created, with a warning)",
    )
    command.add_argument(
        "--reload", action="store_true", help="for development: start again when a .py file below --app-dir changes"
    )
    command.add_argument(
        "--log-level",
        metavar="LEVEL",
        default=os.environ.get("OFFPATH_LOG_LEVEL", "info"),
        choices=["debug", "info", "warning", "error"],
        help="debug, info, warning or error (OFFPATH_LOG_LEVEL; default: info)",
    )

    command = _command(commands, "migrate", migrate.run, "create the tables or bring them forward")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--print", action="store_true", dest="show", help="only print the SQL of every migration")
    which.add_argument(
        "--check",
        action="store_true",
        help="only say whether there is something to do: then exit 1 (2: the database is too new or cannot be used)",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="print the names of the migrations (applied, or with --check lacking) as a JSON array",
    )

    command = _command(commands, "doctor", doctor.run, "say what is wrong, and what to do about it")
    command.add_argument(
        "--long",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="how long a transaction may be open before it is named (default: 60)",
    )
    _json(command)

    group = commands.add_parser(
        "jobs", help="look at jobs and change them", description="Look at jobs and change them."
    )
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command = _command(verbs, "list", jobs.list_jobs, "list jobs, the newest first")
    _filters(command)
    command.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many (default: 50)")
    command.add_argument("--after", metavar="ID", help="go on after this job, the last one of the page before")
    _json(command)
    command = _command(verbs, "show", jobs.show, "show everything about one job")
    command.add_argument("id", metavar="ID", help="the job's id")
    command.add_argument(
        "--arguments",
        action="store_true",
        dest="values",
        help="arguments and result as they are, not only their shapes and lengths",
    )
    _json(command)
    for name, run, text in (
        ("retry", jobs.retry, "run finished jobs again, as new ones: one by its id, or all that the filters mean"),
        ("cancel", jobs.cancel, "ask jobs to stop: one by its id, or all that the filters mean"),
        ("delete", jobs.delete, "erase finished jobs: one by its id, or all that the filters mean"),
    ):
        command = _command(verbs, name, run, text)
        command.add_argument("id", metavar="ID", nargs="?", help="the job's id; without it, filters say which")
        if run is jobs.cancel:
            command.add_argument(
                "--reason", metavar="TEXT", default="canceled by an operator", help="kept with the job"
            )
        if run is jobs.retry:
            command.add_argument("--max-attempts", metavar="N", type=int, help="a budget other than the one it had")
        _filters(command)
        command.add_argument("--dry-run", action="store_true", help="only count them")
        command.add_argument("--yes", action="store_true", help="do not ask")
        _json(command)

    group = commands.add_parser(
        "queues", help="look at queues and pause them", description="Look at queues, pause them."
    )
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _json(_command(verbs, "list", queues.list_queues, "list queues, and what is in them"))
    for name, run, text in (
        ("pause", queues.pause, "let workers claim nothing more from a queue"),
        ("resume", queues.resume, "let workers claim from it again"),
        ("drain", queues.drain, "pause a queue and wait until nothing of it runs any more"),
    ):
        command = _command(verbs, name, run, text)
        command.add_argument("name", metavar="NAME", help="the queue's name")
        if run is not queues.resume:
            command.add_argument("--reason", metavar="TEXT", default="paused by an operator", help="for whoever asks")
        if run is queues.drain:
            command.add_argument(
                "--timeout", metavar="DURATION", help="wait no longer than 30s, 15m, … (default: for ever)"
            )
        _json(command)
    _schedules(commands)
    return parser


def _filters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--state",
        metavar="STATE",
        action="append",
        choices=STATES,
        default=[],
        help=f"only in this state, repeatable: {', '.join(STATES)}",
    )
    command.add_argument("--queue", metavar="NAME", help="only in this queue")
    command.add_argument("--task", metavar="NAME", help="only of this task")
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


def _schedules(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "look at schedules and change them"
    group = commands.add_parser("schedules", help=text, description=f"{text.capitalize()}.")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _json(_command(verbs, "list", schedules.list_schedules, "list schedules by name"))
    for name, run, said in (
        ("show", schedules.show, "show everything about one schedule"),
        ("explain", schedules.explain, "say when it runs next, in its time zone and in UTC"),
        ("pause", schedules.pause, "let no tick become a job until it is resumed"),
        ("resume", schedules.resume, "go on with the next tick"),
        ("run", schedules.run, "enqueue its job now, besides its ticks"),
        ("delete", schedules.delete, "remove one that no running code declares"),
    ):
        command = _command(verbs, name, run, said)
        command.add_argument("name", metavar="NAME", help="the schedule's name")
        if run is schedules.explain:
            command.add_argument("--runs", metavar="N", type=int, default=10, help="so many (default: 10)")
        _json(command)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: Run, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    _where(command, here=False)
    command.set_defaults(run=run)
    return command


def _where(parser: argparse.ArgumentParser, *, here: bool) -> None:
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


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def _version() -> str:
    from .. import __version__

    return f"offpath {__version__}"
