"""What is shown: a function for each page, from a visit to its answer. All of them only read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ..core.bulk import TASK as BULK
from ..core.ids import last_of
from ..core.outbox import QUEUE as OUTBOX
from ..http.messages import Response
from . import graph as drawing
from .api import Call, Failed
from .charts import Line, chart, latest
from .render import duration, number
from .visit import NotHere, Visit, redirect

WINDOWS = ("15m", "1h", "6h", "24h", "7d")
STATES = ("ready", "running", "scheduled", "waiting", "failed", "canceled", "succeeded")
SEVERITY = ("problem", "warning", "ok")
ENDED = frozenset({"failed", "canceled", "succeeded"})
FILTERS = ("queue", "task", "owner", "key_prefix", "older_than", "error")
ACTIONS = {"retry": "Retry", "cancel": "Cancel", "delete": "Delete"}
PAGE = 50
MOST = 100
ALIKE = 5  # jobs that are named, of those whose ids begin alike
ENDS = "Lists show the end of an id: open the job there, or copy its id from its page."
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_AGE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(s|m|h|d)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
ASKED = ("reason", "max_attempts")
"""What a change of many jobs may be told beside its filter."""
REASON = "from the dashboard"
"""Of whoever has given none."""


def wrong(detail: str) -> Failed:
    return Failed(400, {"title": "That cannot be asked", "detail": detail, "status": 400})


# ── overview ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def overview(visit: Visit) -> Response:
    window = visit.asked("window") or "1h"
    if window not in WINDOWS:
        raise wrong(f"The window is one of {', '.join(WINDOWS)}.")
    chosen = [(name, visit.asked(name)) for name in ("queue", "task") if visit.asked(name)]
    charted = visit.api.row("GET", "/stats") is not None
    calls = [Call("GET", ""), *([Call("GET", "/stats", {}, [("window", window), *chosen])] if charted else [])]
    seen, *stats = await visit.all(*calls)
    return visit.page(
        "overview.html", "overview", "Overview", seen=seen, window=window, windows=WINDOWS, chosen=chosen,
        charts=charts(stats[0]) if stats else [],
    )  # fmt: skip


def charts(stats: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is drawn of the series, each with its numbers for a table."""
    points: Sequence[Mapping[str, Any]] = stats["points"]
    times = [str(point["at"]) for point in points]
    per_minute = 60 / stats["step"]

    def values(name: str, factor: float = 1.0) -> list[float | None]:
        return [None if point.get(name) is None else point[name] * factor for point in points]

    def rates(name: str) -> list[float | None]:
        """A minute; of the last point nothing, since its time is not over."""
        return [*values(name, per_minute)[:-1], None][: len(points)]

    def made(name: str, title: str, unit: str, show: Any, *lines: Line) -> dict[str, Any]:
        rows = [(at, [line.values[index] for line in lines]) for index, at in enumerate(times)]
        return {
            "name": name, "title": title, "unit": unit, "lines": lines, "show": show, "rows": rows[::-1][:60],
            "last": [latest(line.values) for line in lines],
            "svg": Markup(chart(name, f"{title}, {unit}", lines, times, show, show is duration)),  # noqa: S704 - charts.py escapes
        }  # fmt: skip

    return [
        made("throughput", "Throughput", "jobs a minute", number,
             Line("succeeded", rates("succeeded"), 1), Line("failed", rates("failed"), 2),
             Line("retried", rates("retried"), 3)),
        made("latency", "Latency", "enqueued to started, and running", duration,
             Line("wait p50", values("wait_p50"), 1), Line("wait p95", values("wait_p95"), 2),
             Line("run p50", values("run_p50"), 3), Line("run p95", values("run_p95"), 4)),
        made("age", "Queue age", "the longest that a ready job has waited", duration,
             Line("oldest ready", values("oldest_ready"), 1)),
        made("depth", "Ready and running", "jobs", number,
             Line("ready", values("ready"), 1), Line("running", values("running"), 3)),
    ]  # fmt: skip


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def chosen_of(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The filters of a URL or of a form, as people wrote them, without those that say nothing."""
    given = [(name, value.strip()) for name, value in pairs if value.strip()]
    states = [("state", one) for name, value in given if name == "state" for one in value.split(",")]
    rest = {name: value for name, value in given if name in FILTERS}
    outstanding = [("outstanding", "true")] if ("outstanding", "true") in given else []
    return [*dict.fromkeys(states), *rest.items(), *outstanding]


def seconds(text: str) -> str:
    """`15m` → seconds, as the API takes an age. Failed."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise wrong("An age is a number of seconds, or like 30s, 15m, 12h, 7d.")
    return plainly(float(match[1]) * _SECONDS[match[2]])


def plainly(number: float) -> str:
    """As people write it: 3600, 0.4."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def sent(chosen: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same as the API takes them."""
    return [(name, seconds(value) if name == "older_than" else value) for name, value in chosen]


def possible(chosen: Sequence[tuple[str, str]]) -> dict[str, str]:
    """What can be done to the jobs that such filters mean; no filter means none."""
    states = {value for name, value in chosen if name == "state"}
    over = ("outstanding", "true") in chosen or any(name == "error" for name, _ in chosen)
    able = {"retry": states <= ENDED, "cancel": not states & ENDED and not over, "delete": states <= ENDED}
    return {action: said for action, said in ACTIONS.items() if chosen and able[action]}


async def jobs(visit: Visit) -> Response:
    if id := visit.asked("id"):
        return redirect(visit.link(f"jobs/{await _meant(visit, id.lower())}"))
    chosen, cursor = chosen_of(visit.query), visit.asked("cursor")
    limit = visit.asked("limit") or str(PAGE)
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= MOST):
        raise wrong(f"The limit is a whole number from 1 to {MOST}.")
    page = await visit.get("/jobs", [*sent(chosen), ("limit", limit), *([("cursor", cursor)] if cursor else [])])
    return visit.page(
        "jobs.html", "jobs", "Jobs", items=page["items"], next=page.get("next_cursor"), chosen=chosen, cursor=cursor,
        said=dict(chosen), states=[value for name, value in chosen if name == "state"], all_states=STATES,
        limit=None if limit == str(PAGE) else limit, actions=possible(chosen),
    )  # fmt: skip


async def _meant(visit: Visit, said: str) -> str:
    """The id of a job, of which its beginning will do, as at the command line. Failed where none is meant, or several
    may be."""
    if _ID.fullmatch(said):
        return said
    last = last_of(said)
    if last is None:
        raise wrong(
            f"A job's id looks like 019a0f3c-5b7e-7cc1-9d0e-2f6b8a4c1d3e; all of it will do, or its beginning. {ENDS}"
        )
    page = await visit.get("/jobs", [("limit", str(ALIKE + 1)), ("cursor", visit.api.after(last))])
    ids = [one["id"] for one in page["items"] if one["id"].startswith(said)]
    if not ids:
        raise Failed(404, {"title": "No job's id begins so", "detail": ENDS, "status": 404})
    if len(ids) > 1:
        raise wrong(f"It may be {', '.join(ids[:ALIKE])}: say more of its id.")
    return str(ids[0])


async def bulk(visit: Visit) -> Response:
    """How many a bulk action would be about, and some of them. Nothing is changed."""
    action, chosen = visit.asked("action"), chosen_of(visit.query)
    if action not in ACTIONS:
        raise wrong(f"The action is one of {', '.join(ACTIONS)}.")
    if not visit.can_write:
        raise Failed(403, {"title": "You may look, and change nothing", "status": 403})
    body = {"action": action, "filter": filter_of(chosen)}
    try:
        seen = await visit.do("POST", "/jobs:preview", body)
    except Failed as error:
        return visit.refused(error, "jobs", *chosen)
    return visit.page(
        "bulk.html",
        "jobs",
        f"{ACTIONS[action]} many jobs",
        action=action,
        said=ACTIONS[action],
        chosen=chosen,
        seen=seen,
        asked={name: visit.asked(name) for name in ASKED},
    )


def filter_of(chosen: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """As the bodies of the API have it."""
    made: dict[str, Any] = {name: value for name, value in chosen if name not in ("state", "outstanding", "older_than")}
    if states := [value for name, value in chosen if name == "state"]:
        made["state"] = states
    for name, value in chosen:
        if name == "outstanding":
            made[name] = True
        elif name == "older_than":
            made[name] = float(seconds(value))
    return made


def folded(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Newest first; of progress that follows progress, the newest, with how many they are."""
    made: list[dict[str, Any]] = []
    for one in reversed(events):
        if made and one["type"] == made[-1]["type"] == "progress":
            made[-1]["times"] += 1
        else:
            made.append({**one, "times": 1})
    return made


def anew(seen: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Of a change of many jobs: the query of the page that asks for such a one."""
    said = seen["arguments"]
    if seen["task"] != BULK or not isinstance(said, dict) or seen["redacted"]:
        return None
    made = [("action", str(said["action"]))]
    made += [(name, str(said[name])) for name in ASKED if said.get(name) not in (None, REASON)]
    for name, value in said["filter"].items():
        if name == "outstanding":
            made += [(name, "true")] if value else []
        elif name == "older_than":
            made.append((name, plainly(value)))
        else:
            made += [(name, str(one)) for one in (value if isinstance(value, list) else [value])]
    return made


async def job(visit: Visit, *, shown: bool = False) -> Response:
    id = visit.steps[1]
    seen = await visit.get("/jobs/{job_id}", [("arguments", "true")] if shown else [], job_id=id)
    flow = None
    if seen.get("parts") or seen.get("flow"):
        root = seen.get("flow") or seen["id"]
        try:
            flow = await visit.get("/jobs/{job_id}/graph", job_id=root)
        except Failed:  # forgotten by now, or too young an API: the page is still worth showing
            flow = None
    drawn = None if not flow or not flow["edges"] else drawing.draw(flow)
    return visit.page(
        "job.html", "jobs", seen["task"], job=seen, shown=shown,
        events=folded(seen.get("events") or []), anew=anew(seen),
        live=seen["state"] not in ("succeeded", "failed", "canceled"), drawing=drawn,
        svg=None if drawn is None else Markup(drawing.svg(drawn, id, lambda one: visit.link(f"jobs/{one}"))),  # noqa: S704
    )  # fmt: skip


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def queues(visit: Visit) -> Response:
    limits = visit.api.row("GET", "/limits") is not None
    said = visit.asked("state")
    if said not in ("", "on", "paused"):
        raise wrong("The state is one of on, paused.")
    which = [("paused", "true" if said == "paused" else "false")] if said else []
    asked = Call("GET", "/queues", {}, [*which, *_cursor(visit)])
    found, *more = await visit.all(asked, *([Call("GET", "/limits")] if limits else []))
    return visit.page("queues.html", "queues", "Queues", items=found["items"], said=said, next=found.get("next_cursor"),
                      limits=more[0]["items"] if more and not said else [])  # fmt: skip


async def queue(visit: Visit) -> Response:
    seen = await visit.get("/queues/{name}", name=_name(visit))
    return visit.page("queue.html", "queues", seen["name"], queue=seen)


async def schedules(visit: Visit) -> Response:
    page = await visit.get("/schedules", _cursor(visit))
    said, items = _which(visit, page["items"], ("on", "late", "paused"), _switch)
    items.sort(key=lambda one: -one["behind_seconds"] if one.get("late") and one.get("behind_seconds") else 0.0)
    return visit.page("schedules.html", "schedules", "Schedules", items=items, said=said, next=page.get("next_cursor"))


async def schedule(visit: Visit) -> Response:
    seen = await visit.get("/schedules/{name}", name=_name(visit))
    return visit.page("schedule.html", "schedules", seen["name"], schedule=seen)


async def workers(visit: Visit) -> Response:
    page = await visit.get("/workers", _cursor(visit))
    said, items = _which(visit, page["items"], ("alive", "late", "lost"), lambda one: str(one["state"]))
    return visit.page("workers.html", "workers", "Workers", items=items, said=said, next=page.get("next_cursor"))


async def webhooks(visit: Visit) -> Response:
    enabled, tenant = visit.asked("enabled"), visit.asked("tenant")
    if enabled not in ("", "true", "false"):
        raise wrong("enabled is true or false.")
    said = [(name, value) for name, value in (("enabled", enabled), ("tenant", tenant)) if value]
    page = await visit.get("/endpoints", [*said, *_cursor(visit)])
    return visit.page("webhooks.html", "webhooks", "Webhooks", items=page["items"], next=page.get("next_cursor"),
                      enabled=enabled, tenant=tenant, chosen=said)  # fmt: skip


async def webhook(visit: Visit) -> Response:
    id = {"endpoint_id": visit.steps[1]}
    seen, tried = await visit.all(
        Call("GET", "/endpoints/{endpoint_id}", id),
        Call("GET", "/endpoints/{endpoint_id}/attempts", id, _cursor(visit)),
    )
    return visit.page("webhook.html", "webhooks", "Endpoint", endpoint=seen, items=tried["items"],
                      next=tried.get("next_cursor"))  # fmt: skip


async def health(visit: Visit) -> Response:
    alerts = visit.api.row("GET", "/alerts") is not None
    found, *more = await visit.all(Call("GET", "/doctor"), *([Call("GET", "/alerts")] if alerts else []))
    return visit.page(
        "health.html",
        "health",
        "Health",
        checks=sorted(found["checks"], key=lambda one: SEVERITY.index(one["state"])),
        alerts=more[0]["items"] if more else [],
        pages=CHECKED,
    )


async def audit(visit: Visit) -> Response:
    chosen = [(name, visit.asked(name)) for name in ("actor", "action", "target") if visit.asked(name)]
    page = await visit.get("/audit", [*chosen, *_cursor(visit)])
    return visit.page("audit.html", "audit", "Audit log", items=page["items"], next=page.get("next_cursor"),
                      said=dict(chosen), chosen=chosen)  # fmt: skip


def _switch(one: Mapping[str, Any]) -> str:
    return "paused" if one["paused"] else "late" if one.get("late") else "on"


def _which(
    visit: Visit, items: list[Any], states: tuple[str, ...], state: Callable[[Any], str]
) -> tuple[str, list[Any]]:
    """(what `state=` asks for, those that are in it). These lists are short, and come whole."""
    said = visit.asked("state")
    if said not in ("", *states):
        raise wrong(f"The state is one of {', '.join(states)}.")
    return said, [one for one in items if said in ("", state(one))]


def _cursor(visit: Visit) -> list[tuple[str, str]]:
    said = visit.asked("cursor")
    return [("cursor", said)] if said else []


def _name(visit: Visit) -> str:
    """Names may be any text, so they travel in the query: proxies and routers make what they like of a path."""
    name = next((value for given, value in visit.query if given == "name"), "")
    if not name:
        raise NotHere
    return name


PAGES = {
    (): overview,
    ("jobs",): jobs,
    ("jobs", "bulk"): bulk,
    ("jobs", "*"): job,
    ("queues",): queues,
    ("queues", "one"): queue,
    ("schedules",): schedules,
    ("schedules", "one"): schedule,
    ("workers",): workers,
    ("webhooks",): webhooks,
    ("webhooks", "*"): webhook,
    ("health",): health,
    ("audit",): audit,
}
"""By the steps of their path; "*" is an id."""

CHECKED: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "failed": ("jobs", (("state", "failed"), ("outstanding", "true"))),
    "changes": ("jobs", (("state", "failed"), ("task", BULK))),
    "workers": ("workers", ()),
    "leases": ("workers", ()),
    "waiting": ("queues", ()),
    "schedules": ("schedules", (("state", "late"),)),
    "outbox": ("jobs", (("queue", OUTBOX),)),
}
"""What the doctor looked at → (path, query) of the page where one sees it, and mends it."""
