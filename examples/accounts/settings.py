"""Where things are: read once from the environment, checked, and then a plain value.

    ACCOUNTS_DATABASE        the one database of application and offpath      sqlite:///accounts.db
    ACCOUNTS_BASE_URL        what URLs in answers begin with                  http://127.0.0.1:8000
    ACCOUNTS_DATA_DIR        finished report files                            beside a SQLite file, else in
                                                                              ~/.local/share/offpath-accounts
    ACCOUNTS_SMTP_URL        the mail server                                  smtp://127.0.0.1:1025
    ACCOUNTS_PUSH_URL        the push gateway                                 http://127.0.0.1:1026/push
    ACCOUNTS_DOWNSTREAM_URL  told about updated users; unset: nobody is       (unset)
    ACCOUNTS_BROKER          what carries our events to other services:       (unset)
                             redis://…, amqp://…, kafka://…, sqs://…, or
                             http://token@host/events; unset: nobody is told
    ACCOUNTS_USER_UPDATES    "publish": PUT /users/{id} with `Prefer:         enqueue
                             respond-async` leaves a message in the queue
                             user-updates, for user_updates.py
    ACCOUNTS_HEARTBEAT       seconds between two signs of life to DOWNSTREAM   (none)
    ACCOUNTS_ZONE            whose 08:00 is the daily report's                Europe/Berlin
    ACCOUNTS_DEV_IDENTITIES  "1": the development bearer tokens are valid     (off)
    ACCOUNTS_WEBHOOK_SECRET  `whsec_…`, signs what goes to a `webhookUrl`     one of its own for each tenant
    ACCOUNTS_WEBHOOK_KEY     seals webhook secrets in the database            one for development
    ACCOUNTS_MAX_UPLOAD      bytes of a body with a file                      67108864 (64 MiB)
    ACCOUNTS_ALLOW_PRIVATE_WEBHOOKS   "1": receivers on this machine, and plain http   (off)

Ports and paths come from here and from nowhere else.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from ..urls import SettingsError as SettingsError
from ..urls import check, name_in, on_sqlite


@dataclass(frozen=True)
class Settings:
    database: str
    base_url: str
    data_dir: Path
    smtp_url: str
    push_url: str
    downstream_url: str | None
    dev_identities: bool
    broker: str | None = None
    publish_updates: bool = False
    webhook_secret: str | None = None
    webhook_key: str = "not a secret: development only"
    allow_private_webhooks: bool = False
    zone: str = "Europe/Berlin"
    heartbeat: int = 0
    max_upload: int = 64 << 20

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        database = env.get("ACCOUNTS_DATABASE") or "sqlite:///accounts.db"
        folder = beside(database)
        return cls(
            database=database,
            base_url=(env.get("ACCOUNTS_BASE_URL") or "http://127.0.0.1:8000").rstrip("/"),
            data_dir=Path(env.get("ACCOUNTS_DATA_DIR") or folder),
            smtp_url=env.get("ACCOUNTS_SMTP_URL") or "smtp://127.0.0.1:1025",
            push_url=env.get("ACCOUNTS_PUSH_URL") or "http://127.0.0.1:1026/push",
            downstream_url=env.get("ACCOUNTS_DOWNSTREAM_URL") or None,
            dev_identities=env.get("ACCOUNTS_DEV_IDENTITIES") == "1",
            broker=env.get("ACCOUNTS_BROKER") or None,
            publish_updates=_publishes(env),
            webhook_secret=env.get("ACCOUNTS_WEBHOOK_SECRET") or None,
            webhook_key=env.get("ACCOUNTS_WEBHOOK_KEY") or cls.webhook_key,
            allow_private_webhooks=env.get("ACCOUNTS_ALLOW_PRIVATE_WEBHOOKS") == "1",
            zone=env.get("ACCOUNTS_ZONE") or cls.zone,
            heartbeat=_seconds(env.get("ACCOUNTS_HEARTBEAT") or "0"),
            max_upload=_bytes(env.get("ACCOUNTS_MAX_UPLOAD") or str(cls.max_upload)),
        )


def _publishes(env: Mapping[str, str]) -> bool:
    said = env.get("ACCOUNTS_USER_UPDATES") or "enqueue"
    if said not in ("enqueue", "publish"):
        raise SettingsError(f"ACCOUNTS_USER_UPDATES must be enqueue or publish, not {said!r}")
    if said == "publish" and (env.get("ACCOUNTS_BROKER") or "http").startswith("http"):
        raise SettingsError("ACCOUNTS_USER_UPDATES=publish needs a broker with queues: set ACCOUNTS_BROKER to its URL")
    return said == "publish"


def _bytes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 40:
        raise SettingsError(f"ACCOUNTS_MAX_UPLOAD must be a number of bytes, not {text!r}")
    return int(text)


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) > 86_400:
        raise SettingsError(f"ACCOUNTS_HEARTBEAT must be a number of seconds, at most a day (0: none), not {text!r}")
    return int(text)


def beside(database: str) -> Path:
    """The folder for files that belong to a database: every process of the application must come to the same one.

    A server may be called by many names, so of a PostgreSQL URL only the database's own counts. Where several servers
    have one of this name, they share the folder; files there are named by job, which are different everywhere.
    """
    if on_sqlite(check(database)):
        file = Path(database.partition("://")[2][1:]).absolute()
        return file.with_name(file.name + ".files")
    home = os.path.expanduser("~/.local/share/offpath-accounts")
    return Path(home, quote(name_in(database), safe="") + ".files")


@cache
def settings() -> Settings:
    """This process's settings. SettingsError when one is wrong."""
    return Settings.read()
