"""`Admin`: what an application says of its admin API."""

from __future__ import annotations

import re
from functools import cached_property

from ..errors import ConfigurationError
from ..http.messages import Request, Response
from ..http.routes import Route
from ..http.service import Service

_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)+")
TRACE = "{trace_id}"


class Admin:
    """The routes with which people look after an application's jobs, all of them and whoever they belong to:
    `Operations(jobs, caller=current_user, admin=Admin())`.

    A caller needs the permission "offpath.read" to look, "offpath.write" to change, and "offpath.arguments" to see
    arguments and results as they are (other words: `Operations(permissions={"admin.read": …})`); who has none is
    answered 403. What is changed, and whose arguments are looked at, is in the audit log (`jobs.audit()`).

    path       where they are, beside "/operations": everything below it is theirs
    trace_url  where a trace can be seen: "https://jaeger.example.org/trace/{trace_id}"

    ConfigurationError for what cannot be.
    """

    def __init__(self, *, path: str = "/admin", trace_url: str | None = None) -> None:
        if _PATH.fullmatch(path) is None:
            raise ConfigurationError(f"path is like /admin, with a slash at its beginning only, not {path!r}")
        if trace_url is not None and (not trace_url.startswith(("https://", "http://")) or TRACE not in trace_url):
            raise ConfigurationError(f"trace_url is an absolute URL with {TRACE} in it, not {trace_url!r}")
        self.path = path
        self._trace_url = trace_url

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """The rows that `Operations(…, admin=…)` mounts."""
        from .routes import routes

        return routes(self)

    async def call(self, service: Service, name: str, request: Request) -> Response:
        """What the row called `name` answers, without a server: for pages that are made here. Every guard that does
        not need a browser's headers holds: permissions are asked for, refusals are raised (`http.messages.Refused`).
        LookupError when there is no such row."""
        for row in self.routes:
            if row.name == name:
                return await row.handler(service, request)
        raise LookupError(f"the admin API has no row {name!r}")

    def trace_link(self, trace_id: str) -> str | None:
        return None if self._trace_url is None else self._trace_url.replace(TRACE, trace_id)

    def url(self, request: Request, path: str) -> str:
        """The absolute URL of something below `path`, as this client reaches it."""
        return request.base.removesuffix("/operations") + self.path + path
