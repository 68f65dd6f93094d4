"""Where things are: read once from the environment, checked, and then a plain value.

AUTH_DATABASE        the one database of this service and its jobs           sqlite:///auth.db
AUTH_BASE_URL        what URLs in answers begin with                         http://127.0.0.1:8001
AUTH_BROKER          where the events of other services are: redis://…,      (unset)
                     amqp://…, kafka://… or sqs://…
AUTH_EVENTS_TOKEN    what whoever brings an event by HTTP has to show;       (unset)
                     unset: nobody may bring any
AUTH_DEV_IDENTITIES  "1": the development bearer tokens are valid            (off)
AUTH_MEMBERS         members of organization 1 in the development data;      1000
                     organization 2 has a tenth of them
AUTH_BATCH           links that one transaction takes away                   500
AUTH_PAUSE_MS        rest between two batches, to spare the database         0
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ..urls import SettingsError, check


@dataclass(frozen=True)
class Settings:
    database: str
    base_url: str
    broker: str | None
    events_token: str | None
    dev_identities: bool
    members: int
    batch: int
    pause: float
    """seconds"""

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        return cls(
            database=check(env.get("AUTH_DATABASE") or "sqlite:///auth.db"),
            base_url=(env.get("AUTH_BASE_URL") or "http://127.0.0.1:8001").rstrip("/"),
            broker=env.get("AUTH_BROKER") or None,
            events_token=env.get("AUTH_EVENTS_TOKEN") or None,
            dev_identities=env.get("AUTH_DEV_IDENTITIES") == "1",
            members=_number(env, "AUTH_MEMBERS", 1000, 1, 1_000_000),
            batch=_number(env, "AUTH_BATCH", 500, 1, 10_000),
            pause=_number(env, "AUTH_PAUSE_MS", 0, 0, 60_000) / 1000,
        )


def _number(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise SettingsError(f"{name} must be a whole number from {low} to {high:,}, not {text!r}")
    return int(text)


@cache
def settings() -> Settings:
    """This process's settings. SettingsError when one is wrong."""
    return Settings.read()
