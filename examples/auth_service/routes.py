"""Links to members' own sign-on: how many there are, and a list of members to be unlinked, as an operation."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from offpath.integrations.fastapi import Accepted, problem_responses

from . import members
from .auth import CurrentUser
from .database import get_reading
from .members import Links
from .operations import Accept, operations
from .tasks import Unlinked, unlink_members

router = APIRouter(tags=["sso links"], responses=problem_responses(400, 401, 403, 422, 500))
starts = APIRouter(route_class=operations.route)

Number = Annotated[int, Field(strict=True, ge=1, lt=2**63)]


class Unlink(BaseModel):
    """Members by their ids. One without a link, or of somebody else's organization, is passed over."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"members": [1, 2, 3]}]})

    members: Annotated[list[Number], Field(min_length=1, max_length=10_000)]


@starts.post("/sso-links/unlink", status_code=202, responses=operations.responses)
async def unlink(body: Unlink, viewer: CurrentUser, accept: Accept) -> Accepted[Unlinked]:
    """Whoever manages an organization may unlink its members, an administrator anyone's."""
    if not (viewer.admin or viewer.manages):
        raise HTTPException(403, "Only whoever manages an organization may unlink its members.")
    ids = sorted(set(body.members))
    return await accept(unlink_members, ids, None if viewer.admin else viewer.organization)


@router.get("/sso-links", responses=problem_responses(404))
async def count_links(
    organization: Annotated[int, Query(ge=1, lt=2**63)],
    viewer: CurrentUser,
    reading: Annotated[AsyncSession, Depends(get_reading)],
    response: Response,
) -> Links:
    """An organization's links, and by the ledger those that are gone. To strangers there is no such organization."""
    seen = viewer.admin or viewer.organization == organization
    found = await members.books(reading, organization) if seen else None
    if found is None:
        raise HTTPException(404, "No such organization.")
    response.headers["Cache-Control"] = "private, no-store"
    return found


router.include_router(starts)
