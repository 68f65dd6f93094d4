"""What this service tells others, who need not know it: CloudEvents, published with the commit of what they tell of.

Without a broker (`ACCOUNTS_BROKER`) nobody is told.
"""

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from .models import Organization
from .settings import settings
from .tasks import jobs

TOPIC = "organizations"


class CustomSso(BaseModel):
    """`version`: of the organization, since when this holds."""

    organization: int
    version: int


SsoDisabled = jobs.event(
    "com.example.organization.sso_disabled.v1",
    data=CustomSso,
    topic=TOPIC,
    description="The members of an organization may no longer sign in through its own provider.",
)
SsoEnabled = jobs.event(
    "com.example.organization.sso_enabled.v1",
    data=CustomSso,
    topic=TOPIC,
    description="The members of an organization may sign in through its own provider.",
)


async def custom_sso_changed(session: AsyncSession, organization: Organization) -> None:
    """Tell it, if the session's transaction is committed. What is told of one organization stays in the order of the
    commits."""
    if settings().broker is None:
        return
    kind = SsoEnabled if organization.allow_custom_sso else SsoDisabled
    data = CustomSso(organization=organization.id, version=organization.version)
    key = f"organizations/{organization.id}"
    await jobs.publish(kind(data, subject=key, partitionkey=key), tx=session)
