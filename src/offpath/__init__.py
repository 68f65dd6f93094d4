"""offpath: take work off the request's critical path, and lose none of it.

jobs = Offpath("sqlite:///app.db")

@jobs.task
async def send_email(to: str, template: str) -> None: ...

await send_email.using(tx=session).enqueue(to="a@example.org", template="welcome")
"""

from .app import Offpath
from .core.options import Queue
from .core.retry import Backoff, Retry
from .errors import Cancel, JobFailed, OffpathError, Problem, ResultTimeout, Snooze
from .tasks import AttemptInfo, Call, Context, Job, JobInfo, Task, provided
from .tracing import trace_headers

__version__ = "0.1.0"

__all__ = [
    "AttemptInfo",
    "Backoff",
    "Call",
    "Cancel",
    "Context",
    "Job",
    "JobFailed",
    "JobInfo",
    "Offpath",
    "OffpathError",
    "Problem",
    "Queue",
    "ResultTimeout",
    "Retry",
    "Snooze",
    "Task",
    "provided",
    "trace_headers",
]
