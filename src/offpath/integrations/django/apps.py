"""`INSTALLED_APPS = [..., "offpath.integrations.django"]`: tasks found, settings checked, tables kept up to date."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules

from ...errors import ConfigurationError
from . import conf, project
from .checks import check_settings


class OffpathConfig(AppConfig):
    name = "offpath.integrations.django"
    label = "offpath"
    verbose_name = "offpath"

    def ready(self) -> None:
        checks.register(check_settings)
        post_migrate.connect(migrate, sender=self, dispatch_uid="offpath")
        try:
            conf.read()
        except ConfigurationError:
            return  # `manage.py check`, which comes before every command, has more to say than an import that fails
        autodiscover_modules("tasks")


def migrate(using: str, verbosity: int, **more: Any) -> None:
    """After `manage.py migrate` of the jobs' database (and so for a test runner's): our own tables.

    `plan` tells a migration from a flush, which sends the same signal.
    """
    said = conf.read()
    if "plan" not in more or using != said.alias:
        return
    if conf.in_memory(conf.connection_of(using)):
        return  # whoever enqueues there is told
    jobs = project.make(said)
    try:
        applied = jobs.migrate()
    finally:
        jobs.close()
    if verbosity >= 1:
        for name in applied:
            print(f"  Applied offpath.{name}")  # noqa: T201 (as `migrate` does)
