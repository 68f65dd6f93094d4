"""`offpath worker`: run jobs in this process."""

from __future__ import annotations

import argparse
import contextlib

from .. import logs
from ..errors import ConfigurationError
from . import processes, reload
from .target import application, demand_file


def run(options: argparse.Namespace) -> int:
    """Until it is told to stop, or with --until-empty until nothing is left. 0 when it ended in order."""
    if options.reload:
        if options.until_empty:
            raise ConfigurationError("--reload never ends by itself, so --until-empty cannot go with it")
        if options.processes != 1:
            raise ConfigurationError("--reload watches over one worker, so --processes cannot go with it")
        logs.configure(format=options.log_format, level=options.log_level)
        return reload.run(options.arguments, options.app_dir)
    if options.queues is not None and not options.queues.strip(" ,"):
        raise ConfigurationError("--queues (or OFFPATH_QUEUES) names no queue; leave it out to serve all of them")
    jobs = application(options)
    logs.settle(options.log_format, options.log_level)
    if not jobs.registry.names():
        raise ConfigurationError(f"{options.app} has no tasks: import the modules that define them beside it")
    if options.until_empty:
        demand_file(jobs)
    if processes.check(options.processes) > 1:
        try:
            jobs.store.open()  # a database that cannot be used is said once, and not by each of them
        finally:
            jobs.close()
        return processes.run(options.arguments, options.processes, options.port)
    if options.life is not None:
        processes.stop_with(options.life)
    with contextlib.ExitStack() as stack:
        if options.port is not None:
            from ..metrics.server import serving

            stack.enter_context(serving(jobs, options.port, options.bind))
        jobs.run_worker(options.queues, options.concurrency, options.until_empty)
    return 0
