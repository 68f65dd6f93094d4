"""Every face of offpath, looked at from outside: what each gives goes into an `Out`. A face that comes later is one
more function, in `DOORS`."""

import functools
import json
import re
import sys
from typing import Any

import anyio.to_thread
import httpx2
import pytest

from offpath.admin.routes import PARTS
from offpath.cli import main
from offpath.dashboard.pages import PAGES

from .out import Out

NAMES = {"queues": "default", "schedules": "poll"}
KEEPER, READER = {"X-As": "keeper"}, {"X-As": "reader"}


class Place:
    """What is to be looked at: `ids` of the owner's operations, `jobs`: one of each task and state, `endpoints`."""

    def __init__(self, shop: Any, out: Out, client: httpx2.AsyncClient, capsys: Any) -> None:
        self.shop, self.out, self.client, self.capsys = shop, out, client, capsys
        self.ids: list[str] = []
        self.jobs: list[str] = []
        self.endpoints: list[str] = []


async def operations(place: Place) -> None:
    out, client = place.out, place.client
    for id in place.ids:
        for path in (f"/operations/{id}", f"/operations/{id}/result", f"/operations/{id}/graph"):
            out("HTTP", (await client.get(path)).text)
        async with client.stream("GET", f"/operations/{id}/events") as stream:
            out("SSE", "".join([part async for part in stream.aiter_text()]))
    for path in ("/operations", "/openapi.json", "/webhooks/endpoints", "/webhooks/keys"):
        out("HTTP", (await client.get(path)).text)
    for id in place.endpoints:
        for path in (f"/webhooks/endpoints/{id}", f"/webhooks/endpoints/{id}/attempts"):
            out("HTTP", (await client.get(path)).text)


async def python(place: Place) -> None:
    out, jobs = place.out, place.shop.jobs
    kinds: dict[tuple[str, str], str] = {}
    async for info in jobs.list():
        kinds[info.task, info.state] = info.id
        out("views", info)
        out("views", await jobs.inspect(info.id))
        out("views", await jobs.inspect(info.id, arguments=True))
    place.jobs = [*kinds.values()]
    async for row in jobs.export_owner("ann"):
        out("export", json.dumps(row))
    out("repr", [jobs, jobs.settings])


async def admin(place: Place) -> None:
    """Every GET of the admin API, for every job, by one who may see arguments and by one who may not."""
    rows = [row for part in PARTS for row in part if "GET" in row.methods]
    assert len(rows) > 15
    for row in rows:
        many = place.endpoints if "{endpoint_id}" in row.path else place.ids if "{job_id}" in row.path else [""]
        many = place.jobs if row.path == "/jobs/{job_id}" else many
        for id in many:
            path = "/admin" + row.path.replace("{name}", NAMES.get(row.path.split("/")[1], "") if row.path else "")
            path = re.sub(r"\{(job|endpoint)_id\}", id, path)
            for who, query in ((KEEPER, {"arguments": "true"}), (KEEPER, {}), (READER, {})):
                if query and row.path != "/jobs/{job_id}":
                    continue
                answer = await place.client.get(path, headers=who, params=query)
                assert answer.status_code < 400 or row.path.endswith(("/events", "/graph")), (path, answer.text)
                place.out("admin API", answer.text + repr(dict(answer.headers)))


async def dashboard(place: Place) -> None:
    """Every page; and the form that shows the arguments of a job."""

    async def page(path: str) -> str:
        answer = await place.client.get("/dashboard/" + path, headers=KEEPER)
        assert answer.status_code == 200, (path, answer.text[:500])
        place.out("dashboard", answer.text + repr(dict(answer.headers)))
        return answer.text

    for steps in PAGES:
        many = {"jobs": place.jobs, "webhooks": place.endpoints}.get(steps[0], [""]) if "*" in steps else [""]
        for id in many:
            query = f"?name={NAMES[steps[0]]}" if steps[-1:] == ("one",) else ""
            query = "?action=retry&state=failed" if steps == ("jobs", "bulk") else query
            path = "/".join(id if step == "*" else step for step in steps)
            text = await page(path + query)
            if steps == ("jobs", "*"):
                found = re.search(r'name="form" value="([^"]*)"', text)
                assert found is not None
                answer = await place.client.post(
                    f"/dashboard/{path}/arguments", data={"form": found[1]}, headers={**KEEPER, **SAME}
                )
                assert answer.status_code == 200, answer.text[:500]
                place.out("dashboard", answer.text)
    assert "Secret(…)" in "".join(place.out.texts["dashboard"])


SAME = {"Sec-Fetch-Site": "same-origin"}


async def pages(place: Place) -> None:
    async for entry in place.shop.jobs.audit():  # looks at arguments are in it
        place.out("audit", entry)
    for path in ("/metrics/", "/health/livez", "/health/readyz"):
        answer = await place.client.get(path, headers={"Authorization": "Bearer metrics-token"})
        assert answer.status_code in (200, 503), answer.text
        place.out(path, answer.text)


async def command_line(place: Place) -> None:
    one = ["jobs list", "queues list", "schedules list", "schedules show poll", "doctor", "top --once", "workers list"]
    one += ["webhooks endpoints", "audit list", "alerts list", "limits list", "export --owner ann"]
    one += [f"webhooks {verb} {id}" for verb in ("show", "attempts") for id in place.endpoints]
    for id in place.jobs:
        one += [f"jobs show {id} --arguments", f"jobs attempts {id}"]
    one += [f"tail --job {place.ids[0]} --since 1h", f"jobs show {place.ids[0]}", "jobs list --json", "doctor --json"]
    one += [f"jobs show {place.ids[0]} --arguments --json", "top --once --json", "webhooks endpoints --json"]
    place.capsys.readouterr()
    for words in one:
        line = ["--app", "shop_app:jobs", *words.split(" ")]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["offpath", *line])
            code = await anyio.to_thread.run_sync(functools.partial(main, line))
        said = place.capsys.readouterr()
        assert code in (0, 1), (words, said.err)  # 1: what doctor says of it
        place.out("command line", said.out + said.err)


DOORS = (operations, python, admin, dashboard, pages, command_line)
