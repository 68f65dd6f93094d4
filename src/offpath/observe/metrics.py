"""The figures: every metric by name, with its unit, its labels, and what it means.

Durations are seconds, sizes bytes. Labels are names that an application declares (tasks, queues, schedules, limits,
alerts) or words of ours, and ids of webhook endpoints; never a job's id, a key, a tenant or an owner. Of each metric at
most `MOST` combinations are told apart in one process; what comes after them is counted under "other".
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["", "seconds", "bytes"]
Whose = Literal["process", "worker", "store"]
MOST = 500
OTHER = "other"

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class Metric(NamedTuple):
    """kind, unit ("" where things are counted), labels, what it means, and for a histogram its upper bounds.

    of  "process": what this process has done or holds, web processes too; "worker": how the worker in it is; "store":
        what the database says, the same on every page (use `max` over instances)
    """

    kind: Kind
    unit: Unit
    labels: tuple[str, ...]
    meaning: str
    of: Whose = "process"
    buckets: tuple[float, ...] = ()


def _counter(meaning: str, *labels: str) -> Metric:
    return Metric("counter", "", labels, meaning)


def _took(meaning: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric("histogram", "seconds", labels, meaning, "process", buckets)


def _gauge(of: Whose, meaning: str, *labels: str, unit: Unit = "") -> Metric:
    return Metric("gauge", unit, labels, meaning, of)


METRICS: dict[str, Metric] = {
    # what is started
    "offpath_jobs_enqueued_total": _counter(
        "jobs that this process has enqueued, parts of flows and what schedules fire included; in a caller's "
        "transaction they count before its commit. Not those of a retry by hand, of a message or of a webhook",
        "queue",
        "task",
    ),
    "offpath_operations_accepted_total": _counter("operations that HTTP requests have started", "task"),
    "offpath_idempotency_total": _counter(
        "requests whose Idempotency-Key was not new: replay (the remembered answer), mismatch (422: another request) "
        "or busy (409: the first has not ended)",
        "result",
    ),
    "offpath_streams_open": _gauge("process", "event streams open now"),
    "offpath_polls_held": _gauge("process", "polls held now, until something happens"),
    "offpath_http_failures_total": _counter("answers of 500 or 503 by routes of ours"),
    # attempts
    "offpath_attempts_total": _counter(
        "attempts that have ended, as the store has it: succeeded, failed (the last one), expired, canceled, errored "
        "(there will be another), snoozed, returned (given back, none spent) or stale (another worker has the job)",
        "queue",
        "task",
        "outcome",
    ),
    "offpath_run_seconds": _took("how long attempts ran", _LONG, "queue", "task"),
    "offpath_wait_seconds": _took("from the time a job was due until a worker claimed it", _LONG, "queue", "task"),
    "offpath_cancel_seconds": _took("from the request to stop a running job until it had stopped", _LONG, "task"),
    "offpath_attempts_abandoned_total": _counter("attempts that could not be stopped, and run on", "task"),
    "offpath_attempts_undecodable_total": _counter("jobs whose arguments do not fit their task", "task"),
    "offpath_jobs_recovered_total": _counter("jobs taken from dead workers"),
    "offpath_jobs_overdue_total": _counter("jobs that failed because their deadline passed while they waited"),
    # webhooks
    "offpath_webhook_attempts_total": _counter(
        "webhook requests: delivered, refused (it comes again) or failed (given up); the endpoint is an id, or "
        '"callback"',
        "endpoint",
        "outcome",
    ),
    "offpath_webhook_seconds": _took("how long they took", _LONG, "endpoint"),
    "offpath_webhook_endpoints_disabled_total": _counter("endpoints switched off for answering nothing good"),
    # schedules
    "offpath_schedule_fired_total": _counter("jobs that a schedule has started", "schedule"),
    "offpath_schedule_skipped_total": _counter("ticks that found an earlier job still there", "schedule"),
    "offpath_schedule_missed_total": _counter(
        "times that a schedule was looked at so late that a tick of it was left out", "schedule"
    ),
    "offpath_schedule_failures_total": _counter("times that one could not be declared or fired here", "schedule"),
    "offpath_schedule_late_seconds": _took("from a tick until it was fired", _LONG, "schedule"),
    # brokers and transports
    "offpath_outbox_published_total": _counter("events that a broker has confirmed", "broker"),
    "offpath_outbox_refused_total": _counter("events that a broker will never take: dead letters", "broker"),
    "offpath_inbox_received_total": _counter("messages that became jobs", "broker", "source"),
    "offpath_inbox_known_total": _counter("messages that had been received before", "broker", "source"),
    "offpath_inbox_unreadable_total": _counter("messages that cannot be read: dead letters", "broker", "source"),
    "offpath_broker_up": _gauge("process", "1 when the broker answered last time, 0 when not", "broker"),
    "offpath_transport_up": _gauge("process", "1 when hints were carried last time, 0 when not", "transport"),
    # the store, as this process meets it
    "offpath_commit_seconds": _took("how long groups of writes took until they were durable", _SHORT),
    "offpath_store_errors_total": _counter(
        "times that the database did not do what was asked: lease, exchange (claims and settles), upkeep or write",
        "during",
    ),
    # alerts of rules in code, and what people did
    "offpath_alerts_raised_total": _counter("alerts raised by this process", "alert"),
    "offpath_audit_actions_total": _counter("actions of people, through HTTP or the command line", "action"),
    # the worker in this process
    "offpath_worker_ready": _gauge("worker", "1 while it is registered and claims work"),
    "offpath_worker_running": _gauge("worker", "attempts running now: async, thread or process", "lane"),
    "offpath_worker_slots": _gauge("worker", "how many may run at once", "lane"),
    "offpath_worker_abandoned": _gauge("worker", "attempts that would not stop and still run here"),
    "offpath_worker_lease_age_seconds": _gauge("worker", "since the last answered renewal was sent", unit="seconds"),
    "offpath_worker_lease_seconds": _gauge("worker", "after which age it is taken for dead", unit="seconds"),
    "offpath_worker_loop_lag_seconds": _gauge(
        "worker", "how long the event loop took to answer, looked at four times a second", unit="seconds"
    ),
    "offpath_worker_rss_bytes": _gauge(
        "worker", 'memory that the worker holds, and (processes of executor="process") its children', "of", unit="bytes"
    ),
    # what the database says
    "offpath_store_up": _gauge("store", "1 when the last look at the database went well, 0 when not"),
    "offpath_store_look_seconds": _gauge("store", "how long that look took", unit="seconds"),
    "offpath_jobs": _gauge(
        "store",
        "jobs that have not ended: ready, running, scheduled or waiting; up to 100,000 of each",
        "queue",
        "state",
    ),
    "offpath_queue_oldest_seconds": _gauge(
        "store", "how long the oldest ready job of a queue has been due", "queue", unit="seconds"
    ),
    "offpath_queue_backlog_seconds": _gauge(
        "store", "how long the ready jobs of a queue would take at its present rate", "queue", unit="seconds"
    ),
    "offpath_queue_limited": _gauge("store", "1 while jobs of it wait under a limit", "queue"),
    "offpath_queue_paused": _gauge("store", "1 while nothing is claimed from it", "queue"),
    "offpath_dead_letters": _gauge("store", "jobs that failed for good and were not run again, of the newest 10,000"),
    "offpath_outbox_waiting": _gauge("store", "events that wait to be published"),
    "offpath_outbox_oldest_seconds": _gauge("store", "how long the oldest of them has waited", unit="seconds"),
    "offpath_workers": _gauge("store", "workers: alive, late (its lease has run out) or lost (a verdict)", "state"),
    "offpath_alerts_ringing": _gauge("store", "1 for each alert of the code's own rules that rings now", "alert"),
    "offpath_webhook_endpoints": _gauge("store", "endpoints: enabled or disabled", "state"),
    "offpath_schedules": _gauge(
        "store",
        "schedules: active, paused or late (its time came a minute ago, or as long as an alert on late schedules "
        "allows, and nobody fired it)",
        "state",
    ),
}
"""Every metric, by name."""
