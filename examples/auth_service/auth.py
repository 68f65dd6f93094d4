"""Who is asking: bearer tokens, the same as in the accounts service, valid only where they are switched on."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from .settings import settings


@dataclass(frozen=True)
class Identity:
    """The caller of a request. offpath uses `id` and `tenant` as the owner of the operations they start.

    organization  whose member they are; None: of none
    manages       may they change its members? An administrator may change anyone's.
    """

    id: int
    tenant: str
    organization: int | None = None
    manages: bool = False
    admin: bool = False


DEVELOPMENT = {
    "dev-alice": Identity(1, "acme", 1, manages=True),
    "dev-bob": Identity(2, "acme", 1),
    "dev-carol": Identity(3, "globex", 2),
    "dev-admin": Identity(4, "staff", admin=True),
}

bearer = HTTPBearer(
    auto_error=False,  # our own 401 below
    scheme_name="bearer",
    description="Development: dev-alice, dev-bob, dev-carol or dev-admin",
)


def current_user(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Identity:
    """The identity behind the request's bearer token, or 401."""
    known = DEVELOPMENT if settings().dev_identities else {}
    identity = known.get(sent.credentials) if sent else None
    if identity is None:
        raise HTTPException(401, "A valid bearer token is required.", headers={"WWW-Authenticate": "Bearer"})
    return identity


CurrentUser = Annotated[Identity, Depends(current_user)]
