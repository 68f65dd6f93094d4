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

from ..core.audit import ACTIONS, Act, Actor
from ..core.checks import check_name, shown
from ..errors import ConfigurationError
from ..observe import meters
from ..ports import Maker, Store, Verb

R = TypeVar("R")
Said = Mapping[str, Any]

_actor: ContextVar[Actor | None] = ContextVar("offpath.actor", default=None)


def actor() -> Actor | None:
    """Who is acting here; None: nobody in particular."""
    return _actor.get()


@contextmanager
def acting(name: str, tenant: str | None = "") -> Iterator[None]:
    """Within the block, what is changed is recorded as done by `name`: text of 1 to 255 characters. ConfigurationError.

    tenant  in which an owner of that name is the same person, whose name goes when that owner is erased (default: in
            none, as elsewhere); None: no owner is
    """
    if tenant is not None and not isinstance(tenant, str):
        raise ConfigurationError(f"tenant must be text or None, not {shown(tenant)}")
    token = _actor.set(Actor(check_name(name, "actor"), tenant))
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
                yield from noted(store, Act(who.id, action, target, data, who.tenant))
            return given

        return whole()

    return verb


def noted(store: Store, act: Act) -> Verb[None]:
    """The act, written and counted."""
    yield from store.verbs.note([act])
    if meters.on is not None:
        meters.on.add("offpath_audit_actions_total", (act.action,))
