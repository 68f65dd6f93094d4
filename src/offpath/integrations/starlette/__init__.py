"""Starlette: operations as routes, and `accept` for your own endpoints.

    operations = Operations(jobs, caller=current_user)  # async def current_user(request: Request) -> Caller
    app = Starlette(routes=[*operations.routes, Route("/reports", start_report, methods=["POST"])])
    install_problem_handlers(app)

    async def start_report(request: Request) -> Response:
        accept = await operations.acceptor(request)
        return await accept(render_report, period="2026-11")

The routes find themselves in the application that serves the request, so they may be mounted anywhere in it.
"""

from importlib.util import find_spec

from ...errors import MissingExtraError

if find_spec("starlette") is None:
    raise MissingExtraError("offpath.integrations.starlette", "http")

from ...http.asgi import BodyLimit
from ...http.coding import TagPerCoding
from ...http.messages import Caller
from ...http.trace import TraceContext
from .inbox import Inbox
from .operations import Accepted, Acceptor, Operations
from .problems import install_problem_handlers, patch_body, preconditions

__all__ = [
    "Accepted",
    "Acceptor",
    "BodyLimit",
    "Caller",
    "Inbox",
    "Operations",
    "TagPerCoding",
    "TraceContext",
    "install_problem_handlers",
    "patch_body",
    "preconditions",
]
