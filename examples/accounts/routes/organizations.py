"""Organizations: a resource that is patched, by JSON Patch or merge patch, under a version if the client names one."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Response
from sqlalchemy.ext.asyncio import AsyncSession

from offpath.integrations.fastapi import Patch, Patching, Preconditions, add_options, patch_body

from .. import decisions, events
from ..auth import CurrentUser, Identity
from ..database import get_reading
from ..models import Organization
from ..operations import OneSession, operations
from ..preconditions import Asked
from ..problems import documented
from ..schemas import OrganizationDoc

router = APIRouter(tags=["organizations"], responses=documented(400, 401, 404, 422, 500))

# Older clients send one operation without an array around it, and say no more than that it is JSON.
patching = Patching(OrganizationDoc, read_only=("/id", "/version"), bare=True, plain_json=True)

NOT_FOUND = HTTPException(404, "No such organization.")


async def visible(session: AsyncSession, viewer: Identity, id: int, *, lock: bool = False) -> Organization:
    """The organization, for its members and administrators. To everybody else it does not exist: 404."""
    organization = await session.get(Organization, id, with_for_update=lock) if 0 < id < 2**63 else None
    if organization is None or not (viewer.admin or viewer.tenant == organization.tenant):
        raise NOT_FOUND
    return organization


@router.get(
    "/org/{id}",
    response_model=OrganizationDoc,
    responses={304: {"description": "The version that `If-None-Match` names"}, **documented(412)},
)
async def read_organization(
    id: int,
    viewer: CurrentUser,
    reading: Annotated[AsyncSession, Depends(get_reading)],
    when: Preconditions,
    response: Response,
) -> OrganizationDoc | Response:
    organization = OrganizationDoc.model_validate(await visible(reading, viewer, id))
    about = {"ETag": organization.etag, "Cache-Control": "private, no-cache"}
    if when.unmodified(organization.etag):
        return Response(status_code=304, headers=about)
    response.headers.update(about)
    return organization


async def change_organization(
    id: int,
    viewer: CurrentUser,
    session: OneSession,
    when: Asked,
    patch: Annotated[Patch[OrganizationDoc], Depends(patch_body(patching))],
    response: Response,
) -> OrganizationDoc:
    """The version is checked and written under one lock: of two requests for the same version, one is told 412. Other
    services hear of a changed `allow-custom-sso`: that they will is part of the same commit."""
    organization = await visible(session, viewer, id, lock=True)
    if not decisions.may_change_organization(viewer.id, organization.owner_id, admin=viewer.admin):
        raise HTTPException(403, "Only the owner of an organization may change it.")
    before = OrganizationDoc.model_validate(organization)
    when.check(before.etag)
    after = patch.apply(before)
    if after != before:
        organization.name, organization.allow_custom_sso = after.name, after.allow_custom_sso
        organization.version += 1
    if after.allow_custom_sso != before.allow_custom_sso:
        await events.custom_sso_changed(session, organization)
    answer = OrganizationDoc.model_validate(organization)
    response.headers["ETag"] = answer.etag
    return answer


router.add_api_route(
    "/org/{id}",
    change_organization,
    methods=["PATCH"],
    route_class_override=operations.once,
    responses={**patching.responses, **documented(403)},
    openapi_extra=patching.openapi_extra,
)
add_options(router, "/org/{id}", patching)
