"""The admin API as this process's own client: a row is called with a request value, and a document comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..admin import Admin
from ..admin.jobs import ALL
from ..admin.reading import cursor
from ..http.faults import response_to
from ..http.guard import Action, lacks
from ..http.messages import Caller, Request, Response
from ..http.routes import Route
from ..http.service import Service

Query = Sequence[tuple[str, str]]


class Failed(Exception):
    """The API refused: `problem` is what it said (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("title", status)))
        self.status = status
        self.problem = problem

    @property
    def said(self) -> str:
        """In a sentence or two."""
        said = str(self.problem.get("detail") or self.problem.get("title") or "That did not work")
        for one in self.problem.get("errors") or []:
            if str(one.get("detail")) not in said:
                where = one.get("parameter") or str(one.get("pointer")).removeprefix("#").removeprefix("/")
                said += f"; {where}: {one.get('detail')}" if where else f"; {one.get('detail')}"
        return said if said.endswith(".") else f"{said}."


class Call(NamedTuple):
    """One request: `path` as in the table of routes, without what `Admin(path=…)` puts before it."""

    method: str
    path: str
    params: Mapping[str, str] = {}
    query: Query = ()
    body: Mapping[str, Any] | None = None


class Api:
    """Rows by method and path."""

    def __init__(self, admin: Admin, service: Service) -> None:
        self.service = service
        self._rows: dict[tuple[str, str], Route] = {}
        for row in admin.routes:
            for method in row.methods.split():
                self._rows[method, row.path.removeprefix(admin.path)] = row

    def row(self, method: str, path: str) -> Route | None:
        return self._rows.get((method, path))

    def may(self, caller: Caller, action: Action) -> bool:
        return not lacks(action, caller, self.service.needs)

    def after(self, id: str) -> str:
        """The cursor of the list of all jobs that goes on from that id."""
        return cursor(self.service, id, ALL)

    async def get(self, caller: Caller, path: str, query: Query = (), **params: str) -> Any:
        return await self.call(caller, Call("GET", path, params, query))

    async def all(self, caller: Caller, *calls: Call) -> list[Any]:
        """Several at once; Failed for the first that is refused."""
        return list(await asyncio.gather(*(self.call(caller, one) for one in calls)))

    async def call(self, caller: Caller, call: Call) -> Any:
        """The document, None where there is no body. Failed."""
        row = self.row(call.method, call.path)
        if row is None:
            raise Failed(404, {"status": 404, "title": "The admin API of this application has no such part."})
        try:
            response = await row.handler(self.service, request(caller, call))
            if response.held is not None:
                response = await response.held()
        except Exception as error:
            response = response_to(error, self.service.problems, call.path, self.service.random())
        return read(response)


def request(caller: Caller, call: Call, headers: Mapping[str, Sequence[str]] | None = None) -> Request:
    """As it would come over HTTP. The links of what is answered are not followed, so they may begin anywhere."""
    raw = b"" if call.body is None else json.dumps(call.body).encode()

    async def body() -> bytes:
        return raw

    said = {"content-type": ["application/json"], **(headers or {})}
    return Request(call.method, call.params, call.query, said, caller, "/operations", body)


def read(response: Response) -> Any:
    document = json.loads(response.body) if response.body else None
    if response.status >= 400:
        raise Failed(response.status, document if isinstance(document, dict) else {})
    return document
