"""How a job lives: the one table, and the decisions that move a job through it. Pure.

    new      a call becomes a job
    settle   an attempt ended: outcome + policy + clock → change
    cancel   someone asked to stop
    expire   the worker that held it is dead
    overdue  its deadline passed while it waited
    unfit    what the earlier links of its flow hand on cannot be its arguments
    conclude the last part of a flow has ended, and with it the flow

(One move, `claim`, needs no decision: the store takes ready jobs in order and raises their fence.)
If a job changes state, it says so here. The SQL CHECK and the picture in docs/ are compared with `MOVES`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal, assert_never

from ..errors import Conflict
from . import attempts, bulk
from .call import Call
from .change import Change
from .events import Event
from .job import Finished, Job, Principal, State
from .options import DEFAULT_PRIORITY, MAX_CRASHES, SECOND, Queue, Unset, after, check_once, moment
from .outcome import Canceled, Done, Errored, Expired, Interrupted, Outcome, Snoozed, clean, error
from .policy import Policy, Retention, callback_of, overrides, wants_answer, with_attempts

Cause = Literal[
    "due", "later", "free", "claim", "done", "retry", "snooze", "interrupt", "crash", "give_up", "conclude", "break",
    "stop", "ask", "overdue",
]  # fmt: skip

MOVES: Mapping[State, Mapping[Cause, State]] = MappingProxyType(
    {
        State.SCHEDULED: {
            "due": State.READY,
            "conclude": State.SUCCEEDED,  # another job has done its work with its own (`replaced`)
            "stop": State.CANCELED,
            "overdue": State.FAILED,
        },
        State.WAITING: {
            "due": State.READY,  # all that it waited for is there
            "later": State.SCHEDULED,  # the same, but it is not to run yet
            "free": State.SCHEDULED,  # it was behind another, of its key or its line, which has ended
            "conclude": State.SUCCEEDED,  # a flow: its last part has ended
            "break": State.FAILED,  # a flow, a part of which has failed; a part that cannot take what it is handed
            "ask": State.WAITING,  # a flow, some of whose parts still run
            "stop": State.CANCELED,
            "overdue": State.FAILED,
        },
        State.READY: {
            "claim": State.RUNNING,
            "conclude": State.SUCCEEDED,  # as above
            "stop": State.CANCELED,
            "overdue": State.FAILED,
        },
        State.RUNNING: {
            "done": State.SUCCEEDED,
            "retry": State.SCHEDULED,  # failed, attempts left
            "snooze": State.SCHEDULED,  # asked to come again, no attempt spent
            "interrupt": State.READY,  # we stop, the job does not suffer
            "crash": State.READY,  # its worker died; counted apart from attempts
            "give_up": State.FAILED,
            "ask": State.RUNNING,  # cancel requested, still running
            "stop": State.CANCELED,
        },
        State.SUCCEEDED: {},
        State.FAILED: {},
        State.CANCELED: {},
    }
)


def new(call: Call, queue: Queue | None, now: int, id: str, by: Principal | None = None) -> tuple[Job, Event]:
    """The job that `call` asks for, and its first event. `queue` is the declaration of the queue it goes to, if any;
    `by`: whose it is when the call does not say."""
    task, using = call.options, call.using
    once = task.delivery == "at_most_once"
    if once and using.retry is not None:
        check_once(using.retry)
    run_at = now
    if using.run_at is not None:
        run_at = moment(using.run_at, "run_at")
    elif using.delay is not None:
        run_at = after(now, using.delay)
    elif using.debounce is not None:
        run_at = after(now, using.debounce)
    deadline: int | None = None
    if using.deadline is not None:
        given = using.deadline
        deadline = moment(given, "deadline") if isinstance(given, datetime) else after(now, given)
    elif task.deadline is not None:
        deadline = after(now, task.deadline)
    if using.priority is not None:
        priority = using.priority
    elif task.priority is not None:
        priority = task.priority
    elif queue is not None and queue.priority is not None:
        priority = queue.priority
    else:
        priority = DEFAULT_PRIORITY
    state = State.SCHEDULED if run_at > now else State.READY
    owner: str | Unset | None = using.owner
    tenant = using.tenant or call.tenant
    if isinstance(owner, Unset):
        owner, tenant = (None, tenant) if by is None else (by.id, by.tenant)
    # By position, in the order of `Job`: by name it takes three times as long, and every enqueue comes by here.
    job = Job(
        id, call.task, call.version, call.args, using.queue or task.queue, priority, state, run_at, deadline, using.key,
        1, 0, 0, None, None, once, call.watched, owner, overrides(using, tenant),
    )  # fmt: skip
    return job, QUEUED


QUEUED = Event("queued", {})


def started(attempt: int) -> Event:
    """The event of a claim."""
    return Event("started", {"attempt": attempt})


def never_again(old: Finished) -> str | None:
    """Why it cannot be run again, whatever else is so; None: it can."""
    try:
        _args_again(old)
    except Conflict as why:
        return str(why)
    return None


def _args_again(old: Finished) -> str:
    """What it would be run with again; Conflict where it cannot be."""
    if old.task == bulk.TASK:  # it would do so to whatever fits by now, by the name of whoever asked for it then
        raise Conflict(f"job {old.id} is a change of many jobs: see how many fit now, and ask for it anew")
    if old.args is None:
        raise Conflict(f"job {old.id} cannot be retried: its arguments have been erased")
    if old.flow == old.id:
        raise Conflict(f"job {old.id} is a flow, and what of it is done is done: enqueue the rest as a new flow")
    if old.flow is not None and not old.fence:
        raise Conflict(f"job {old.id} never had what flow {old.flow} was to hand it: enqueue it anew")
    return old.args


def again(old: Finished, now: int, id: str, max_attempts: int | None = None) -> tuple[Job, Event]:
    """A new job that runs a finished one again, with a fresh budget of attempts: as many as the old one had, or
    `max_attempts`. The old one stays as it ended, and its flow too: the new one is no part of that."""
    args, options = _args_again(old), old.options
    if max_attempts is not None:
        if old.once and max_attempts > 1:
            raise Conflict(f"job {old.id} is at-most-once: each time it is asked for it gets one attempt")
        options = with_attempts(options, max_attempts)
    job = Job(
        id=id,
        task=old.task,
        version=old.version,
        args=args,
        queue=old.queue,
        priority=old.priority,
        state=State.READY,
        run_at=now,
        deadline=None,
        key=old.key,
        attempt=1,
        crashes=0,
        fence=0,
        worker=None,
        cancel_at=None,
        once=old.once,
        watched=old.watched,
        owner=old.owner,
        options=options,
        retry_of=old.id,
        lane=old.lane,
    )
    return job, QUEUED


def settle(job: Job, outcome: Outcome, policy: Policy, now: int, u: float, began: int | None = None) -> Change:
    """What becomes of a running job whose attempt said `outcome`; `u` is uniform in [0, 1), for the jitter; `began`:
    when the attempt did, where that is known."""
    if job.cancel_at is not None:
        # Cancel wins over everything an attempt can say, success included (it was promised to the caller).
        change = _stop(job, _why(job, outcome), job.cancel_at, policy.retention, now)
    elif isinstance(outcome, Done):  # the many; nothing is remembered of them
        result = outcome.result
        return Change(
            job.id,
            job.fence,
            False,
            MOVES[job.state]["done"],
            job.run_at,
            job.attempt,
            job.crashes,
            result if policy.keep_result else None,
            None,
            None,
            _expiry(job, State.SUCCEEDED, policy.retention, now),
            _SUCCEEDED if job.watched else (),
            None,
            job.watched and job.options is not None and callback_of(job.options) is not None,
            job.flow,
            job.options is not None and wants_answer(job.options),
        )
    else:
        change = _settled(job, outcome, policy, now, u)
    return change._replace(record=attempts.record(job, outcome, began))


def _settled(
    job: Job, outcome: Errored | Snoozed | Canceled | Interrupted | Expired, policy: Policy, now: int, u: float
) -> Change:
    match outcome:
        case Errored(said, retryable):
            if not retryable or job.attempt >= policy.max_attempts or job.once:
                return _fail(job, "give_up", said, policy.retention, now)
            delay = policy.backoff.delay(job.attempt, u)
            run_at = now + round(delay * SECOND)
            if job.deadline is not None and run_at >= job.deadline:
                detail = "no attempt could start in time"
                late = error("deadline", "Deadline exceeded", detail=detail, last_error=json.loads(said))
                return _fail(job, "give_up", late, policy.retention, now)
            event = Event("retrying", {"attempt": job.attempt + 1, "delay": round(delay, 3), "error": said})
            return _back(job, "retry", run_at, event, attempt=job.attempt + 1)
        case Snoozed(delay):
            return _back(job, "snooze", now + round(delay * SECOND), Event("requeued", {"reason": "snooze"}))
        case Canceled(reason):
            return _stop(job, reason, now, policy.retention, now)
        case Interrupted(reason, begun):
            if job.once and begun:
                return _fail(job, "give_up", LOST, policy.retention, now)
            return _back(job, "interrupt", job.run_at, Event("requeued", {"reason": clean(reason)}))
        case Expired():
            # (This claim is one of its fences.)
            return _fail(job, "give_up", DEADLINE if job.fence <= 1 else LATE, policy.retention, now)
        case _:
            assert_never(outcome)


def cancel(job: Job, reason: str, retention: Retention, now: int) -> Change | None:
    """Someone asked a live job to stop; None when they had asked before."""
    return ask(job, reason, now) if job.state is State.RUNNING else _stop(job, reason, now, retention, now)


def ask(job: Job, reason: str, now: int) -> Change | None:
    """Someone asked for the end of a running job, or of a flow whose parts still run; None when they had before."""
    if job.cancel_at is not None:
        return None
    reason = clean(reason)
    event = Event("canceling", {"reason": reason})
    return Change(
        job.id,
        job.fence,
        False,
        MOVES[job.state]["ask"],
        job.run_at,
        job.attempt,
        job.crashes,
        cancel_at=now,
        events=(event,) if job.watched else (),
        cancel_reason=reason,
        flow=job.flow,
    )


def expire(job: Job, retention: Retention, now: int) -> Change:
    """The worker that held this running job is dead. Three such deaths and the job is quarantined."""
    return _expired(job, retention, now)._replace(crashes=job.crashes + 1, record=attempts.crash(job))


def _expired(job: Job, retention: Retention, now: int) -> Change:
    crashes = job.crashes + 1
    if job.cancel_at is not None:
        return _stop(job, _why(job, None), job.cancel_at, retention, now)
    if job.once:
        return _fail(job, "give_up", LOST, retention, now)
    if crashes >= MAX_CRASHES:
        poison = error("quarantined", "Quarantined", detail=f"{crashes} workers died while running this job")
        return _fail(job, "give_up", poison, retention, now)
    return _back(job, "crash", job.run_at, Event("requeued", {"reason": "worker lost"}))


def overdue(job: Job, retention: Retention, now: int) -> Change | None:
    """A job whose deadline passed while it waited never starts; None while there is time."""
    if job.state is State.RUNNING or job.deadline is None or job.deadline > now:
        return None
    return _fail(job, "overdue", LATE if job.fence else DEADLINE, retention, now)


def unfit(job: Job, why: str, retention: Retention, now: int) -> Change:
    """A job that waited is given what it cannot take: it never starts."""
    said = error("handed", "Unfit for the next link", detail=why)
    return _fail(job, "break", said, retention, now)


def replaced(job: Job, retention: Retention, now: int) -> Change:
    """A job whose work others do, or have done: a part of a flow that became many, an event that was published with
    those before it. It ends as if it had been run."""
    return _end(job, MOVES[job.state]["conclude"], None, None, Event("succeeded", {}), retention, now)


def conclude(flow: Job, result: str | None, said: str | None, retention: Retention, now: int) -> Change:
    """The last part of a flow has ended; `said` is the stored error of the part that the flow failed with, if any.

    Cancel wins, as over an attempt. A part that was canceled by itself ends the flow `canceled`.
    """
    if flow.cancel_at is not None:
        return _stop(flow, _why(flow, None), flow.cancel_at, retention, now)
    if said is None:
        return replaced(flow, retention, now)._replace(result=result)
    told = json.loads(said)
    if told.get("kind") == "canceled":
        return _stop(flow, told.get("reason") or "canceled", told.get("requested_at") or now, retention, now)
    return _fail(flow, "break", said, retention, now)


DEADLINE = error("deadline", "Deadline exceeded", detail="the deadline passed before an attempt could start")
LATE = error("deadline", "Deadline exceeded", detail="the deadline passed while the job waited to be taken up again")
LOST = error("lost", "Worker lost", detail="at-most-once: the work may have begun, so it is not repeated")
_SUCCEEDED = (Event("succeeded", {}),)


def _why(job: Job, outcome: Outcome | None) -> str:
    """The reason of whoever asked first; what the attempt itself said only where none has been stored."""
    if job.cancel_reason is not None:
        return job.cancel_reason
    return outcome.reason if isinstance(outcome, Canceled) else "cancel requested"


def _back(job: Job, cause: Cause, run_at: int, event: Event, *, attempt: int | None = None) -> Change:
    return Change(
        job.id,
        job.fence,
        False,
        MOVES[job.state][cause],
        run_at,
        job.attempt if attempt is None else attempt,
        job.crashes,
        events=(event,) if job.watched else (),
        flow=job.flow,
    )


def _fail(job: Job, cause: Cause, said: str, retention: Retention, now: int) -> Change:
    return _end(job, MOVES[job.state][cause], said, None, Event("failed", {}), retention, now)


def _stop(job: Job, reason: str, asked: int, retention: Retention, now: int) -> Change:
    said = error("canceled", "Canceled", detail=reason, public=True, reason=reason, requested_at=asked)
    event = Event("canceled", {"reason": clean(reason)})
    return _end(job, MOVES[job.state]["stop"], said, asked, event, retention, now)


def _end(
    job: Job, state: State, said: str | None, asked: int | None, event: Event, retention: Retention, now: int
) -> Change:
    return Change(
        job.id,
        job.fence,
        job.cancel_at is not None,
        state,
        job.run_at,
        job.attempt,
        job.crashes,
        None,
        said,
        asked,
        _expiry(job, state, retention, now),
        (event,) if job.watched else (),
        None,
        job.watched and job.options is not None and callback_of(job.options) is not None,
        job.flow,
        job.options is not None and wants_answer(job.options),
    )


def _expiry(job: Job, state: State, retention: Retention, now: int) -> int | None:
    if job.watched:
        keep = retention.operation
    elif state is State.SUCCEEDED:
        keep = retention.finished
    elif state is State.FAILED:
        keep = retention.failed
    else:
        keep = retention.finished if retention.canceled == "finished" else retention.canceled
    return None if keep is None else now + keep
