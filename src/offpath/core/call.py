"""A call: a task with encoded arguments and options, not yet a job."""

from __future__ import annotations

from typing import NamedTuple

from .options import CallOptions, TaskOptions


class Call(NamedTuple):
    """task and version name the function; `args` is JSON text (an object: parameter → value)."""

    task: str
    version: int
    args: str
    options: TaskOptions
    using: CallOptions
    watched: bool = False
    tenant: str = ""
