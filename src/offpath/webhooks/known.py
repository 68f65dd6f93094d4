"""Which webhooks an application sends, for those who look after it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from ..app import Offpath
    from .facade import Webhooks

made: WeakKeyDictionary[Offpath, Webhooks] = WeakKeyDictionary()


def webhooks_of(jobs: Offpath) -> Webhooks | None:
    """The newest `Webhooks` that was made for this application in this process."""
    return made.get(jobs)
