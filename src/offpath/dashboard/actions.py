"""What is changed: a function for each form. Each asks the admin API for one thing and goes back to a page that says
what came of it, or, where nothing did, to the page with the form; who did it is in the audit log, in the same
transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..http.messages import Response
from .api import Failed
from .pages import ACTIONS, ASKED, REASON, chosen_of, filter_of, job, wrong
from .session import Notice
from .visit import NotHere, Visit, redirect

Action = Callable[[Visit], Awaitable[Response]]


async def show_arguments(visit: Visit) -> Response:
    """A look at values is recorded, so it is no GET."""
    return await job(visit, shown=True)


async def retry(visit: Visit) -> Response:
    id = visit.steps[1]
    seen = {
        "retried_as": visit.form.get("retried_as") or None
    }  # as the page had it: somebody else may have been faster
    made = await visit.do("POST", "/jobs/{job_id}/retry", {**_attempts(visit), **seen}, job_id=id)
    return visit.back(f"jobs/{made['id']}", Notice("done", "It runs again, as this new job."))


async def cancel(visit: Visit) -> Response:
    id = visit.steps[1]
    made = await visit.do("POST", "/jobs/{job_id}/cancel", _reason(visit), job_id=id)
    if made["state"] in ("succeeded", "failed"):  # the API is content: whoever canceled wants it to be over
        return visit.back(f"jobs/{id}", Notice("failed", f"Nothing was done. It had ended before: {made['state']}."))
    said = "It is canceled." if made["state"] == "canceled" else "It was asked to stop."
    return visit.back(f"jobs/{id}", Notice("done", said))


async def delete(visit: Visit) -> Response:
    await visit.do("DELETE", "/jobs/{job_id}", job_id=visit.steps[1])
    return visit.back("jobs", Notice("done", f"Job {visit.steps[1]} was erased."))


async def bulk(visit: Visit) -> Response:
    action = visit.form.get("action", "")
    if action not in ACTIONS:
        raise wrong(f"The action is one of {', '.join(ACTIONS)}.")
    chosen = chosen_of(list(visit.form.items()))
    body: dict[str, Any] = {"action": action, "filter": filter_of(chosen)}
    if action == "cancel":
        body |= _reason(visit)
    elif action == "retry":
        body |= _attempts(visit)
    made = await visit.do("POST", "/jobs:bulk", body)
    return visit.back(f"jobs/{made['id']}", Notice("done", "A job of its own does that now; this is how far it is."))


def _named(kind: str, row: str, verb: str, said: str, *, reason: bool = False) -> Action:
    """A verb on something with a name: queues and schedules."""

    async def act(visit: Visit) -> Response:
        name = visit.form.get("name", "")
        if not name:
            raise NotHere
        made = await visit.do("POST", f"{row}/{{name}}/{verb}", _reason(visit) if reason else None, name=name)
        if verb == "run" and isinstance(made, dict) and (id := made.get("id") or made.get("job")):
            return visit.back(f"jobs/{id}", Notice("done", "It runs now, as this job."))
        new = isinstance(made, dict) and made.get("known") is False
        hint = " No live job has such a queue yet, nor any task that is known here." if new else ""
        return visit.back(kind, Notice("done", f"{name} {said}.{hint}"))

    return act


def _endpoint(verb: str, said: str) -> Action:
    async def act(visit: Visit) -> Response:
        id = visit.steps[1]
        await visit.do("POST", f"/endpoints/{{endpoint_id}}/{verb}", endpoint_id=id)
        return visit.back(f"webhooks/{id}", Notice("done", said))

    return act


async def resend(visit: Visit) -> Response:
    id, delivery = visit.steps[1], visit.form.get("delivery", "")
    made = await visit.do("POST", "/endpoints/{endpoint_id}/resend", {"delivery": delivery}, endpoint_id=id)
    sent = len(made["deliveries"]) if isinstance(made, dict) and "deliveries" in made else 1
    return visit.back(f"webhooks/{id}", Notice("done", f"{sent} on the way again."))


def _reason(visit: Visit) -> dict[str, str]:
    said = " ".join(visit.form.get("reason", "").split())[:200]
    return {"reason": said or REASON}


def _attempts(visit: Visit) -> dict[str, int]:
    said = visit.form.get("max_attempts", "").strip()
    if said and not (said.isascii() and said.isdigit() and len(said) < 6):
        raise wrong("The number of attempts is a whole number.")
    return {"max_attempts": int(said)} if said else {}


ACTS: dict[tuple[str, ...], Action] = {
    ("jobs", "bulk"): bulk,
    ("jobs", "*", "arguments"): show_arguments,
    ("jobs", "*", "retry"): retry,
    ("jobs", "*", "cancel"): cancel,
    ("jobs", "*", "delete"): delete,
    ("queues", "pause"): _named("queues", "/queues", "pause", "is paused", reason=True),
    ("queues", "resume"): _named("queues", "/queues", "resume", "goes on"),
    ("schedules", "run"): _named("schedules", "/schedules", "run", "runs now"),
    ("schedules", "pause"): _named("schedules", "/schedules", "pause", "is paused"),
    ("schedules", "resume"): _named("schedules", "/schedules", "resume", "goes on"),
    ("webhooks", "*", "enable"): _endpoint("enable", "It is sent to again."),
    ("webhooks", "*", "disable"): _endpoint("disable", "Nothing more is sent to it."),
    ("webhooks", "*", "test"): _endpoint("test", "A test is on its way."),
    ("webhooks", "*", "resend"): resend,
}
READS: frozenset[Action] = frozenset({show_arguments})
"""Those that do not take admin.write."""


async def act(visit: Visit, action: Action) -> Response:
    """What the action answers, or the page with its form, to say why it cannot. Failed, where that would not help."""
    if action not in READS and not visit.can_write:
        raise Failed(403, {"title": "You may look, and change nothing", "status": 403})
    try:
        return await action(visit)
    except Failed as error:
        path, query = page_of(visit.steps, list(visit.form.items()))
        return visit.refused(error, path, *query)


def asked_for(visit: Visit) -> Response:
    """A form's address, opened as if it were a page: by a reload, or from the history."""
    path, query = page_of(visit.steps, visit.query)
    return redirect(visit.link(path, *query), visit.set_cookies)


def page_of(steps: Sequence[str], said: Sequence[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    """(path, query) of the page that has the form which is sent to `steps`, where `said` is what is in it."""
    kind, one = steps[:2]
    if (kind, one) == ("jobs", "bulk"):
        action = [("action", value) for name, value in said if name == "action" and value in ACTIONS]
        more = [(name, value) for name, value in said if name in ASKED and value.strip()]
        return ("jobs/bulk", [*action, *more, *chosen_of(said)]) if action else ("jobs", chosen_of(said))
    if len(steps) == 3:
        return f"{kind}/{one}", []
    named = [("name", value) for name, value in said if name == "name" and value]
    return f"{kind}/one" if named else kind, named
