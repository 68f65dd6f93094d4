"""Who is acting: the name that goes into the audit log with what is changed.

with acting("alice"):
    await jobs.retry(id)

Where nobody has said it, nothing is recorded: what an application does by itself is its own business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from ..core.audit import ACTIONS, Act
from ..core.checks import check_name
from ..observe import meters
from ..ports import Maker, Store, Verb

R = TypeVar("R")
Said = Mapping[str, Any]

_actor: ContextVar[str | None] = ContextVar("offpath.actor", default=None)


def actor() -> str | None:
    """Who is acting here; None: nobody in particular."""
    return _actor.get()


@contextmanager
def acting(name: str) -> Iterator[None]:
    """Within the block, what is changed is recorded as done by `name`: text of 1 to 255 characters.
    ConfigurationError."""
    token = _actor.set(check_name(name, "actor"))
    try:
        yield
    finally:
        _actor.reset(token)


def recorded(
    store: Store, make: Maker[R], action: str, target: str, says: Callable[[R], Said | None] = lambda _: {}
) -> Maker[R]:
    """What makes the verb, and in its transaction the act, if somebody is acting: for `Store.perform`.

    says  of what the verb gives: what else is to be remembered; None: nothing was changed, so there is no act
    """
    who = _actor.get()  # here: verbs are made again by whichever thread writes
    if who is None:
        return make
    assert action in ACTIONS, action  # noqa: S101

    def verb() -> Verb[R]:
        def whole() -> Verb[R]:
            given = yield from make()
            data = says(given)
            if data is not None:
                yield from store.verbs.note([Act(who, action, target, data)])
                if meters.on is not None:
                    meters.on.add("offpath_audit_actions_total", (action,))
            return given

        return whole()

    return verb
