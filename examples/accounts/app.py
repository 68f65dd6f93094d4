"""The application, put together. `api` is what uvicorn serves, `jobs` what a worker works for."""

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.routing import Route

from . import alerts, docs_ui, problems, schedules, watch
from .operations import operations
from .routes import exports, files, orders, organizations, reports, users
from .tasks import jobs

__all__ = ["alerts", "api", "jobs", "schedules"]

api = FastAPI(
    title="Accounts",
    description="A small user-management service that shows offpath at work.",
    version="1.0",
    license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
    servers=[{"url": "/"}],  # wherever this document comes from
    lifespan=jobs.lifespan,
    redirect_slashes=False,  # to whatever Host the request named
    docs_url=None,  # ours works without a network
    redoc_url=None,
    webhooks=operations.webhook_docs,
    generate_unique_id_function=lambda route: route.name,  # short names for clients made from the document
)
problems.install(api)
docs_ui.install(api)
watch.install(api)
api.include_router(users.router)
api.include_router(organizations.router)
api.include_router(orders.router)
api.include_router(reports.router)
api.include_router(exports.router)
api.include_router(files.router)
api.include_router(operations.router)
api.mount("/dashboard", operations.dashboard)  # dev-admin may come in, with that as the token
api.routes.append(Route("/metrics", operations.metrics))  # for this machine, or with OFFPATH_METRICS_TOKEN
api.mount("/health", operations.health)  # /health/livez and /health/readyz, for whoever runs this process


@api.get("/dashboard", include_in_schema=False)
async def dashboard() -> RedirectResponse:
    """`redirect_slashes` would have done it, with the host that the request names."""
    return RedirectResponse("dashboard/")
