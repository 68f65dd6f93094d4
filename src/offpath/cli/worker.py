"""`offpath worker`: run jobs in this process."""

from __future__ import annotations

import argparse
import logging

from ..app import places
from ..errors import ConfigurationError
from . import processes, reload
from .target import application


def run(options: argparse.Namespace) -> int:
    """Until it is told to stop, or with --until-empty until nothing is left. 0 when it ended in order."""
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s %(message)s"
    )  # on stderr
    if options.reload:
        if options.until_empty:
            raise ConfigurationError("--reload never ends by itself, so --until-empty cannot go with it")
        if options.processes != 1:
            raise ConfigurationError("--reload watches over one worker, so --processes cannot go with it")
        return reload.run(options.arguments, options.app_dir)
    if options.queues is not None and not options.queues.strip(" ,"):
        raise ConfigurationError("--queues (or OFFPATH_QUEUES) names no queue; leave it out to serve all of them")
    jobs = application(options)
    if not jobs.registry.names():
        raise ConfigurationError(f"{options.app} has no tasks: import the modules that define them beside it")
    if options.until_empty and not places.exists(jobs.settings.url):
        # A mistyped path must not become a new, empty database in which there is nothing to do.
        raise ConfigurationError(f"there is no database at {jobs.settings.url}")
    if processes.check(options.processes) > 1:
        return processes.run(options.arguments, options.processes)
    if options.life is not None:
        processes.stop_with(options.life)
    jobs.run_worker(options.queues, options.concurrency, options.until_empty)
    return 0
