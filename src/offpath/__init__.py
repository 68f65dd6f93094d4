"""offpath: take work off the request's critical path, and lose none of it.

jobs = Offpath("sqlite:///app.db")

@jobs.task
async def send_email(to: str, template: str) -> None: ...

await send_email.using(tx=session).enqueue(to="a@example.org", template="welcome")
"""

from .app import Offpath
from .core.limits import Limit
from .core.options import Queue
from .core.retry import Backoff, Retry
from .errors import Cancel, JobFailed, OffpathError, Problem, ResultTimeout, Snooze
from .tasks import Call, Context, Job, Schedule, Task, all_of, any_of, provided
from .tracing import trace_headers

__version__ = "0.1.0"

__all__ = [
    "Backoff",
    "Call",
    "Cancel",
    "Context",
    "Job",
    "JobFailed",
    "Limit",
    "Offpath",
    "OffpathError",
    "Problem",
    "Queue",
    "ResultTimeout",
    "Retry",
    "Schedule",
    "Snooze",
    "Task",
    "all_of",
    "any_of",
    "provided",
    "trace_headers",
]
