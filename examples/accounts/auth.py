"""Who is asking: bearer tokens. The four development identities are valid only where they are switched on."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from .settings import settings


@dataclass(frozen=True)
class Identity:
    """The caller of a request. offpath uses `id` and `tenant` as the owner of the operations they start."""

    id: int
    tenant: str
    admin: bool = False
    permissions: frozenset[str] = frozenset()


DEVELOPMENT = {
    "dev-alice": Identity(1, "acme", permissions=frozenset({"webhooks.default-secret"})),
    "dev-bob": Identity(2, "acme"),
    "dev-carol": Identity(3, "globex"),
    "dev-admin": Identity(
        4, "staff", admin=True, permissions=frozenset({"offpath.read", "offpath.write", "offpath.arguments"})
    ),
}

bearer = HTTPBearer(
    auto_error=False,  # our own 401 below; this class answers 403 or 401 without a challenge, by version
    scheme_name="bearer",
    description="Development: dev-alice, dev-bob, dev-carol or dev-admin",
)


def current_user(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Identity:
    """The identity behind the request's bearer token, or 401.

    A real service would look its tokens up here; this example has only the development ones.
    """
    known = DEVELOPMENT if settings().dev_identities else {}
    identity = known.get(sent.credentials) if sent else None
    if identity is None:
        raise HTTPException(401, "A valid bearer token is required.", headers={"WWW-Authenticate": "Bearer"})
    return identity


CurrentUser = Annotated[Identity, Depends(current_user)]
