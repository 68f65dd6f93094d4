"""A21, A22: more than 200 payloads in all that is shown: no dialog, no report of the policy, everything as text.

All are put in at once, and a page is looked at once with as many as it holds.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest

from offpath import Schedule
from offpath.app.acting import acting
from offpath.core.ids import uuid7
from offpath.core.options import SECOND
from offpath.core.workers import About
from offpath.dashboard.render import visible
from offpath.errors import JobFailed
from offpath.ports.webhooks import EndpointRow
from offpath.webhooks import rotation
from tests.dashboard.payloads import corpus
from tests.dashboard.place import ONCE, Board, Seen, violations, visiting
from tests.http.site import beside, served

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.anyio, pytest.mark.servers("chromium")]
GROUP = 24  # payloads of one job's arguments and error


def name(text: str) -> str:
    """What a name can have of it: no control characters, and something visible."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split(" ")).strip()


NAMES = list(dict.fromkeys(map(name, corpus())))


@dataclass
class Hostile:
    """ids: jobs with payloads in arguments, error and label; labels: what theirs are; endpoint: one of them."""

    board: Board
    base: str
    page: "Page"
    seen: Seen
    ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    endpoint: str = ""

    async def look(self, path: str) -> str:
        """The page's text, after it had every chance to go wrong."""
        answer = await self.page.goto(path if path.startswith("http") else self.base + path)
        assert answer is not None
        assert answer.status == 200, path
        await self.page.mouse.move(300, 300)
        return await self.heard(path)

    async def heard(self, path: str) -> str:
        assert await violations(self.page) == [], path
        assert (self.seen.dialogs, self.seen.complaints) == ([], []), path
        assert await self.page.locator("main script, main iframe, main object, main img, main math").count() == 0, path
        return await self.page.inner_text("body")

    async def all(self, path: str) -> str:
        """The text of a list, to its last page."""
        text, following = await self.look(path), self.page.locator("a[rel=next]")
        while await following.count():
            text += await self.look(await following.evaluate("(one) => one.href"))
        return text


@pytest.fixture(scope="module")
async def hostile(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    folder = tmp_path_factory.mktemp("hostile")
    board = Board(folder)
    assert len(corpus()) >= 200
    await asyncio.to_thread(board.jobs.migrate)
    await jobs(board)
    await surroundings(board)
    async with (
        served(board.api) as base,
        visiting(browser, f"{base}/dashboard/", viewport={"width": 1280, "height": 800}) as (page, seen),
    ):
        made = Hostile(board, f"{base}/dashboard/", page, seen, endpoint=endpoint(board, 0, NAMES[0]).id)
        async with httpx.AsyncClient(base_url=base, headers={"Authorization": "Bearer keeper"}) as http:
            await failures(made, http)
        alerts(board)
        yield made
    board.jobs.close()


async def jobs(board: Board) -> None:
    """Names of tasks, queues, keys, owners."""

    async def one(text: Any = None) -> Any:
        return text

    tasks = [board.jobs.task(name=said, retry=ONCE)(one) for said in NAMES]
    for task, said in zip(tasks, NAMES, strict=True):
        await task.using(queue=said, key=said, owner=said).enqueue(said)


async def surroundings(board: Board) -> None:
    """Schedules, workers, endpoints, audit log with its actors and reasons of paused queues, alerts."""
    store, now = board.jobs.store, board.jobs.store.now()
    later, call = Schedule.every(timedelta(days=9)), board.breaks.call("x")
    lease = store.lease()
    for number, said in enumerate(NAMES):
        await board.jobs.schedules.put(said, later, call)
        id = uuid7(now, number.to_bytes(2, "big") * 5)
        lease.register(id, 3_600, json.dumps([f"{said}@1"]), said)
        about = About(said, 1, now, 8, (said,), said, 3_600.0)
        await store.perform(store.verbs.describe_worker(id, about.text(), "{}"))
        assert await store.perform(store.verbs.add_endpoint(endpoint(board, number, said), 1_000))
        with acting(said):
            await board.jobs.queues.pause(said, reason=f"why {said}")
    lease.close()


def alerts(board: Board) -> None:
    """Of rules that no worker here knows, which is why none may run after this: it would put them right."""
    with beside(_Beside(board)) as db:  # type: ignore[arg-type]
        rows = [(said, number + 1, board.jobs.store.now() - 60 * SECOND, 7) for number, said in enumerate(NAMES)]
        db.executemany("insert into offpath_alert (name, seq, raised_at, value) values (?, ?, ?, ?)", rows)


class _Beside:
    """What `beside` asks of a site."""

    def __init__(self, board: Board) -> None:
        self.url, self.path = "", board.jobs.settings.url.removeprefix("sqlite:///")


def endpoint(board: Board, number: int, said: str) -> EndpointRow:
    """With a URL that no check of ours has seen, such as an older release might have taken."""
    return EndpointRow(
        id=uuid7(1_000_000_000_000_000, number.to_bytes(2, "big") * 5), tenant=said, owner=said, url=said,
        description=f"about {said}", events=json.dumps([said]),
        secrets=rotation.sealed("whsec_" + "A" * 32, board.webhooks.vault),
        headers=board.webhooks.vault.seal(json.dumps({said: "x"})), enabled=number % 2 == 0, reason=said,
        failing_since=None, not_before=None, width=4, created_at=1, updated_at=1,
    )  # fmt: skip


async def failures(made: Hostile, http: httpx.AsyncClient) -> None:
    """Arguments, errors, tracebacks, labels of operations, and what callers say that their trace is."""
    texts = [text.replace("\x00", "") for text in corpus()]
    for start in range(0, len(texts), GROUP):
        some = texts[start : start + GROUP]
        label = " ".join(map(name, some[:3]))[:250].strip()
        headers = {"traceparent": name(some[0]).encode("ascii", "ignore").decode()}
        answer = await http.post(
            "/work/breaks", params={"label": label}, json={"text": "\n".join(some)}, headers=headers
        )
        assert answer.status_code == 202, answer.text
        made.ids.append(answer.headers["location"].rpartition("/")[2])
        made.labels.append(label)
    async with made.board.jobs.worker(queues=["default"]):
        for id in made.ids:
            job = await made.board.jobs.get(id)
            assert job is not None
            with pytest.raises(JobFailed):
                await asyncio.wait_for(job.result(), 120)


def shown(text: str, among: str) -> bool:
    """As it is; with escapes for what would hide in it, or turn it around."""
    return "".join(visible(text).split()) in among


def missing(texts: Sequence[str], among: str) -> list[str]:
    plain = "".join(among.split())
    return [text for text in texts if not shown(text, plain)]


async def test_a21_lists_of_hostile_names(hostile: Hostile) -> None:
    """Tasks, queues, keys, owners; alerts; reasons; schedules; workers; endpoints; actors, targets."""
    await hostile.page.set_viewport_size({"width": 1280, "height": 800})
    assert missing(NAMES, await hostile.all("jobs?limit=100")) == []
    paths = ("", "queues", "schedules", "workers", "webhooks", "audit", "health")
    lost = {path: missing(NAMES, await hostile.all(path)) for path in paths}
    assert {path: texts[:3] for path, texts in lost.items() if texts} == {}
    assert missing([f"why {said}" for said in NAMES], await hostile.all("queues")) == []
    assert missing([f"about {said}" for said in NAMES], await hostile.all("webhooks")) == []


async def test_a21_one_of_each(hostile: Hostile) -> None:
    for said in NAMES[::30]:
        for kind in ("queues", "schedules"):
            assert missing([said], await hostile.look(f"{kind}/one?{urlencode({'name': said})}")) == []
        assert missing([said], await hostile.look(f"jobs?{urlencode({'owner': said})}")) == []
    assert missing([NAMES[0], f"about {NAMES[0]}"], await hostile.look(f"webhooks/{hostile.endpoint}")) == []
    assert await hostile.page.locator("a[href^='javascript'], a[href^='data'], a[href^='vbscript']").count() == 0


async def test_a21_hostile_arguments_errors_and_labels(hostile: Hostile) -> None:
    for index, id in enumerate(hostile.ids):
        await hostile.look(f"jobs/{id}")
        await hostile.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert missing([hostile.labels[index]], await hostile.heard(id)) == []
        trace = await hostile.page.inner_text("dd a[href^='https://traces.example/']")
        assert re.fullmatch("[0-9a-f]{32}", trace), "what is no trace id is none"
        await hostile.page.click("text=Show values")
        await hostile.page.wait_for_selector("#arguments")
        await hostile.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        text = await hostile.heard(id)
        some = [one.replace("\x00", "") for one in corpus()[index * GROUP : (index + 1) * GROUP]]
        plain = "".join(text.split())
        lost = [
            one
            for one in some
            if not (shown(one, plain) or shown(name(one), plain) or shown(json.dumps(one)[1:-1], plain))
        ]
        assert lost == []  # fmt: skip


async def test_a21_the_fragment_that_a_live_page_takes(hostile: Hostile) -> None:
    await hostile.look("jobs?limit=100")
    await hostile.page.wait_for_selector("body[data-looked]")
    await hostile.heard("the next look")


async def test_a22_reflected(hostile: Hostile) -> None:
    """Each parameter of each page, with a payload of its own."""
    asked = {
        "jobs": ("queue", "task", "owner", "key_prefix", "error"), "jobs/bulk": ("action", "queue", "state"),
        "audit": ("actor", "action", "target"), "sign-in": ("next",), "": ("window", "queue", "task"),
        "webhooks": ("tenant", "enabled"), "schedules": ("state", "cursor"), "queues/one": ("name",),
    }  # fmt: skip
    payloads = corpus()
    turn = 0
    for _ in range(3):
        for path, names in asked.items():
            said = {one: payloads[(turn := turn + 7) % len(payloads)] for one in names}
            await hostile.page.goto(f"{hostile.base}{path}?{urlencode(said)}")
            assert await violations(hostile.page) == [], said
            assert await hostile.page.locator("main script, main iframe, main img[onerror]").count() == 0, said
    assert hostile.seen.dialogs == []
    hostile.seen.complaints.clear()  # refusals (400) are told by the console
