"""What `manage.py check` says of offpath's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning

from ...errors import ConfigurationError
from . import conf

IMMEDIATE = (
    "a transaction that begins as a reader and writes later meets 'database is locked' beside a worker, whatever the "
    "timeout; set OPTIONS to {'transaction_mode': 'IMMEDIATE'}"
)


def check_settings(app_configs: Sequence[AppConfig] | None, **more: Any) -> list[CheckMessage]:
    try:
        said = conf.read()
    except ConfigurationError as e:
        return [Error(str(e), id="offpath.E001")]
    if said.alias is None:
        return [
            Warning(
                f"settings.{conf.NAME}['DATABASE'] is a URL, so jobs do not join Django's transactions",
                hint="Name an alias of settings.DATABASES if one of them is the same database.",
                id="offpath.W001",
            )
        ]
    in_memory = False
    try:
        connection = conf.connection_of(said.alias)
        in_memory = conf.in_memory(connection)  # as Django's test runner has it, and that checks too
        said.url()
    except ConfigurationError as e:
        return [Warning(str(e), id="offpath.W003") if in_memory else Error(str(e), id="offpath.E002")]
    mode = str(connection.settings_dict["OPTIONS"].get("transaction_mode") or "")
    if connection.vendor == "sqlite" and mode.upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        return [Warning(f"settings.DATABASES[{said.alias!r}]: {IMMEDIATE}", id="offpath.W002")]
    return []
