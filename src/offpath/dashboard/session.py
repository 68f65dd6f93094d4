"""What a browser keeps for the dashboard, and the words that show a form to be one of ours. Pure but for randomness.

offpath_token    what was given at sign-in, for the application's own `caller`; below the dashboard's path only
offpath_session  random; every form carries an HMAC of it and of who is asking
offpath_notice   what the last action came to, shown once
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..http.messages import Caller
from .gate import Scope

TOKEN, SESSION, NOTICE = "offpath_token", "offpath_session", "offpath_notice"
LONGEST = 2_800  # bytes of a token: with what base64 adds it stays below the 4 KiB that browsers keep of a cookie
_SESSION_LENGTH = 32


class Notice(NamedTuple):
    """kind: done or failed; path: of a page of ours that it is about, "" for none."""

    kind: str
    text: str
    path: str = ""


def session_in(cookies: Mapping[str, str]) -> str | None:
    said = cookies.get(SESSION, "")
    return said if len(said) == _SESSION_LENGTH and said.isalnum() and said.isascii() else None


def new_session() -> str:
    return secrets.token_hex(_SESSION_LENGTH // 2)


def form_token(key: bytes, session: str, caller: Caller | None) -> str:
    """What a form carries: nobody else's page can know it, and it is no good for another person."""
    who = ("", "") if caller is None else (caller.tenant, caller.id)
    return _sign(key, json.dumps(["form", session, *who]))


def is_form_token(key: bytes, session: str | None, caller: Caller | None, said: str) -> bool:
    if session is None or not said.isascii():
        return False
    return hmac.compare_digest(form_token(key, session, caller), said)


def authorization(token: str) -> str | None:
    """The header that a token stands for: `Bearer …`, or as it is when it names its scheme itself. None: no header
    can be made of it."""
    token = token.strip()
    if not token or len(token) > LONGEST or not token.isascii() or not token.isprintable():
        return None
    return token if " " in token else f"Bearer {token}"


def with_token(scope: Scope, cookies: Mapping[str, str]) -> Scope:
    """The request as the API would get it: with the Authorization header that a browser does not send by itself."""
    token = _plain(cookies.get(TOKEN, ""))
    said = None if token is None else authorization(token)
    if said is None or any(name.lower() == b"authorization" for name, _ in scope["headers"]):
        return scope
    return {**scope, "headers": [*scope["headers"], (b"authorization", said.encode("ascii"))]}


def signed_in(cookies: Mapping[str, str]) -> bool:
    return TOKEN in cookies


def set_token(token: str, *, secure: bool) -> str:
    """Without a Path: the browser takes the folder of the sign-in page, which is the dashboard's own under any proxy
    (RFC 6265 section 5.1.4)."""
    return _cookie(TOKEN, _text(token.strip()), secure)


def clear_token(*, secure: bool) -> str:
    return _cookie(TOKEN, "", secure, "Max-Age=0")


def set_session(session: str, *, secure: bool) -> str:
    return _cookie(SESSION, session, secure, "Path=/")


def set_notice(key: bytes, notice: Notice, *, secure: bool) -> str:
    text = _text(json.dumps(notice))
    return _cookie(NOTICE, f"{text}.{_sign(key, text)}", secure, "Path=/; Max-Age=60")


def clear_notice(*, secure: bool) -> str:
    return _cookie(NOTICE, "", secure, "Path=/; Max-Age=0")


def notice_in(key: bytes, cookies: Mapping[str, str]) -> Notice | None:
    """What we have left there; None for anything that we have not."""
    text, _, signature = cookies.get(NOTICE, "").partition(".")
    if not text or not signature.isascii() or not hmac.compare_digest(_sign(key, text), signature):
        return None
    said: Any = json.loads(_plain(text) or "null")
    return Notice(*said) if isinstance(said, list) and len(said) == 3 else None


def _cookie(name: str, value: str, secure: bool, more: str = "") -> str:
    parts = (f"{name}={value}", more, "HttpOnly", "SameSite=Strict", "Secure" if secure else "")
    return "; ".join(part for part in parts if part)


def _sign(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _text(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


def _plain(value: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
