"""Every command and every flag: `build` is the list, `groups.py` has those that look at one kind of thing."""

from __future__ import annotations

import argparse
import os

from . import asyncapi, completion, dashboard, doctor, flags, groups, metrics, migrate, owners, tail, top, worker


def build() -> argparse.ArgumentParser:
    """The whole command line; each command leaves its function in `run`."""
    parser = argparse.ArgumentParser(
        prog="offpath",
        description="Durable background jobs behind an HTTP API.",
        epilog="Flags beat OFFPATH_* variables beat defaults. Exit 0 done, 1 not done, 2 asked wrongly or no database, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=_version())
    flags.where(parser, here=True)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _worker(commands)
    _migrate(commands)
    _doctor(commands)
    _top(commands)
    _tail(commands)
    groups.jobs_(commands)
    groups.queues_(commands)
    groups.schedules_(commands)
    groups.flows_(commands)
    groups.limits_(commands)
    groups.workers_(commands)
    groups.webhooks_(commands)
    groups.alerts_(commands)
    groups.audit_(commands)
    _owners(commands)
    _dashboard(commands)
    _metrics(commands)
    _asyncapi(commands)
    _completion(commands)
    return parser


def _worker(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "worker",
        worker.run,
        "run jobs until SIGTERM or SIGINT",
        "--app shop.tasks:jobs worker",
        "--app shop.tasks:jobs worker --queues critical:6,mail --concurrency 50",
        "--app shop.tasks:jobs worker --until-empty",
    )
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
        choices=["debug", "info", "warning", "error"],
        help="debug, info, warning or error (OFFPATH_LOG_LEVEL; default: the app's own logging, or info)",
    )
    command.add_argument(
        "--log-format",
        metavar="FORMAT",
        choices=["text", "json"],
        help="text, or json: one object a line (OFFPATH_LOG_FORMAT; default: the app's own logging, or text)",
    )
    command.add_argument(
        "--port",
        metavar="N",
        type=int,
        help="serve /metrics, /livez and /readyz there; with --processes each worker has the next port (default: not)",
    )
    command.add_argument(
        "--bind",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="the address that --port listens on; 0.0.0.0 for Prometheus and probes elsewhere (default: 127.0.0.1)",
    )


def _migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "migrate",
        migrate.run,
        "create the tables or bring them forward",
        "--database sqlite:///app.db migrate",
        "migrate --check",
        "migrate --print | less",
    )
    command.add_argument("--cure", default="`offpath migrate`", help=argparse.SUPPRESS)  # what --check says to run
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


def _doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "doctor",
        doctor.run,
        "say what is wrong, and what to do about it",
        "--app shop.tasks:jobs doctor",
        "doctor --json",
    )
    command.add_argument(
        "--long",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="how long a transaction may be open before it is named (default: 60)",
    )
    flags.json(command)


def _dashboard(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "dashboard",
        dashboard.run,
        "serve the dashboard, to this machine alone",
        "--app shop.tasks:jobs dashboard",
        "--app shop.tasks:jobs dashboard --writable --port 8321",
    )
    command.add_argument("--port", metavar="P", type=int, default=8321, help="0: any free one (default: 8321)")
    command.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="another than this machine's own takes a --token"
    )
    command.add_argument("--writable", action="store_true", help="let it change things and show arguments")
    command.add_argument(
        "--token",
        metavar="TEXT",
        default=os.environ.get("OFFPATH_DASHBOARD_TOKEN"),
        help="what to sign in with, 16 characters or more (OFFPATH_DASHBOARD_TOKEN: others cannot see it in `ps`)",
    )


def _metrics(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "metrics",
        metrics.run,
        "print what is shipped ready for Grafana and Prometheus",
        "metrics grafana > offpath.json",
        "metrics rules > offpath-rules.yml",
    )
    command.add_argument(
        "what", choices=["grafana", "rules"], help="grafana: a dashboard, JSON; rules: alerting rules, YAML"
    )


def _asyncapi(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "asyncapi",
        asyncapi.run,
        "print the AsyncAPI 3 document: what is published and consumed",
        "--app shop.tasks:jobs asyncapi > asyncapi.json",
    )
    command.add_argument("--title", metavar="TEXT", default="", help="(default: the application's group or source)")
    command.add_argument("--api-version", metavar="TEXT", default="1.0.0", help="of its interface (default: 1.0.0)")
    command.add_argument("--json", action="store_true", help="on one line; the document is JSON either way")


def _top(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "top",
        top.run,
        "show queues, workers and jobs, live: q ends it, p holds it",
        "top",
        "--database postgresql://app@db/shop top --every 5",
        "top --once --json",
    )
    command.add_argument(
        "--every", metavar="SECONDS", type=float, default=2.0, help="look so often (default: 2, at least 0.2)"
    )
    command.add_argument("--once", action="store_true", help="look once, print it and end")
    flags.json(command, "print JSON: an object on a line for each look")


def _tail(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "tail",
        tail.run,
        "print what happens, as it happens: one line for each event",
        "tail",
        "tail --queue mail --state failed --since 15m",
        "tail --job 01890a5d-ac96-774b-bcce-b302099a8057",
        "tail --json | jq -r 'select(.event == \"failed\") | .job'",
    )
    flags.queue_and_task(command)
    command.add_argument("--job", metavar="ID", help="only this job; ends when it has ended")
    command.add_argument(
        "--state",
        metavar="STATE",
        action="append",
        choices=flags.STATES,
        default=[],
        help=f"only events that lead to this state, repeatable: {', '.join(flags.STATES)}",
    )
    command.add_argument("--since", metavar="DURATION", help="begin with what happened within 30s, 15m, 12h, …")
    flags.json(command, "print NDJSON: an object on a line for each event")


def _owners(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "export",
        owners.export,
        "write all that is kept of an owner, as NDJSON",
        "export --owner ann --out ann.ndjson",
        "export --owner ann --tenant acme | gzip > ann.ndjson.gz",
    )
    _whose(command)
    command.add_argument("--secrets", action="store_true", help="show the values of Secrets (default: masked)")
    command.add_argument(
        "--out", metavar="FILE", help="write it there, readable by you alone (default, or -: to stdout)"
    )
    flags.json(command, "say what was written as JSON, on stderr (what is written is NDJSON either way)")
    command = flags.add(
        commands,
        "purge",
        owners.purge,
        "erase all that is kept of an owner",
        "purge --owner ann",
        "purge --owner ann --tenant acme --yes --json",
    )
    _whose(command)
    command.add_argument("--cancel", action="store_true", help="stop and erase what has not ended, too")
    command.add_argument("--yes", action="store_true", help="do not ask")
    flags.json(command)


def _whose(command: argparse.ArgumentParser) -> None:
    command.add_argument("--owner", metavar="ID", required=True, help="whose")
    command.add_argument("--tenant", metavar="ID", default="", help="in which tenant (default: in none)")


def _completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = flags.add(
        commands,
        "completion",
        completion.run,
        "print a script with which a shell completes commands and flags",
        "completion bash > ~/.local/share/bash-completion/completions/offpath",
        "completion zsh > ~/.zfunc/_offpath",
        "completion fish > ~/.config/fish/completions/offpath.fish",
    )
    command.add_argument("shell", choices=completion.SHELLS, help=f"one of {', '.join(completion.SHELLS)}")
    command.add_argument("--json", action="store_true", help="print the script as a JSON string")
    command.add_argument("--names", choices=completion.KINDS, help=argparse.SUPPRESS)


def _version() -> str:
    from .. import __version__

    return f"offpath {__version__}"
