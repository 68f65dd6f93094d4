"""`manage.py offpath_migrate`: `offpath migrate` for a Django project. (`manage.py migrate` does it too.)"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from offpath import cli

from .offpath_worker import APP


class Command(BaseCommand):
    help = "Create offpath's tables or bring them forward."

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--print", action="store_true", dest="show", help="only print the SQL of every migration")
        which.add_argument("--check", action="store_true", help="only say whether there is something to do: exit 1")

    def handle(self, *args: Any, **options: Any) -> None:
        words = [flag for flag, given in (("--print", options["show"]), ("--check", options["check"])) if given]
        words += ["--cure", "`manage.py migrate`, or `manage.py offpath_migrate`"]
        if code := cli.main(["--app", APP, "migrate", *words]):
            sys.exit(code)
