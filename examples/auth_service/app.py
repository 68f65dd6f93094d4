"""The service, put together. `api` is what uvicorn serves, `jobs` what a worker works for."""

from fastapi import FastAPI

from offpath.integrations.fastapi import Inbox, install_problem_handlers

from .. import refusals
from ..accounts import docs_ui
from . import events
from .operations import operations
from .routes import router
from .settings import settings
from .tasks import jobs

__all__ = ["api", "events", "jobs"]

api = FastAPI(
    title="Auth",
    description="Who may sign in, and how: the service that hears of what the accounts service tells.",
    version="1.0",
    license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
    servers=[{"url": "/"}],
    lifespan=jobs.lifespan,
    redirect_slashes=False,
    docs_url=None,
    redoc_url=None,
    generate_unique_id_function=lambda route: route.name,
)
install_problem_handlers(api)
refusals.install(api)
docs_ui.install(api)
api.include_router(router)
api.include_router(operations.router)
if settings().events_token:  # services without a broker between us bring their events to POST /events
    api.include_router(Inbox(jobs, token=settings().events_token).router)
