"""Functions become tasks, tasks with arguments become calls. Start at `task.py`; a worker reads `registry.py`."""

from ..core.job import Principal
from .context import Context, Ready, Sink
from .handle import Desk, Job, JobInfo, found, info_of
from .needs import Lifetime, Need, Provided, Provider, hints_of, kind_of, local_names, name_of, needs_of, provided
from .registry import AttemptInfo, Authorizer, Hook, HookKind, Registry, check_hook, parted
from .task import AsyncTask, Call, SyncTask, Task, Using, plain_calls

__all__ = [
    "AsyncTask",
    "AttemptInfo",
    "Authorizer",
    "Call",
    "Context",
    "Desk",
    "Hook",
    "HookKind",
    "Job",
    "JobInfo",
    "Lifetime",
    "Need",
    "Principal",
    "Provided",
    "Provider",
    "Ready",
    "Registry",
    "Sink",
    "SyncTask",
    "Task",
    "Using",
    "check_hook",
    "found",
    "hints_of",
    "info_of",
    "kind_of",
    "local_names",
    "name_of",
    "needs_of",
    "parted",
    "plain_calls",
    "provided",
]
