"""One request to the dashboard, once it is known who is asking, and the answers it may get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from ..http.guard import ADMIN
from ..http.messages import Caller, Response
from .api import Api, Call, Failed
from .files import version
from .gate import ALWAYS, Scope
from .render import href, render
from .session import Notice, set_notice

NO_STORE = ("Cache-Control", "no-store")
NOTICE = 400  # characters: a cookie carries them, and browsers keep 4 KiB
NAV = (
    ("overview", "", "Overview", "/"),
    ("jobs", "jobs", "Jobs", "/jobs"),
    ("queues", "queues", "Queues", "/queues"),
    ("schedules", "schedules", "Schedules", "/schedules"),
    ("workers", "workers", "Workers", "/workers"),
    ("webhooks", "webhooks", "Webhooks", "/endpoints"),
    ("health", "health", "Health", "/doctor"),
    ("audit", "audit", "Audit", "/audit"),
)
"""(name, path here, what it is called, the row of the API it takes; "/": the overview is always there)"""


class NotHere(Exception):
    """There is no such page."""


@dataclass(slots=True)
class Visit:
    """One request.

    steps    its path below the dashboard, in parts
    query    in order; form: of a POST
    token    what forms of this visit carry; leave: what the one to sign out does
    local    nobody is asked who is asking: the dashboard is open to this machine alone
    part     only what changes of the page is asked for, by a page that is open already
    """

    api: Api
    scope: Scope
    steps: tuple[str, ...]
    query: Sequence[tuple[str, str]]
    caller: Caller
    key: bytes
    token: str
    leave: str
    headers: Mapping[str, list[str]]
    local: bool = False
    signed_in: bool = False
    refresh: float = 3.0
    notice: Notice | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)

    @property
    def secure(self) -> bool:
        return bool(self.scope.get("scheme") == "https")

    @property
    def part(self) -> bool:
        return "x-offpath-part" in self.headers

    @property
    def base(self) -> str:
        return base_of(self.scope)

    @property
    def can_write(self) -> bool:
        return self.api.may(self.caller, "admin.write")

    @property
    def needed(self) -> str:
        """The permission to look at anything here."""
        return {**ADMIN, **self.api.service.needs}["admin.read"]

    @property
    def can_see(self) -> bool:
        return self.api.may(self.caller, "admin.arguments")

    def asked(self, name: str) -> str:
        """The last value of a query parameter, without blanks around it."""
        return next((value.strip() for given, value in reversed(self.query) if given == name), "")

    async def get(self, path: str, query: Sequence[tuple[str, str]] = (), **params: str) -> Any:
        return await self.api.get(self.caller, path, query, **params)

    async def all(self, *calls: Call) -> list[Any]:
        return await self.api.all(self.caller, *calls)

    async def do(self, method: str, path: str, body: Mapping[str, Any] | None = None, **params: str) -> Any:
        return await self.api.call(self.caller, Call(method, path, params, (), body))

    def link(self, path: str, /, *more: tuple[str, Any], **query: Any) -> str:
        return href(self.base, path, (*more, *query.items()))

    def page(self, template: str, here: str, title: str, status: int = 200, **values: Any) -> Response:
        nav = [(name, path, said) for name, path, said, row in NAV if row == "/" or self.api.row("GET", row)]
        body = render(template, {"visit": self, "link": self.link, "nav": nav, "here": here, "title": title,
                                 "static": f"{self.base}static/{version()}/", "part": self.part, **values})  # fmt: skip
        return html(status, body, self.set_cookies)

    def back(self, path: str, notice: Notice, *query: tuple[str, Any]) -> Response:
        """303 to a page, which says what came of it (RFC 9110 section 15.4.4)."""
        cookies = [*self.set_cookies, set_notice(self.key, notice, secure=self.secure)]
        return redirect(href(self.base, path, query), cookies)

    def refused(self, error: Failed, path: str, *query: tuple[str, Any]) -> Response:
        """Back to the page that asked for it, which says why nothing was done. Failed, where that page would not be
        there to say so: nobody may do that, there is no such thing, or the store is away."""
        if error.status in (403, 404) or error.status >= 500:
            raise error
        return self.back(path, Notice("failed", f"Nothing was done. {error.said}"[:NOTICE]), *query)

    def failed(self, error: Failed) -> Response:
        return self.page("problem.html", "", error.problem.get("title") or "That did not work", error.status,
                         problem=error.problem, code=error.status,
                         posted=self.scope["method"] == "POST")  # fmt: skip


def html(status: int, body: bytes, cookies: Sequence[str] = ()) -> Response:
    headers = [("Content-Type", "text/html; charset=utf-8"), NO_STORE, *ALWAYS]
    return Response(status, [*headers, *(("Set-Cookie", one) for one in cookies)], body)


def redirect(location: str, cookies: Sequence[str] = (), status: int = 303) -> Response:
    headers = [("Location", location), NO_STORE, *ALWAYS]
    return Response(status, [*headers, *(("Set-Cookie", one) for one in cookies)])


def path_of(scope: Scope) -> str:
    """Below the dashboard, with the slash at its beginning; "" without one (ASGI's `path` begins with `root_path`)."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and (path == root or path.startswith(f"{root}/")) else path


def base_of(scope: Scope) -> str:
    """From the page to the dashboard's root: right whatever proxies have cut off or put before it."""
    return "../" * max(path_of(scope).count("/") - 1, 0) or "./"


def query_of(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True, max_num_fields=100)
