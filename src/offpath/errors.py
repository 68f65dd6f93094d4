"""Every error offpath raises, in one tree.

    OffpathError
    ├── ConfigurationError      a URL, an option or a registration is wrong: fix the code or the settings
    │   ├── MissingExtraError   an optional dependency is not installed; the message names the pip command
    │   └── StepError           steps are not what was remembered, or cannot be steps; the job ends `failed` with it
    ├── ArgumentError           an argument cannot be stored; names the argument
    ├── ResultError             a result cannot be stored; the job ends `failed` with this reason
    ├── NotFound                no such job (or not yours, which is the same answer)
    ├── Conflict                the job's state does not allow it (retry of a live job, …)
    ├── UncommittedError        an answer was about to leave before its transaction was committed
    ├── StoreError              the database said no
    │   ├── StoreUnavailable    cannot be opened, full, locked for too long: try again later
    │   └── SchemaError         schema too old or too new: run `offpath migrate`, or upgrade offpath
    ├── Unreadable              a message is no CloudEvent, or none that can be taken; says what is wrong with it
    ├── BrokerError             the broker said no
    │   ├── BrokerUnavailable   cannot be reached or does not answer: the same may work later
    │   └── BrokerRefused       it will not take this message, or has no such topic or queue: say something else
    ├── LeaseLost               another worker has the job by now: stop, nothing of this attempt is taken any more
    ├── JobFailed               raised by `Job.result()`: the job ended `failed` or `canceled`
    ├── ProcessFailure          what a hook is told of an attempt that failed in a process (executor="process")
    │   └── ProcessDied         that process died, held too much memory, or could not be started
    ├── ResultTimeout           raised by `Job.result(timeout=…)`: not finished in time; the job goes on
    ├── Problem                 raise it in a task: what the client may read of a failure (RFC 9457)
    └── Signal                  not failures; a task raises one to say what should happen to its job
        ├── Snooze              come again later, no attempt spent
        └── Cancel              stop here; the job ends `canceled`

Whatever a caller sends, offpath answers with one of these, never with a bare ValueError from inside.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any


class OffpathError(Exception):
    """The root: `except OffpathError` catches everything this library raises on purpose."""


class ConfigurationError(OffpathError):
    """A URL, an option or a registration is wrong."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional dependency: pip install "offpath[{extra}]"')
        self.extra = extra


class StepError(ConfigurationError):
    """A step of a job has another name or another place than when it was remembered, is named twice, is inside of
    another, or was never awaited. Another attempt would meet the same, so the job ends `failed`."""


class ArgumentError(OffpathError):
    """An argument cannot be stored; `argument` is its name ("" when it is all of them together)."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"argument {argument!r}: {reason}" if argument else f"arguments: {reason}")
        self.argument = argument
        self.reason = reason


class ResultError(OffpathError):
    """A result cannot be stored."""


class NotFound(OffpathError):
    """No such job."""


class Conflict(OffpathError):
    """The job's state does not allow what was asked."""


class UncommittedError(OffpathError):
    """A 202 was about to be sent although the transaction that carries its job has not been committed."""


class StoreError(OffpathError):
    """The database refused."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, is full or stayed locked; the same call may work later."""


class SchemaError(StoreError):
    """The tables are too old or too new for this version of offpath."""


class Unreadable(OffpathError):
    """A message is no CloudEvent, of a version or a format that is not known here, or damaged. It stays so."""


class BrokerError(OffpathError):
    """The broker refused."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached, turned the credentials down or does not answer; the same call may work later: not
    before `retry_after` seconds when it said so.

    `alive`: it was spoken to, so that its connection may stay. `confirmed`: of what was to be published, the places of
    those it has all the same."""

    retry_after: float | None = None
    alive: bool = False
    confirmed: tuple[int, ...] = ()


class BrokerRefused(BrokerError):
    """The broker will not take this message, whatever one does, or has no such topic, queue or stream."""


class LeaseLost(OffpathError):
    """This worker was taken for dead and another has the job by now. Nothing that this attempt says is taken any more:
    let the exception through."""


class JobFailed(OffpathError):
    """The job ended without a result.

    `state` is "failed" or "canceled"; `error` is the stored error as plain data (see `core/outcome.py`).
    """

    def __init__(self, job: str, state: str, error: dict[str, Any]) -> None:
        super().__init__(f"job {job} {state}: {error.get('detail') or error.get('title') or error.get('kind', '')}")
        self.job = job
        self.state = state
        self.error = error


class ProcessFailure(OffpathError):
    """An attempt with executor="process" failed; the exception itself stayed in its process.

    `exception` is the name of its class, with the module unless it is a builtin; `str()` gives what it said.
    """

    def __init__(self, exception: str, text: str) -> None:
        super().__init__(text)
        self.exception = exception


class ProcessDied(ProcessFailure):
    """The process of the attempt died, held more memory than it may, or could not be started."""

    def __init__(self, text: str) -> None:
        super().__init__("offpath.errors.ProcessDied", text)


class ResultTimeout(OffpathError, TimeoutError):
    """The job was not finished within the given time; it goes on."""


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Problem(OffpathError):
    """What a client may read of a failure (RFC 9457); raise it in a task.

    `status` is what a synchronous call would have answered; `type` an absolute URI, the name of one of offpath's own
    problem types, or None, in which case the operation's fixed "job-failed" type is used. The attempt fails like any
    other: whether it is repeated is for the task's `Retry` to say (put Problem in `give_up_on` to end at once).
    """

    def __init__(self, *, title: str, status: int = 500, detail: str | None = None, type: str | None = None) -> None:
        texts: dict[str, object] = {"title": title, "detail": detail or "", "type": type or ""}
        for name, given in texts.items():
            if not isinstance(given, str):
                raise ConfigurationError(f"Problem {name} must be text, not a {given.__class__.__name__}")
        if not _number(status) or not 400 <= status <= 599 or status != int(status):
            raise ConfigurationError("Problem status must be an HTTP error status, 400 to 599")
        super().__init__(detail or title)
        self.title = title
        self.status = int(status)
        self.detail = detail
        self.type = type


class Signal(OffpathError):
    """A task's word about its own job; not a failure."""


class Snooze(Signal):
    """`raise Snooze(timedelta(minutes=5))`: run this job again after the delay; no attempt is spent."""

    def __init__(self, delay: timedelta | float) -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if not _number(seconds) or not 0 <= seconds < 10**9:
            raise ConfigurationError("Snooze needs a delay of 0 seconds or more (and under 31 years)")
        super().__init__(f"again in {seconds:g} s")
        self.seconds = float(seconds)


class Cancel(Signal):
    """`raise Cancel("customer left")`: stop here; the job ends `canceled` with this reason."""

    def __init__(self, reason: str = "canceled by the task") -> None:
        if not isinstance(reason, str):
            raise ConfigurationError(f"Cancel needs a reason in words, not a {type(reason).__name__}")
        super().__init__(reason)
        self.reason = reason
