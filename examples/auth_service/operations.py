"""Operations over HTTP: offpath's routes, and who may see what behind them."""

from typing import Annotated

from fastapi import Depends

from offpath.integrations.fastapi import Acceptor, Operations

from .auth import current_user
from .settings import settings
from .tasks import jobs

operations = Operations(jobs, caller=current_user, base_url=settings().base_url)

Accept = Annotated[Acceptor, Depends(operations.acceptor)]
