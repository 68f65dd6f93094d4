"""The dashboard for a Starlette application: who is asking is what its `caller` function says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ...admin import Admin
from ...dashboard import Dashboard, Unknown
from ...errors import ConfigurationError
from ...http.face import Face
from ...http.messages import Caller, Refused


def dashboard(face: Face, admin: Admin | None, asking: Callable[[Request], Awaitable[Caller]] | None) -> Dashboard:
    """`asking`: None with `public`, where nobody says who is asking."""
    if admin is None:
        raise ConfigurationError("the dashboard shows what the admin API says: Operations(…, admin=Admin())")
    if asking is None:
        return Dashboard(admin, face.service, ask=None, origin=face.origin)
    who = asking

    async def ask(scope: Any) -> Caller:
        try:
            return await who(Request(scope))
        except Refused as error:
            raise Unknown(error.document["status"]) from None
        except HTTPException as error:
            if error.status_code >= 500:
                raise
            raise Unknown(error.status_code) from None

    return Dashboard(admin, face.service, ask=ask, origin=face.origin)
