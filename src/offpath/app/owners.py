"""What is kept of one owner: `jobs.export_owner(…)` and `jobs.purge_owner(…)`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from ..core import redact
from ..core.audit import Act, Actor
from ..core.checks import shown
from ..core.job import State
from ..errors import ConfigurationError, Conflict
from ..ports import Maker, Store, Verb
from ..ports.owners import Living, Owner, Swept, Where
from ..privacy import Vault
from ..privacy.secret import opened
from .acting import actor, recorded
from .desk import Counter
from .driving import Rest, Steps, Told, drive, drive_sync

PAGE = 200  # jobs that are erased in one transaction
LOOK = 20  # jobs that are told at once: each may have a long log
ROUNDS = 5
PLACES: tuple[Where, ...] = ("live", "ended", "operations")
APPLICATION = Actor("application", None)
"""The actor of what nobody has said who does it."""


class Erased(NamedTuple):
    """How far it has come: rows that are gone, by kind. "renamed": those that stay and name the owner no more, lines of
    the audit log and changes of many jobs."""

    counts: Mapping[str, int] = MappingProxyType({})

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def with_(self, more: Mapping[str, int]) -> Erased:
        kinds = {*self.counts, *more}
        return Erased({kind: self.counts.get(kind, 0) + more.get(kind, 0) for kind in sorted(kinds)})


class Owners:
    """A part of `Offpath`."""

    _desk: Counter

    def export_owner(self, owner: str, tenant: str = "", *, secrets: bool = False) -> AsyncIterator[dict[str, Any]]:
        """`async for row in jobs.export_owner("user:42"):` all that is kept of an owner, as plain data.

        Each is a dict of JSON values with a "kind": job, operation, event, step, attempt, letter, message, received,
        endpoint, delivery, sending, idempotency, audit; moments are ISO 8601. Read page by page: what comes or goes
        meanwhile may be there or not. Parts of the owner's flows are among its jobs.

        owner, tenant  as they were given when the work was started
        secrets        show the values of Secrets (default: masked). ConfigurationError when no key opens one

        When somebody is acting (`offpath.app.acting`), the audit log has it before the first row is told.
        """
        whose = _owner(owner, tenant)
        return _told(self._desk, whose, secrets, _exporting(self._desk, whose, secrets))

    def export_owner_sync(self, owner: str, tenant: str = "", *, secrets: bool = False) -> Iterator[dict[str, Any]]:
        """The same, blocking."""
        whose = _owner(owner, tenant)
        return _told_sync(self._desk, whose, secrets, _exporting(self._desk, whose, secrets))

    async def purge_owner(
        self,
        owner: str,
        tenant: str = "",
        *,
        cancel: bool = False,
        progress: Callable[[Erased], object] | None = None,
    ) -> Erased:
        """Erase all that is kept of an owner; gives how many rows went, by kind.

        cancel    what has not ended is stopped and erased too: what runs is asked to stop, has `cancel_grace` to do so,
                  and is then taken from its worker. Without it, Conflict tells how many there are, and nothing is done
        progress  called after each page; when it raises, the rest is left as it is

        A page is one transaction. What is gone is gone, also if this process is killed; the same call again goes on
        with what is left. Nothing that a late worker says finds its job again. The audit log keeps that it was done,
        by whom, and a hash of the owner in place of the name. Stop taking the owner's requests first; for what stays in
        free pages, write-ahead logs and backups see docs/how-to/privacy.md.
        """
        erased = Erased()
        async for erased in drive(self._purge(_owner(owner, tenant), cancel)):
            if progress is not None:
                progress(erased)
        return erased

    def purge_owner_sync(
        self,
        owner: str,
        tenant: str = "",
        *,
        cancel: bool = False,
        progress: Callable[[Erased], object] | None = None,
    ) -> Erased:
        """The same, blocking."""
        erased = Erased()
        for erased in drive_sync(self._purge(_owner(owner, tenant), cancel)):
            if progress is not None:
                progress(erased)
        return erased

    def _purge(self, owner: Owner, cancel: bool) -> Steps[Erased]:
        store = self._desk.store
        erased = Erased()
        for _ in range(ROUNDS):
            living: Living = yield store.read(store.verbs.living(owner))
            if living.jobs and not cancel:
                raise Conflict(
                    f"{living.jobs} jobs of this owner have not ended ({living.running} run): wait for them, or "
                    "erase them too, with cancel=True"
                )
            if living.running:
                yield from _stop(store, owner, self._desk.settings.cancel_grace)
            for where in PLACES:
                after: str | None = None
                while True:
                    swept: Swept = yield store.perform(partial(store.verbs.sweep, owner, where, after, PAGE))
                    if swept.gone:
                        erased = erased.with_(swept.gone)
                        yield Told(erased)
                    if swept.last is None:
                        break
                    after = swept.last
            living = yield store.read(store.verbs.living(owner))
            if not living.jobs:
                break
        else:
            raise Conflict("jobs of this owner keep coming: stop taking its requests, then erase it again")
        naming: list[tuple[str, str]] = yield store.read(store.verbs.naming(owner))
        rest: Mapping[str, int] = yield store.perform(
            partial(_rest, store, owner, erased, naming, actor() or APPLICATION)
        )
        yield Told(erased.with_(rest))


def _rest(
    store: Store, owner: Owner, erased: Erased, naming: list[tuple[str, str]], who: Actor
) -> Verb[Mapping[str, int]]:
    name = anonymous(owner)
    gone = yield from store.verbs.sweep_rest(owner, name, naming)
    by = Actor(name, None) if tuple(who) == tuple(owner) else who
    counts = dict(erased.with_(gone).counts)
    yield from store.verbs.note([Act(by.id, "owner.purge", name, {"rows": counts}, by.tenant)])
    return gone


def anonymous(owner: Owner) -> str:
    """What an erased owner is called in the audit log: who knows the name can find it, and it tells nobody the name
    (who can guess it can confirm it)."""
    return "erased:" + hashlib.sha256(f"{owner.tenant}\0{owner.id}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _stop(store: Store, owner: Owner, grace: float) -> Steps[Erased]:
    """Ask what runs to stop, and wait a little until it has."""
    while ids := (yield store.read(store.verbs.running_of(owner, PAGE))):
        for id in ids:
            yield store.perform(partial(store.verbs.cancel, id, "its owner is being erased"))
    until = time.monotonic() + grace
    while time.monotonic() < until:
        living: Living = yield store.read(store.verbs.living(owner))
        if not living.running:
            return
        yield Rest(0.1)


# -- told -------------------------------------------------------------------------------------------------------------

_TIMES = frozenset(
    ("run_at", "deadline", "cancel_at", "finished_at", "expires_at", "created_at", "updated_at", "started_at", "at")
) | {"ended_at"}
_JSON = frozenset(("args", "options", "result", "error", "data", "events", "progress", "headers"))
_SECRET = frozenset(("args", "result", "data"))
_OPENS = frozenset((("job", "options"), ("endpoint", "url")))


def _owner(owner: object, tenant: object) -> Owner:
    if not isinstance(owner, str) or not owner:
        raise ConfigurationError(f"owner must be text, as it was given when the work was started, not {shown(owner)}")
    if not isinstance(tenant, str):
        raise ConfigurationError(f"tenant must be text, not {shown(tenant)}")
    return Owner(owner, tenant)


def _exporting(desk: Counter, owner: Owner, secrets: bool) -> Maker[None] | None:
    """What remembers it; None: nobody in particular is acting."""
    if actor() is None:
        return None
    said = {"tenant": owner.tenant, "secrets": secrets}
    return recorded(desk.store, _nothing, "owner.export", owner.id, lambda _: said)


def _nothing() -> Verb[None]:
    yield from ()


async def _told(desk: Counter, owner: Owner, secrets: bool, noted: Maker[None] | None) -> AsyncIterator[dict[str, Any]]:
    store, seen = desk.store, set[str]()
    vault = _vault(desk, secrets)
    if noted is not None:
        await store.perform(noted)
    for where in PLACES:
        after: str | None = None
        while ids := await store.read(store.verbs.owned(owner, where, after, LOOK)):
            after = ids[-1]
            for row in await store.read(_family(store, ids, seen)):
                yield _shown(*row, secrets, vault)
    for row in await store.read(store.verbs.told_of(owner)):
        yield _shown(*row, secrets, vault)


def _told_sync(desk: Counter, owner: Owner, secrets: bool, noted: Maker[None] | None) -> Iterator[dict[str, Any]]:
    store, seen = desk.store, set[str]()
    vault = _vault(desk, secrets)
    if noted is not None:
        store.perform(noted).result()
    for where in PLACES:
        after: str | None = None
        while ids := store.read(store.verbs.owned(owner, where, after, LOOK)).result():
            after = ids[-1]
            for row in store.read(_family(store, ids, seen)).result():
                yield _shown(*row, secrets, vault)
    for row in store.read(store.verbs.told_of(owner)).result():
        yield _shown(*row, secrets, vault)


def _vault(desk: Counter, secrets: bool) -> Vault | None:
    return desk.vault if secrets else None


def _family(store: Store, ids: list[str], seen: set[str]) -> Verb[list[tuple[str, dict[str, Any]]]]:
    """These and what belongs to them, each once."""
    whole = [id for id in ids if id not in seen]
    seen.update(whole)
    more = list(whole)
    while more:
        kin = yield from store.verbs.kin(more)
        more = [id for id in kin if id not in seen]
        seen.update(more)
        whole += more
    return (yield from store.verbs.told(whole)) if whole else []


def _shown(kind: str, row: Mapping[str, Any], secrets: bool, vault: Vault | None) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": kind}
    for name, value in row.items():
        if value is not None and name in _TIMES:
            value = datetime.fromtimestamp(value / 1e6, UTC).isoformat()
        elif isinstance(value, str) and not secrets and (kind, name) in _OPENS:
            value = redact.options(value) if name == "options" else redact.place(value)
        elif isinstance(value, str) and (name in _JSON or (kind == "step" and name == "result")):
            value = opened(value, vault) if secrets and (name in _SECRET or kind == "step") else redact.plain(value)
        elif name == "state" and kind in ("job", "operation"):
            value = State(value).name.lower()
        made[name] = value
    return made
