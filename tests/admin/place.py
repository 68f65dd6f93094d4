"""Who may what at the site of these tests."""

from typing import Annotated

from fastapi import Header

from offpath.integrations.fastapi import Caller

READ, WRITE, ARGUMENTS = "offpath.read", "offpath.write", "offpath.arguments"
MAY = {
    "root": frozenset({READ, WRITE, ARGUMENTS}),
    "reader": frozenset({READ}),
    "writer": frozenset({READ, WRITE}),
    "scribe": frozenset({WRITE}),
    "nosy": frozenset({READ, ARGUMENTS}),
}


def caller_of(
    authorization: Annotated[str | None, Header()] = None, cookie: Annotated[str | None, Header()] = None
) -> Caller | None:
    """`Authorization: root`, or the same as a cookie; `root@acme` is of a tenant. Others have no permissions."""
    said = authorization or (cookie or "").removeprefix("who=")
    name, _, tenant = said.partition("@")
    return Caller(name, tenant, MAY.get(name)) if name else None
