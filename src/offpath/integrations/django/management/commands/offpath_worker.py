"""`manage.py offpath_worker`: `offpath worker` for a Django project."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.management.base import BaseCommand, CommandError

from offpath import cli

APP = "offpath.integrations.django.standalone:jobs"


class Command(BaseCommand):
    help = "Run jobs until SIGTERM or SIGINT."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queues", metavar="A,B:3", help="serve only these, with weights if need be")
        parser.add_argument("--concurrency", metavar="N", type=int, help="jobs at once")
        parser.add_argument("--processes", metavar="N", type=int, default=1, help="so many workers (default: 1)")
        parser.add_argument("--until-empty", action="store_true", help="end when nothing is ready or running")
        parser.add_argument("--reload", action="store_true", help="for development: start again when a .py changes")
        parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (default: info)")

    def handle(self, *args: Any, **options: Any) -> None:
        words = ["--app", APP, "--app-dir", str(getattr(settings, "BASE_DIR", os.getcwd())), "worker"]
        for name in ("queues", "concurrency", "processes", "log_level"):
            if options[name] is not None:
                words += [f"--{name.replace('_', '-')}", str(options[name])]
        words += [f"--{name.replace('_', '-')}" for name in ("until_empty", "reload") if options[name]]
        if options["processes"] != 1 or options["reload"]:
            self._for_children()
        if code := cli.main(words):
            sys.exit(code)

    def _for_children(self) -> None:
        """They are `python -m offpath …`, without the `manage.py` that says where the project is."""
        if ENVIRONMENT_VARIABLE not in os.environ:
            raise CommandError(f"--processes and --reload need {ENVIRONMENT_VARIABLE} in the environment")
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path)
