"""SEC-04, SEC-08, SEC-09: the worker acts for whoever started the work, and knows nothing else of that request."""

import asyncio
import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from offpath import Backoff, Context, Offpath, Retry
from offpath.core.call import Call
from offpath.core.job import Job, principal
from offpath.core.options import CallOptions
from offpath.core.policy import overrides, parted, resolve
from offpath.engine.inject import Recipes
from offpath.engine.plans import Plans
from offpath.errors import ConfigurationError
from offpath.tasks import Principal
from offpath.testing import run_inline
from tests.http.either import STORES, site_on
from tests.http.site import ONCE, Site

pytestmark = pytest.mark.anyio
CANARY = "canary-7f3a9c"


def tells(site: Site) -> Any:
    """A task that says whose it is, and one that has a side effect without a context."""

    @site.jobs.task(name="whose")
    async def whose(ctx: Context) -> Any:
        return ctx.principal

    @site.jobs.task(name="whose.plain")
    def plain(ctx: Context) -> Any:
        return ctx.principal

    @site.jobs.task(name="effect", retry=Retry(max_attempts=3))
    async def effect() -> str:
        site.runs.append("effect")
        return "done"

    @site.jobs.task(name="effect.plain", retry=ONCE)
    def effect_plain() -> None:
        site.runs.append("effect.plain")

    return whose


async def ended(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = await client.get(url, headers={"Prefer": "wait=20"})
    document: dict[str, Any] = answer.json()
    assert document["done"], document
    return document


@pytest.mark.parametrize("store", STORES)
async def test_sec_04_the_worker_acts_for_the_recorded_principal(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Not for the last request's; and a second run of it acts for the same."""
    with site_on(store, request, tmp_path) as site:
        tells(site)
        async with site.client("ali'ce@acme") as alice, site.client("bob") as bob:
            mine = [await site.start(alice, name) for name in ("whose", "whose.plain")]
            theirs = await site.start(bob, "whose")
            nobodys = await site.task("whose").enqueue()
            async with site.jobs.worker():
                for url in mine:
                    assert (await ended(alice, url))["result"] == ["ali'ce", "acme"]
                assert (await ended(bob, theirs))["result"] == ["bob", ""]
                assert await nobodys.result(timeout=60) is None
                again = await site.jobs.retry(mine[0].rpartition("/")[2])
                assert await again.result(timeout=60) == ["ali'ce", "acme"]


@pytest.mark.parametrize("store", STORES)
async def test_sec_04_a_revoked_principal_stops_before_side_effects(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with site_on(store, request, tmp_path) as site:
        tells(site)
        asked: list[Principal] = []
        hooked: list[str] = []

        @site.jobs.authorizer
        async def still(who: Principal) -> bool:
            asked.append(who)
            return who.id != "mallory"

        @site.jobs.hook("before")
        def before(info: Any) -> None:
            hooked.append(info.owner or "")

        async with site.client("mallory@acme") as mallory, site.client("alice@acme") as alice:
            refused = [await site.start(mallory, name) for name in ("effect", "effect.plain")]
            passed = [await site.start(alice, name) for name in ("effect", "effect.plain")]
            free = await site.task("effect").enqueue()
            async with site.jobs.worker():
                for url in refused:
                    document = await ended(mallory, url)
                    assert (document["status"], document["attempt"]) == ("failed", 1), "and it is not tried again"
                    assert document["error"]["type"].endswith("/revoked")
                    assert document["error"]["status"] == 403
                    assert (await mallory.get(url + "/result")).status_code == 409
                for url in passed:
                    assert (await ended(alice, url))["status"] == "succeeded"
                await free.result(timeout=60)
        assert sorted(site.runs) == ["effect", "effect", "effect.plain"]
        assert "mallory" not in hooked
        assert {who.id for who in asked} == {"mallory", "alice"}, "what is nobody's is not asked for"
        assert {who.tenant for who in asked} == {"acme"}


@pytest.mark.parametrize("kind", ["plain", "lambda that awaits"])
async def test_sec_04_an_authorizer_may_be_plain_and_may_block(site: Site, kind: str) -> None:
    tells(site)
    answers = {"mallory": False, "alice": True}

    async def later(who: Principal) -> bool:
        return answers[who.id]

    said: Callable[[Principal], Any] = (lambda who: later(who)) if kind != "plain" else (lambda who: answers[who.id])
    site.jobs.authorizer(said)
    async with site.client("mallory") as mallory, site.client("alice") as alice, site.jobs.worker():
        assert (await ended(mallory, await site.start(mallory, "effect")))["status"] == "failed"
        assert (await ended(alice, await site.start(alice, "effect.plain")))["status"] == "succeeded"


async def test_sec_04_asked_again_before_every_attempt(site: Site) -> None:
    """Revoked between two attempts: the second does not begin. And one that cannot answer lets nothing through."""
    may, runs = [True], list[int]()

    @site.jobs.task(name="twice", retry=Retry(max_attempts=3, backoff=Backoff.fixed(0.01)))
    async def twice(ctx: Context) -> None:
        runs.append(ctx.attempt)
        may[0] = False
        raise LookupError("again")

    @site.jobs.task(name="never", retry=ONCE)
    async def never() -> None:
        runs.append(99)

    @site.jobs.authorizer
    def still(who: Principal) -> bool:
        if who.id == "broken":
            raise OSError("the directory cannot be reached")
        return may[0]

    async with site.client("alice") as alice, site.client("broken") as broken, site.jobs.worker():
        document = await ended(alice, await site.start(alice, "twice"))
        assert document["error"]["type"].endswith("/revoked")
        document = await ended(broken, await site.start(broken, "never"))
        assert document["error"]["type"].endswith("/job-failed")
    assert runs == [1]


def test_sec_04_one_authorizer(site: Site) -> None:
    first = site.jobs.authorizer(lambda who: True)
    assert site.jobs.authorizer(first) is first
    with pytest.raises(ConfigurationError, match="already"):
        site.jobs.authorizer(lambda who: True)


async def test_sec_04_run_inline_knows_whose_it_is(site: Site) -> None:
    whose = tells(site)
    with run_inline(site.jobs):
        job = await whose.using(owner="alice").enqueue()
        assert await job.result() == ["alice", ""]


@pytest.mark.parametrize("tenant", ["acme", 'äc"me', "{}", '"tenant"'])
@pytest.mark.parametrize("call", [CallOptions(), CallOptions(timeout=5.0), CallOptions(keep_result=False)])
def test_sec_04_the_tenant_travels_beside_the_options(tenant: str, call: CallOptions, site: Site) -> None:
    text = overrides(call, tenant)
    assert parted(text) == (overrides(call), tenant)
    assert overrides(call, "") == overrides(call)
    task = site.task("echo")
    assert task.policy("default", text) == task.policy("default", overrides(call))
    for wrong in ('{"tenant"', '["tenant"]', '"\\"tenant\\""'):
        assert parted(wrong) == (wrong, "")
    with pytest.raises(ConfigurationError):
        resolve(task.options, None, '{"tenant"', site.jobs.registry.retention)


def test_sec_04_many_tenants_share_a_plan(site: Site) -> None:
    registry = site.jobs.registry
    plans = Plans(registry, Recipes(registry))
    made = [_job(site, f"tenant {n}") for n in range(1_500)]
    first = plans.of(made[0])
    assert first is not None
    assert all(plans.of(job) is first for job in made)
    assert len(plans._plans) == 1
    assert {principal(job) for job in made[:2]} == {("alice", "tenant 0"), ("alice", "tenant 1")}


def _job(site: Site, tenant: str) -> Job:
    task = site.echo
    call = Call(task.name, task.version, "{}", task.options, CallOptions(owner="alice"), True, tenant)
    return site.jobs.new_job(call).job


# ── what is stored ───────────────────────────────────────────────────────────────────────────────────────────────────


def dump(store: str, site: Site) -> bytes:
    """Everything the database holds."""
    if store == "sqlite":
        with sqlite3.connect(site.path) as db:
            db.execute("pragma wal_checkpoint(truncate)")
        return site.path.read_bytes()
    with psycopg.connect(site.jobs.settings.url) as db:
        tables = [name for (name,) in db.execute("select tablename from pg_tables where schemaname = 'public'")]
        assert "offpath_operation" in tables
        rows = [repr(db.execute(f'select * from "{name}"').fetchall()) for name in tables]
        return "\n".join(rows).encode()


@pytest.mark.parametrize("store", STORES)
async def test_sec_08_no_credential_of_the_start_is_stored(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Nor of any later request: not in a row, not in a log, not in an error, not in what has ended."""
    with site_on(store, request, tmp_path, caller=lambda: "alice") as site:
        headers = {
            "Authorization": f"Bearer {CANARY}-1",
            "Cookie": f"session={CANARY}-2",
            "Proxy-Authorization": f"Basic {CANARY}-3",
            "X-Api-Key": f"{CANARY}-4",
        }
        async with site.client(None) as client:
            client.headers.update(headers)
            urls = [await site.start(client, name) for name in ("refuses", "gated", "export")]
            urls.append(await site.start(client, "breaks", secret="visible-argument"))
            await client.post(urls[0] + "/events/ticket")
            await client.post(urls[0] + "/cancel", json={"reason": "enough"})
            async with site.jobs.worker():
                await asyncio.wait_for(site.began.wait(), 60)
                site.gate.set()
                for url in urls:
                    await ended(client, url)
                    await client.get(url + "/events")
                    await client.get(url + "/result")
        held = dump(store, site)
        assert b"visible-argument" in held, "the dump would show it"
        assert CANARY.encode() not in held


@pytest.mark.parametrize("store", STORES)
async def test_sec_09_payloads_are_json_and_reading_them_runs_nothing(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with site_on(store, request, tmp_path) as site:
        async with site.client("alice") as alice:
            given = {"__reduce__": ["os.system", "true"], "py/object": "builtins.eval", "bytes": "gASVAAAAAAAAAA=="}
            url = await site.start(alice, "echo", value=given)
            found = await site.jobs.store.read(site.jobs.store.verbs.find(url.rpartition("/")[2]))
            assert found is not None
            assert found.job is not None
            assert json.loads(found.job.args) == {"value": given}
            async with site.jobs.worker():
                assert (await ended(alice, url))["result"] == given


def test_sec_09_nothing_here_unpickles() -> None:
    source = Path(__file__).parents[2] / "src"
    words = ["pickle", "marshal", "shelve", "jsonpickle", "dill"]
    command = ["grep", "-rnE", rf"^\s*(import|from) ({'|'.join(words)})\b", str(source), "--include=*.py"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == ""


def test_a_url_without_jobs_has_no_principal() -> None:
    assert Context("id").principal is None
    assert Offpath("sqlite:///x.db").registry.authorizer is None
