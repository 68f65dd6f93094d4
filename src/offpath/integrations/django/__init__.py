"""Django 5.2 and newer: jobs in `transaction.atomic`, on the database of `settings.DATABASES`; `manage.py
offpath_worker`; a backend for the Tasks API.

INSTALLED_APPS = [..., "offpath.integrations.django"]

from offpath.integrations.django import jobs

@jobs.task
def send_email(to: str, template: str) -> None: ...

with transaction.atomic():
    user.save()
    send_email.using(tx=connection).enqueue_sync(to=user.email, template="profile-changed")

`jobs` is made from `settings.OFFPATH` when it is first asked for; see `conf.Conf`. Importing this package asks for
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import MissingExtraError

try:
    import django as django
except ImportError as e:
    raise MissingExtraError("offpath.integrations.django", "django") from e

if TYPE_CHECKING:
    from ...app import Offpath
    from .backend import OffpathBackend as OffpathBackend

    jobs: Offpath

__all__ = ["OffpathBackend", "jobs"]


def __getattr__(name: str) -> Any:
    """Both need Django's settings, and the backend an implementation of the Tasks API."""
    if name == "jobs":
        from . import project

        return project.jobs()
    if name == "OffpathBackend":
        from .backend import OffpathBackend

        return OffpathBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
