"""The lines of the log.

Every signal is one line of the standard `logging`, on the logger `offpath.<room>` (the part of its name before the
dot), with its fields both in the text and on the record as `record.offpath`, a dict. Nothing is heard until somebody
configures logging for "offpath". Times and durations are seconds.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from ..privacy.known import FILTER, scrub
from . import meters

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


class Sign(NamedTuple):
    """level, the fields it carries (`exc_info` may always be added), and when it is given."""

    level: int
    fields: tuple[str, ...]
    when: str


_JOB = ("job", "task", "queue", "attempt", "trace")

SIGNALS: dict[str, Sign] = {
    # one worker's life
    "worker.started": Sign(INFO, ("worker", "pid", "queues", "tasks", "concurrency"), "registered and about to claim"),
    "worker.draining": Sign(INFO, ("worker", "running", "seconds"), "asked to stop: claims no more, lets jobs finish"),
    "worker.stopped": Sign(
        INFO, ("worker", "done", "failed", "returned"), "ended in order; `returned` were given back"
    ),
    "worker.late": Sign(WARNING, ("worker", "seconds"), "two thirds of its lease without a renewal: starts no work"),
    "worker.lapsed": Sign(
        ERROR, ("worker", "running"), "a verdict stands on it: its jobs belong to others; starts anew"
    ),
    "worker.unknown": Sign(
        WARNING,
        ("task", "version", "jobs"),
        "jobs wait for a task, or a version of its arguments, that no live worker knows; they stay queued",
    ),
    "worker.undeclared": Sign(
        WARNING, ("limit",), "jobs wait under a limit that no worker has declared; start one of the code that has it"
    ),
    "worker.unknown_queues": Sign(
        WARNING,
        ("queues",),
        "it serves queues that no Queue declares and no task goes to: a slip of the pen, unless using(queue=…) does",
    ),
    "worker.unsealed": Sign(
        WARNING, ("tasks",), "these tasks take a Secret, which is stored as it is: set secret_keys to have it sealed"
    ),
    "worker.failed": Sign(ERROR, ("worker", "error"), "a claim or settle could not be made; it is made again"),
    "worker.resumed": Sign(INFO, ("worker", "seconds"), "claims and settles work again, after so many seconds"),
    "worker.blocked": Sign(
        WARNING,
        ("worker", "seconds", "job", "task", "where"),
        "a handler blocks the event loop, there in the source; the lease is renewed",
    ),
    "worker.forfeited": Sign(
        ERROR, ("worker",), "blocked past what its attempts may take: it renews no more, others get its jobs"
    ),
    "worker.crashed": Sign(ERROR, ("worker", "error"), "a bug in the worker itself: it stops, its lease will run out"),
    "worker.broken": Sign(ERROR, ("worker", "error"), "a bug in the worker itself, between two attempts; it goes on"),
    # one attempt
    "attempt.started": Sign(DEBUG, _JOB, "about to call the task's function"),
    "attempt.succeeded": Sign(DEBUG, (*_JOB, "duration"), "the function returned"),
    "attempt.errored": Sign(WARNING, (*_JOB, "max_attempts", "duration", "error"), "it failed; there will be another"),
    "attempt.exhausted": Sign(ERROR, (*_JOB, "max_attempts", "duration", "error"), "it failed and was the last: dead"),
    "attempt.timeout": Sign(WARNING, (*_JOB, "seconds"), "it ran longer than it may"),
    "attempt.abandoned": Sign(ERROR, (*_JOB, "seconds"), "it could not be stopped; it runs on, its writes are refused"),
    "attempt.overran": Sign(
        WARNING, (*_JOB, "seconds"), "a function returned after its time, within `cancel_grace`: what it said counts"
    ),
    "attempt.ended_late": Sign(WARNING, (*_JOB, "seconds"), "an abandoned one has ended after all; nobody listened"),
    "attempt.repeated": Sign(
        INFO,
        (*_JOB, "repeat", "error"),
        "its own transaction met a serialization failure or a deadlock: rolled back and run again, no attempt spent",
    ),
    "attempt.snoozed": Sign(DEBUG, (*_JOB, "delay"), "it asked to come again"),
    "attempt.canceled": Sign(INFO, (*_JOB, "reason"), "it was stopped on request, or raised Cancel"),
    "attempt.returned": Sign(INFO, (*_JOB, "reason"), "given back unfinished, no attempt spent"),
    "attempt.expired": Sign(INFO, _JOB, "its deadline had passed before it could start"),
    "attempt.stale": Sign(WARNING, (*_JOB, "fence"), "its outcome was refused: another worker has the job by now"),
    "attempt.undecodable": Sign(
        ERROR, (*_JOB, "error"), "the stored arguments do not fit the task, or its options cannot be read"
    ),
    "attempt.broken": Sign(ERROR, (*_JOB, "error"), "a bug in the worker itself met it; it counts as failed"),
    "attempt.hook_failed": Sign(ERROR, (*_JOB, "kind", "hook", "error"), "a hook raised; the job does not suffer"),
    # processes for attempts (executor="process")
    "process.failed": Sign(ERROR, ("error",), "one could not be started; told once for each reason, then tried again"),
    "process.unlimited": Sign(WARNING, ("system",), "tasks have a memory limit, and this system enforces none"),
    # what every worker does on the side
    "upkeep.judged": Sign(WARNING, ("dead",), "these workers' leases ran out; a verdict was written"),
    "upkeep.recovered": Sign(WARNING, ("dead", "jobs"), "jobs of a dead worker were taken from it"),
    "upkeep.overdue": Sign(INFO, ("jobs",), "jobs failed because their deadline passed while they waited"),
    "upkeep.freed": Sign(
        DEBUG, ("jobs",), "jobs that waited behind another, of their key or their line, were scheduled: it is gone"
    ),
    "upkeep.pruned": Sign(DEBUG, ("jobs",), "finished jobs whose time was up were deleted"),
    "upkeep.skipped": Sign(
        ERROR, ("duty", "job", "error"), "the database refuses what a duty would do to this job; the others are done"
    ),
    "upkeep.failed": Sign(
        ERROR, ("duty", "error"), "a duty could not be done; it is tried again (an outage: once a minute)"
    ),
    "alert.raised": Sign(
        WARNING,
        ("alert", "kind", "value", "above", "detail"),
        "a rule's threshold was passed; told once. `detail`: which schedules or endpoints",
    ),
    "alert.resolved": Sign(INFO, ("alert", "kind", "value", "above", "detail"), "it is well again; told once"),
    # schedules
    "schedule.declared": Sign(INFO, ("schedule", "when"), "a worker has written down what its code declares"),
    "schedule.fired": Sign(
        DEBUG, ("schedule", "jobs", "skipped"), "its time had come; `skipped` ticks found an earlier job still there"
    ),
    "schedule.failed": Sign(
        ERROR,
        ("schedule", "error"),
        "it cannot be declared or fired by this worker; it stays due, the others are fired",
    ),
    # stores and transports
    "store.opened": Sign(DEBUG, ("url",), "connected, schema checked"),
    "store.created": Sign(WARNING, ("url",), "there was no such database file: a new, empty one was made"),
    "store.migrated": Sign(INFO, ("url", "migrations"), "tables created or brought forward"),
    "store.short_of_days": Sign(
        WARNING,
        ("url", "days", "error"),
        "history has a place only for what ends within so many days, and this role may not make more: run `offpath "
        "migrate` as the owner of the tables",
    ),
    "store.old_sqlite": Sign(WARNING, ("version", "wanted"), "this SQLite has a known defect in WAL mode"),
    "store.unavailable": Sign(ERROR, ("error",), "the database cannot be reached, is full or stayed locked"),
    "store.forked": Sign(INFO, ("pid",), "the process was forked; connections are opened anew in the child"),
    "transport.failed": Sign(WARNING, ("transport", "error"), "hints are not carried; work is found by polling"),
    "transport.restored": Sign(INFO, ("transport", "seconds"), "hints are carried again, after so many seconds"),
    # brokers, and what goes through them
    "broker.failed": Sign(WARNING, ("broker", "error"), "it cannot be reached; it is tried again, and nothing is lost"),
    "broker.restored": Sign(INFO, ("broker", "seconds"), "it answers again, after so many seconds"),
    "outbox.published": Sign(DEBUG, ("broker", "events"), "the broker has confirmed these events"),
    "outbox.refused": Sign(
        ERROR, ("broker", "event", "type", "address", "error"), "the broker will never take this event: a dead letter"
    ),
    "outbox.unrouted": Sign(
        WARNING,
        ("broker", "address", "type"),
        "no queue is bound for events of this type, so RabbitMQ drops them; told once, until one has been",
    ),
    "inbox.consuming": Sign(INFO, ("broker", "source"), "from here on, what is published there will be received"),
    "inbox.received": Sign(DEBUG, ("broker", "source", "jobs", "known"), "messages became jobs; `known` had before"),
    "inbox.unreadable": Sign(
        WARNING, ("broker", "source", "place", "error"), "a message cannot be read: kept as it is, for a dead letter"
    ),
    "inbox.unanswered": Sign(
        WARNING,
        ("broker", "source", "messages"),
        "so many have become jobs and wait for an answer (`reply_to`), and no broker is configured that would carry it",
    ),
    "inbox.repeated": Sign(
        WARNING,
        ("broker", "source", "place", "times"),
        "a message has been handed out that often: whoever has it dies, or the broker does not hear that it was taken",
    ),
    "inbox.idle": Sign(
        WARNING, ("tasks",), "these tasks wait for messages and no broker is configured: only HTTP can bring some"
    ),
    "inbox.failed": Sign(ERROR, ("broker", "source", "error"), "nothing can be consumed there; it is tried again"),
    # the application around them
    "tracing.failed": Sign(WARNING, ("error",), "OpenTelemetry refused a span; the job does not suffer"),
    "app.pages": Sign(INFO, ("url",), "/metrics, /livez and /readyz of this worker are there"),
    "app.worker_failed": Sign(ERROR, ("error",), "the worker inside this web process has ended with an error"),
    "http.failed": Sign(ERROR, ("route", "error"), "a route answered 500 or 503"),
    "http.reservation_lost": Sign(
        ERROR,
        ("key",),
        "an answer could not be remembered: its lease had run out, and another process took the Idempotency-Key; the "
        "handler may have run twice",
    ),
    "webhooks.delivered": Sign(
        DEBUG, ("delivery", "endpoint", "status", "duration"), "a webhook was taken, with a 2xx"
    ),
    "webhooks.refused": Sign(
        INFO,
        ("delivery", "endpoint", "status", "delay", "duration"),
        "a webhook was not taken (status 0: no answer); it comes again",
    ),
    "webhooks.failed": Sign(
        WARNING,
        ("delivery", "endpoint", "status", "attempts", "duration"),
        "a webhook was given up: its job `failed`",
    ),
    "webhooks.disabled": Sign(
        WARNING, ("endpoint", "reason"), "an endpoint answered 410, or nothing good for 5 days: nothing is sent there"
    ),
    "http.uncommitted": Sign(
        ERROR, ("job",), "a 202 was withheld: the transaction with its job has not been committed"
    ),
}
"""Every signal, by name."""

_ROOT = logging.getLogger("offpath")
_ROOT.addHandler(logging.NullHandler())
_LOGGERS = {name: logging.getLogger(f"offpath.{name.partition('.')[0]}") for name in SIGNALS}
for _logger in _LOGGERS.values():
    if FILTER not in _logger.filters:  # the traceback, where there is one
        _logger.addFilter(FILTER)


def signal(name: str, **fields: Any) -> None:
    """Give one signal of the table. KeyError for a name that is not in it. `exc_info=error` adds the traceback."""
    logger, level = _LOGGERS[name], SIGNALS[name].level
    if meters.on is not None:
        meters.on.told(name, fields)
    if not logger.isEnabledFor(level):
        return
    exc_info = fields.pop("exc_info", None)
    fields = {key: scrub(value) if isinstance(value, str) else value for key, value in fields.items()}
    text = " ".join((name, *(f"{key}={_shown(value)}" for key, value in fields.items())))
    logger.log(level, "%s", text, exc_info=exc_info, extra={"offpath": {"signal": name, **fields}})


def heard(name: str) -> bool:
    """Whether anyone would hear this signal: ask before working out costly fields."""
    return _LOGGERS[name].isEnabledFor(SIGNALS[name].level)


def _shown(value: object) -> str:
    """A value in a log line: one line, bounded, nothing that a terminal would obey."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if not text.isprintable() or " " in text or not text:
        text = ascii(text) if not text.isprintable() else repr(text)
    return text if len(text) <= 500 else text[:499] + "…"
