"""Whose log line is it? For what tasks log themselves, on the loop and in threads."""

from __future__ import annotations

import logging
from typing import Any

from ..core.trace import trace_id
from .here import attempt_here


class JobLabels(logging.Filter):
    """A filter for a handler of yours: `handler.addFilter(JobLabels())`. (`offpath.logs.bind` says more.)

    Records that are made inside an attempt get `record.offpath`, a dict of job, task, queue, attempt and trace, as
    offpath's own have it. (Records from `executor="process"` come with it.) It keeps every record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "offpath") and (labels := self.labels()) is not None:
            record.offpath = labels
        return True

    def labels(self) -> dict[str, Any] | None:
        """Of the attempt we are in."""
        if (job := attempt_here()) is None:
            return None
        return {
            "job": job.id,
            "task": job.task,
            "queue": job.queue,
            "attempt": job.attempt,
            "trace": trace_id(job.id, job.options),
        }
