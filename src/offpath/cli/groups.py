"""The commands that look at one kind of thing and change it: jobs, queues, schedules, …"""

from __future__ import annotations

import argparse

from . import alerts, audit, flags, flows, jobs, limits, queues, schedules, webhooks, workers

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
JOB = "the job's id, or as much of it as tells it from others"


def jobs_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "jobs", "look at jobs and change them")
    command = flags.add(
        verbs,
        "list",
        jobs.list_jobs,
        "list jobs, the newest first",
        "jobs list --state failed --outstanding",
        "jobs list --queue mail --older-than 1h --limit 500 --json",
    )
    flags.filters(command)
    command.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many (default: 50)")
    command.add_argument("--after", metavar="ID", help="go on after this job, the last one of the page before")
    flags.json(command)
    command = flags.add(
        verbs,
        "show",
        jobs.show,
        "show everything about one job, and what has become of it so far",
        f"jobs show {ID}",
        f"jobs show {ID} --arguments",
    )
    flags.named(command, "id", JOB)
    command.add_argument(
        "--arguments",
        action="store_true",
        dest="values",
        help="arguments and result as they are, not only their shapes and lengths",
    )
    flags.json(command)
    command = flags.add(
        verbs, "attempts", jobs.attempts, "list the attempts of a job that did not succeed", f"jobs attempts {ID}"
    )
    flags.named(command, "id", JOB)
    flags.json(command)
    command = flags.add(
        verbs,
        "raw",
        jobs.raw,
        "write the message that a dead letter of offpath.receive stands for",
        f"jobs raw {ID} > message.bin",
    )
    flags.named(command, "id", JOB)
    flags.json(command, "print all of it as JSON, the body as base64")
    for name, run, text, examples in (
        (
            "retry",
            jobs.retry,
            "run finished jobs again, as new ones: one by its id, or all that the filters mean",
            (
                f"jobs retry {ID}",
                "jobs retry --state failed --error shop.CardDeclined",
                "jobs retry --queue mail --yes",
            ),
        ),
        (
            "cancel",
            jobs.cancel,
            "ask jobs to stop: one by its id, or all that the filters mean",
            (f"jobs cancel {ID} --reason 'a mistake'", "jobs cancel --queue mail --older-than 1d --dry-run"),
        ),
        (
            "delete",
            jobs.delete,
            "erase finished jobs: one by its id, or all that the filters mean",
            (f"jobs delete {ID}", "jobs delete --task send_email --older-than 30d"),
        ),
    ):
        command = flags.add(verbs, name, run, text, *examples)
        command.add_argument("id", metavar="ID", nargs="?", help=f"{JOB}; without it, filters say which")
        if run is jobs.cancel:
            command.add_argument(
                "--reason", metavar="TEXT", default="canceled by an operator", help="kept with the job"
            )
        if run is jobs.retry:
            command.add_argument("--max-attempts", metavar="N", type=int, help="a budget other than the one it had")
            command.add_argument("--again", action="store_true", help="one that was run again already, once more")
        flags.filters(command)
        command.add_argument("--dry-run", action="store_true", help="only count them, and show the newest")
        command.add_argument("--yes", action="store_true", help="do not ask")
        flags.json(command)


def queues_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "queues", "look at queues and pause them")
    flags.json(flags.add(verbs, "list", queues.list_queues, "list queues, and what is in them", "queues list"))
    for name, run, text in (
        ("show", queues.show, "show how one queue stands"),
        ("pause", queues.pause, "let workers claim nothing more from a queue"),
        ("resume", queues.resume, "let workers claim from it again"),
        ("drain", queues.drain, "pause a queue and wait until nothing of it runs any more"),
    ):
        more = {"pause": " --reason 'a deploy'", "drain": " --timeout 10m"}.get(name, "")
        command = flags.add(verbs, name, run, text, f"queues {name} mail{more}")
        flags.named(command, "name", "the queue's name", "queues")
        if run in (queues.pause, queues.drain):
            command.add_argument("--reason", metavar="TEXT", default="paused by an operator", help="for whoever asks")
        if run is queues.drain:
            command.add_argument(
                "--timeout", metavar="DURATION", help="wait no longer than 30s, 15m, … (default: for ever)"
            )
        flags.json(command)


def schedules_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "schedules", "look at schedules and change them")
    flags.json(flags.add(verbs, "list", schedules.list_schedules, "list schedules by name", "schedules list --json"))
    for name, run, said in (
        ("show", schedules.show, "show everything about one schedule"),
        ("explain", schedules.explain, "say when it runs next, in its time zone and in UTC"),
        ("pause", schedules.pause, "let no tick become a job until it is resumed"),
        ("resume", schedules.resume, "go on with the next tick"),
        ("run", schedules.run, "enqueue its job now, besides its ticks"),
        ("delete", schedules.delete, "remove one that no running code declares"),
    ):
        command = flags.add(verbs, name, run, said, f"schedules {name} daily-report")
        flags.named(command, "name", "the schedule's name", "schedules")
        if run is schedules.explain:
            command.add_argument("--runs", metavar="N", type=int, default=10, help="so many (default: 10)")
        flags.json(command)


def flows_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "flows", "look at flows")
    command = flags.add(
        verbs, "show", flows.show, "show a flow, or the one that a job is part of, as a tree", f"flows show {ID}"
    )
    flags.named(command, "id", "the flow's id, or that of one of its jobs")
    flags.json(command)


def limits_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "limits", "look at limits")
    flags.json(
        flags.add(
            verbs, "list", limits.list_limits, "list the limits that are declared, and how full they are", "limits list"
        )
    )


def workers_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "workers", "look at workers")
    flags.json(
        flags.add(verbs, "list", workers.list_workers, "list workers, alive, late and lost ones", "workers list --json")
    )
    command = flags.add(
        verbs, "show", workers.show, "show one worker, with the jobs that it holds", "workers show db3f19a2"
    )
    flags.named(command, "id", "its id, as much of it as is needed to tell it from others, or its label (host:pid)")
    flags.json(command)


def webhooks_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "webhooks", "look at webhook endpoints of all tenants, and change them")
    command = flags.add(
        verbs, "endpoints", webhooks.endpoints, "list endpoints, the newest first",
        "webhooks endpoints", "webhooks endpoints --tenant acme --disabled",
    )  # fmt: skip
    command.add_argument("--tenant", metavar="ID", help="only this tenant's")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--enabled", action="store_const", const=True, dest="enabled", help="only enabled ones")
    which.add_argument("--disabled", action="store_const", const=False, dest="enabled", help="only disabled ones")
    command.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many (default: 50)")
    command.add_argument("--after", metavar="ID", help="go on after this endpoint, the last one of the page before")
    flags.json(command)
    for name, run, text, more in (
        ("show", webhooks.show, "show one endpoint; its secrets are never shown", ""),
        ("attempts", webhooks.attempts, "list what was sent to it, the newest first", ""),
        ("enable", webhooks.enable, "send to it again", ""),
        ("disable", webhooks.disable, "send nothing more to it; what waits is stopped", " --reason 'asked for it'"),
        ("test", webhooks.test, "send it a test event", ""),
        ("resend", webhooks.resend, "send again what was not delivered, or one delivery", " --since 1h"),
    ):
        command = flags.add(verbs, name, run, text, f"webhooks {name} {ID}{more}")
        flags.named(command, "id", "the endpoint's id")
        if name == "attempts":
            command.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many (default: 50)")
        if name == "disable":
            help = 'its owner sees it, after "disabled by an operator"'
            command.add_argument("--reason", metavar="TEXT", default="", help=help)
        if name == "resend":
            what = command.add_mutually_exclusive_group(required=True)
            what.add_argument("--delivery", metavar="ID", help="this one")
            what.add_argument("--operation", metavar="ID", help="those of this operation")
            what.add_argument("--since", metavar="DURATION", help="what was not delivered within 30s, 15m, 12h, …")
        flags.json(command)


def alerts_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "alerts", "look at alerts")
    flags.json(flags.add(verbs, "list", alerts.list_alerts, "list alerts, raised ones first", "alerts list"))


def audit_(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = flags.group(commands, "audit", "look at what people have changed")
    command = flags.add(
        verbs, "list", audit.list_acts, "list who changed what, the newest first",
        "audit list", "audit list --actor cli:ann@host --action queue.pause --json",
    )  # fmt: skip
    command.add_argument("--actor", metavar="NAME", help="only by this one")
    command.add_argument("--action", metavar="ACTION", help="only this action, as in job.cancel")
    command.add_argument("--target", metavar="NAME", help="only to this job, queue, schedule or endpoint")
    command.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many (default: 50)")
    command.add_argument("--after", metavar="ID", help="go on after this one, the last one of the page before")
    flags.json(command)
