"""FastAPI: operations as a router, a typed `accept`, `Operation[T]` in the OpenAPI document.

    operations = Operations(jobs, caller=current_user)
    Accept = Annotated[Acceptor, Depends(operations.acceptor)]
    api.include_router(operations.router)
    install_problem_handlers(api)

    @api.post("/reports", status_code=202, responses=operations.responses)
    async def start_report(body: ReportRequest, accept: Accept) -> Accepted[Report]:
        return await accept(render_report, period=body.period)

`accept.py` answers 202, `conditional.py` is about preconditions and patches, `operations.py` is what an application
configures, `routing.py` puts the table of routes into FastAPI, `problems.py` makes every error a problem,
`deliveries.py` describes webhooks, `inbox.py` takes CloudEvents.
"""

from importlib.util import find_spec

from ...errors import MissingExtraError

if find_spec("fastapi") is None:
    raise MissingExtraError("offpath.integrations.fastapi", "fastapi")

from ...http.asgi import BodyLimit
from ...http.coding import TagPerCoding
from ...http.conditional import Conditions, PreconditionFailed, recheck, stored_as_sent, strong
from ...http.describe import problem_responses
from ...http.messages import Caller
from ...http.patch import Caps
from ...http.patched import Patch, Patching
from ...http.schema import Operation
from ...http.trace import TraceContext
from .accept import Accepted, Acceptor
from .conditional import Preconditions, add_options, patch_body, preconditions
from .inbox import Inbox
from .operations import Operations
from .problems import install_problem_handlers

__all__ = [
    "Accepted",
    "Acceptor",
    "BodyLimit",
    "Caller",
    "Caps",
    "Conditions",
    "Inbox",
    "Operation",
    "Operations",
    "Patch",
    "Patching",
    "PreconditionFailed",
    "Preconditions",
    "TagPerCoding",
    "TraceContext",
    "add_options",
    "install_problem_handlers",
    "patch_body",
    "preconditions",
    "problem_responses",
    "recheck",
    "stored_as_sent",
    "strong",
]
