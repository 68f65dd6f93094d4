"""What other services tell, and what follows from it here. The type is all that the two services share: what we want to
know of it is our own."""

from datetime import timedelta

from pydantic import BaseModel

from offpath import Context
from offpath.cloudevents import CloudEvent

from . import members
from .tasks import PATIENT, Unlinked, jobs, unlink_all


class CustomSso(BaseModel):
    organization: int


@jobs.on(
    "com.example.organization.sso_disabled.v1",
    topic="organizations",
    retry=PATIENT,
    timeout=timedelta(hours=1),
)
async def unlink_organization(ctx: Context, event: CloudEvent[CustomSso]) -> Unlinked:
    """Nobody signs in through the organization's own provider any more: take its members' links away, all of them."""
    return await unlink_all(ctx, members.of(event.data.organization))
