"""The `once` routes of one face: a unit for each request, in a transaction where sessions can be had, under a lease
where not."""

from __future__ import annotations

from .asgi import App, Receive, Scope, Send
from .leased import Keeper, Leased
from .service import Service
from .transaction import Transaction
from .unit import Unit, serve


class Once:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._keeper = Keeper(service)

    async def serve(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Run `app`, which tells `scope[UNIT]` who asks, how to read the body and when its handler begins."""
        maker = self._service.keys.session
        work = Leased(self._service, self._keeper) if maker is None else Transaction(self._service, maker)
        await serve(Unit(self._service, work, scope), app, scope, receive, send)
