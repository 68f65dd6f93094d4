"""Operations over HTTP: offpath's routes, who may see what behind them, the webhooks that tell of their end,
and the API and the dashboard for those who look after all of them."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from offpath.admin import Admin
from offpath.integrations.fastapi import Acceptor, Operations
from offpath.webhooks import Webhooks

from .auth import current_user
from .database import Session
from .settings import settings
from .tasks import jobs

webhooks = Webhooks(
    jobs,
    key=settings().webhook_key,
    operations_url=f"{settings().base_url}/operations",
    callbacks=["*"],  # `webhookUrl` of an export: anywhere, as far as the guard allows
    allow_private=settings().allow_private_webhooks,
    default_secret=settings().webhook_secret,
)
operations = Operations(
    jobs,
    caller=current_user,
    webhooks=webhooks,
    admin=Admin(),  # for whoever has its permissions: of the development identities, dev-admin
    base_url=settings().base_url,
    session=Session,
)

Accept = Annotated[Acceptor, Depends(operations.acceptor)]

OneSession = Annotated[AsyncSession, Depends(operations.session)]
"""For routes of the class `operations.once`: what is written in it, and the answer, are one commit of the route's."""
