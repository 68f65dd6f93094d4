"""A `once` route's work in another database: its key is reserved in a transaction of its own, with a holder, a fence
and a lease. While the handler lives the lease is renewed, from a thread, so that a blocked loop does not end it; when
the process dies it runs out, and the key is free again."""

from __future__ import annotations

import threading
from typing import Any

from ..errors import ConfigurationError, OffpathError
from ..observe import signal
from ..ports import Reservation, Reserved
from .accept import Acceptance
from .service import Service
from .unit import Kept

RENEWALS = 3  # in the time of one lease


class Leased:
    """See `unit.Work`."""

    session: Any = None

    def __init__(self, service: Service, keeper: Keeper) -> None:
        self._store = service.store
        self._keeper = keeper
        self._held: tuple[Reservation, int] | None = None

    async def open(self) -> Any:
        raise ConfigurationError("operations.session needs Operations(…, session=sessionmaker(engine))")

    async def reserve(self, key: Reservation) -> Reserved:
        said = await self._store.perform(lambda: self._store.verbs.reserve(key))
        if said.fence:
            self._held = key, said.fence
            self._keeper.hold(key, said.fence)
        return said

    async def flush(self) -> None:
        """There is nothing of ours to flush."""

    async def keep(self, said: Kept | None, accepted: list[Acceptance], *, good: bool) -> None:
        if said is None:
            return
        verbs = self._store.verbs
        mine = await self._store.perform(lambda: verbs.remember(said.key, said.fence, *said.answer))
        self._keeper.drop(said.key)
        self._held = None
        if not mine:
            signal("http.reservation_lost", key=said.key.key)

    async def drop(self) -> None:
        if self._held is None:
            return
        (key, fence), self._held = self._held, None
        self._keeper.drop(key)
        await self._store.perform(lambda: self._store.verbs.release(key, fence))


class Keeper:
    """Renews what this process holds."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held: dict[Reservation, int] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def hold(self, key: Reservation, fence: int) -> None:
        with self._changed:
            self._held[key] = fence
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="offpath-keeper", daemon=True)
                self._thread.start()

    def drop(self, key: Reservation) -> None:
        with self._changed:
            self._held.pop(key, None)
            if not self._held:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(self._service.keys.lease / RENEWALS)
                if not self._held:
                    self._thread = None
                    return
                held = list(self._held.items())
            for key, fence in held:
                self._renew(key, fence)

    def _renew(self, key: Reservation, fence: int) -> None:
        store = self._service.store
        try:
            store.perform(lambda: store.verbs.renew_reservation(key, fence)).result()
        except OffpathError:
            return  # the store is away; it is asked again
