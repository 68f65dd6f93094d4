"""Functions become tasks, tasks with arguments become calls. Start at `task.py`, then `calling.py`; a worker reads
`registry.py`."""

from ..core.flow import Failure
from ..core.job import Principal
from .batch import BatchTask
from .calling import Call, Using, plain_calls
from .context import Context
from .decorator import TaskDecorator
from .eventtypes import EventType
from .flow import Flow, Linked, UsingFlow, all_of, any_of
from .flowinfo import FlowEdge, FlowInfo, FlowPart, flow_info
from .handle import Desk, Job, JobInfo, found, info_of
from .needs import Lifetime, Need, Provided, Provider, hints_of, kind_of, local_names, name_of, needs_of, provided
from .outputs import Ready, Sink
from .registry import AttemptInfo, Authorizer, Hook, HookKind, Registry, check_hook, parted
from .schedule import Schedule, ScheduleOptions
from .subscription import Reading, Subscription, readings
from .task import AsyncTask, SyncTask, Task

__all__ = [
    "AsyncTask",
    "AttemptInfo",
    "Authorizer",
    "BatchTask",
    "Call",
    "Context",
    "Desk",
    "EventType",
    "Failure",
    "Flow",
    "FlowEdge",
    "FlowInfo",
    "FlowPart",
    "Hook",
    "HookKind",
    "Job",
    "JobInfo",
    "Lifetime",
    "Linked",
    "Need",
    "Principal",
    "Provided",
    "Provider",
    "Reading",
    "Ready",
    "Registry",
    "Schedule",
    "ScheduleOptions",
    "Sink",
    "Subscription",
    "SyncTask",
    "Task",
    "TaskDecorator",
    "Using",
    "UsingFlow",
    "all_of",
    "any_of",
    "check_hook",
    "flow_info",
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
    "readings",
]
