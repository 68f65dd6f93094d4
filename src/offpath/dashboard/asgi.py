"""The dashboard as an ASGI application: who is asking, which page, and nothing that a foreign page could make it do."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

from ..admin import Admin
from ..core.checks import number
from ..http.asgi import Receive, Send, answer, read_body, send_response
from ..http.faults import response_to
from ..http.guard import ADMIN, Action
from ..http.home import at_home
from ..http.messages import Caller, Refused, Response
from ..http.service import Service
from . import session as kept
from .actions import ACTS, act, asked_for
from .api import Api, Call, Failed, request
from .files import serve, version
from .gate import ALWAYS, Ask, Knocks, Scope, Unknown, cookies, crosses, headers_of, same_origin
from .pages import PAGES
from .render import environment as prepare
from .render import render
from .session import form_token, is_form_token
from .visit import NotHere, Visit, html, path_of, query_of, redirect

T = TypeVar("T")
FORMS = 64 * 1024  # bytes of one
EVENTS = ("jobs", "*", "events")
CLOSED = (
    "This dashboard is open to the machine it runs on, and to nobody else: nobody has said who may come in. "
    "Give Operations a caller=, or offpath dashboard a --token."
)
LOCAL = "dashboard"
"""The caller, where nobody says who is asking."""


class Dashboard:
    """An ASGI application; mount it below any path.

    admin, service  the admin API that it is a client of
    ask        who is asking, by the application's own `caller`; None: nobody can say, so that it answers this machine
               alone, by the name `local`, and changes nothing
    writable   without `ask`: it may change things, and show arguments
    refresh    seconds between two looks of an open page (3)
    origin     where the application is, as browsers have it ("https://shop.example"), whatever a proxy does to Host

    Forms and notices are signed with a key made from `Operations(secret=…)`, the same on every replica.

    ConfigurationError for what cannot be.
    """

    def __init__(
        self,
        admin: Admin,
        service: Service,
        *,
        ask: Ask | None,
        writable: bool = False,
        local: str = LOCAL,
        refresh: float = 3.0,
        origin: str | None = None,
    ) -> None:
        self._api = Api(admin, service)
        self._service = service
        self._ask = ask
        self._refresh = number(refresh, 0.2, 3_600, "refresh")
        self._local = keeper(service, writable, local)
        self._knocks = Knocks()
        self._origins = frozenset() if origin is None else frozenset({origin.lower()})
        prepare()
        version()

    @property
    def _key(self) -> bytes:
        return self._service.key("dashboard")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            response = await self._answer(scope, receive, send)
        except Exception as error:
            problem = response_to(error, self._service.problems, "dashboard", self._service.random())
            response = _plain(problem.status, "That did not work; the log says why.")
        if response is not None:
            await send_response(response, scope, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """None: it has been answered."""
        headers, path, method = headers_of(scope), path_of(scope), scope["method"]
        if self._ask is None and not at_home(scope):
            return _plain(403, CLOSED)
        if path == "":
            return redirect(f"{str(scope['path']).rpartition('/')[2]}/", status=307)
        if method not in ("GET", "HEAD", "POST"):
            return _plain(405, "GET, HEAD or POST", ("Allow", "GET, HEAD, POST"))
        if path.startswith("/static/"):
            return serve(path.removeprefix("/static/")) or _plain(404, "There is no such file.")
        try:
            query = query_of(scope)
        except ValueError:
            return _plain(400, "That is more than can be asked at once.")
        steps = tuple(step for step in path.split("/") if step)
        jar = cookies(headers.get("cookie", []))
        visit = Visit(self._api, scope, steps, query, self._local, self._key, "", "", headers, self._ask is None)
        visit.refresh, visit.signed_in = self._refresh, kept.signed_in(jar)
        session = kept.session_in(jar)
        if method == "POST":
            if not same_origin(headers, self._origins):
                return self._foreign(visit)
            try:
                visit.form = _form(await read_body(receive, FORMS), headers)
            except Refused as error:
                return _plain(error.document["status"], error.document["title"])
        if session is None:
            session = kept.new_session()
            visit.set_cookies.append(kept.set_session(session, secure=visit.secure))
        visit.leave = form_token(self._key, session, None)
        if steps in (("sign-in",), ("sign-out",)):
            return await self._door(visit, session, jar)
        if self._ask is not None:
            try:
                visit.caller = await self._ask(kept.with_token(scope, jar))
            except Unknown:
                return self._stranger(visit)
        visit.token = form_token(self._key, session, visit.caller)
        if method == "POST" and not is_form_token(self._key, session, visit.caller, visit.form.get("form", "")):
            return self._foreign(visit)
        if method != "POST" and not visit.part and (notice := kept.notice_in(self._key, jar)) is not None:
            visit.notice = notice
            visit.set_cookies.append(kept.clear_notice(secure=visit.secure))
        if not self._api.may(visit.caller, "admin.read"):
            return visit.page("closed.html", "", "You may not look at this", 403)
        if method != "POST" and _match({EVENTS: True}, steps):
            return await self._events(visit, receive, send)
        return await self._shown(visit, method)

    async def _shown(self, visit: Visit, method: str) -> Response:
        page, action = _match(PAGES, visit.steps), _match(ACTS, visit.steps)
        try:
            if method == "POST" and action is not None:
                return await act(visit, action)
            if method != "POST" and page is not None:
                return await page(visit)
            if method != "POST" and action is not None:
                return asked_for(visit)
            if page is None:
                raise NotHere
            return _plain(405, "That is not done this way.", ("Allow", "GET, HEAD"))
        except NotHere:
            return visit.failed(Failed(404, {"title": "There is no such page", "status": 404}))
        except Failed as error:
            return visit.failed(error)

    async def _events(self, visit: Visit, receive: Receive, send: Send) -> Response | None:
        """A job's progress, as the admin API streams it."""
        row = self._api.row("GET", "/jobs/{job_id}/events")
        if row is None or crosses(visit.headers):
            return _plain(403 if row else 404, "There is nothing to follow here.")
        call = Call("GET", "", {"job_id": visit.steps[1]}, visit.query)
        said = {name: values for name, values in visit.headers.items() if name == "last-event-id"}
        await answer(self._service, row.handler, lambda: request(visit.caller, call, said), visit.scope, receive, send)
        return None

    # ── coming in and going out ──────────────────────────────────────────────────────────────────────────────────────

    def _stranger(self, visit: Visit) -> Response:
        """Nobody that the application knows."""
        if visit.scope["method"] == "POST" or visit.part:
            return _plain(401, "Sign in first.", ("WWW-Authenticate", "Bearer"))
        if crosses(
            visit.headers
        ):  # a link in an e-mail, say: SameSite=Strict cookies come with the second request only
            page = render("again.html", {"title": "One moment"})
            return html(200, page, visit.set_cookies)
        back = path_of(visit.scope).lstrip("/")
        text = visit.scope.get("query_string", b"").decode("latin-1")
        there = visit.link("sign-in", next=back + (f"?{text}" if text else "")) if back else visit.link("sign-in")
        return redirect(there, visit.set_cookies)

    async def _door(self, visit: Visit, session: str, jar: Mapping[str, str]) -> Response:
        post = visit.scope["method"] == "POST"
        visit.token = visit.leave
        said = visit.form.get("form", "")
        if visit.steps == ("sign-out",):
            if not post:
                return redirect(visit.link(""), visit.set_cookies)
            if not is_form_token(self._key, session, None, visit.form.get("leave", "")):
                return self._foreign(visit)
            visit.set_cookies.append(kept.clear_token(secure=visit.secure))
            return redirect(visit.link("sign-in"), visit.set_cookies)
        next_ = visit.form.get("next", "") if post else visit.asked("next")
        if not post:
            return visit.page("sign_in.html", "", "Sign in", next=next_)
        if not is_form_token(self._key, session, None, said):
            return self._foreign(visit)
        given = visit.form.get("credential", "")
        header = kept.authorization(given)
        wrong, peer = "That is not accepted here.", str((visit.scope.get("client") or ("",))[0])
        if wait := self._knocks.wait(peer, time.monotonic()):
            said = f"Too many failed: try again in {math.ceil(wait)} s."
            return visit.page("sign_in.html", "", "Sign in", 429, next=next_, wrong=said)
        if self._ask is not None and header is not None:
            others = [(name, value) for name, value in visit.scope["headers"] if name.lower() != b"authorization"]
            try:
                await self._ask({**visit.scope, "headers": [*others, (b"authorization", header.encode("ascii"))]})
            except Unknown:
                pass
            else:
                visit.set_cookies.append(kept.set_token(given, secure=visit.secure))
                return redirect(_within(visit.base, next_), visit.set_cookies)
        self._knocks.failed(peer, time.monotonic())
        return visit.page("sign_in.html", "", "Sign in", 401, next=next_, wrong=wrong)

    def _foreign(self, visit: Visit) -> Response:
        said = (
            "This was not sent by a page of this dashboard, or by one that has been open for too long. Go back, load "
            "the page again, and repeat it. If it says so each time, a proxy before it changes the Host: it is to pass "
            "Host on as it came, or to send X-Forwarded-Host; or give Operations a base_url=."
        )
        return html(403, render("plain.html", {"title": "Not done", "text": said}))


def keeper(service: Service, writable: bool, name: str) -> Caller:
    """Whoever looks after the jobs, where the application names nobody: may look; or change, and see values, too."""
    actions: tuple[Action, ...] = ("admin.read", "admin.write", "admin.arguments") if writable else ("admin.read",)
    return Caller(name, permissions=frozenset({**ADMIN, **service.needs}[one] for one in actions))


def _match(table: Mapping[tuple[str, ...], T], steps: tuple[str, ...]) -> T | None:
    found = table.get(steps)
    if found is not None or len(steps) < 2:
        return found
    return table.get((steps[0], "*", *steps[2:]))


def _form(body: bytes, headers: Mapping[str, list[str]]) -> dict[str, str]:
    """What a form says; several states are one list. Refused: it is no form, or too much of one."""
    kind = (headers.get("content-type", [""])[0]).partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused({"title": "Forms are sent as application/x-www-form-urlencoded.", "status": 415})
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise Refused({"title": "That form cannot be read.", "status": 400}) from None
    return {**dict(pairs), **({"state": states} if (states := ",".join(v for n, v in pairs if n == "state")) else {})}


def _within(base: str, path: str) -> str:
    """A page of ours to go on with, whatever was asked for: it never leads to another host, nor out of here."""
    plain, _, _ = path.partition("?")
    unsafe = any(step == ".." for step in unquote(plain).replace("\\", "/").split("/"))
    if unsafe or not path.isprintable() or not path.isascii() or " " in path or "\\" in path or path.startswith("/"):
        return base
    return base + path


def _plain(status: int, text: str, *headers: tuple[str, str]) -> Response:
    """Where there is nobody to show a page to."""
    more = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"), *ALWAYS, *headers]
    return Response(status, more, text.encode())


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
