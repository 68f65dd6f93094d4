"""Whose a job is that another job enqueues: the owner's and the tenant's of that one, so that an erasure finds it."""

import json
from typing import Any

import pytest

from offpath import Context, Offpath, Retry
from offpath.core.job import Principal
from offpath.errors import ConfigurationError
from offpath.testing import drain, run_inline

from .test_owners import everything, told

pytestmark = pytest.mark.anyio
ANN = "canary-ann@example.org"
ONCE = Retry(max_attempts=1)


class Shop:
    """`profile` enqueues in each of the ways that there are."""

    def __init__(self, url: str) -> None:
        self.jobs = Offpath(url, poll=0.05)
        self.ran: dict[str, Principal | None] = {}

        @self.jobs.task(retry=ONCE)
        async def child(ctx: Context, what: str, email: str, bad: bool = False) -> str:
            self.ran[what] = ctx.principal
            if bad:
                raise ValueError("no")
            return email

        @self.jobs.task(retry=ONCE)
        async def profile(email: str) -> None:
            await child.enqueue("plainly", email)
            await child.enqueue("fails", email, bad=True)
            await child.enqueue_many([child.call("one of many", email)])
            await child.call("a part", email).then(child.using().call("last", email)).enqueue()
            in_thread_too.enqueue_sync(email)
            await child.using(owner=None).enqueue("nobody's", "x")
            await child.using(owner="bob").enqueue("bob's", "x")
            await child.using(owner="bob", tenant="globex").enqueue("bob's of globex", "x")
            await (
                child.call("a part of bob's", "x")
                .then(child.using().call("bob's last", "x"))
                .using(owner="bob", tenant="globex")
                .enqueue()
            )

        @self.jobs.task(retry=ONCE)
        def in_thread_too(email: str) -> None:
            child.enqueue_sync("from a thread", email)

        @profile.hook("after")
        async def afterwards(_: object) -> None:
            await child.enqueue("from a hook", ANN)

        self.child, self.profile = child, profile


HERS = ("plainly", "fails", "one of many", "a part", "last", "from a thread", "from a hook")


async def test_what_an_attempt_enqueues_is_its_owners_unless_it_says_so(url: str) -> None:
    shop = Shop(url)
    shop.jobs.migrate()
    await shop.profile.using(owner=ANN, tenant="acme").enqueue(ANN)
    await drain(shop.jobs)
    bob = Principal("bob", "globex")
    assert shop.ran == {name: Principal(ANN, "acme") for name in HERS} | {
        "nobody's": None,
        "bob's": Principal("bob"),
        "bob's of globex": bob,
        "a part of bob's": bob,
        "bob's last": bob,
    }
    rows = await told(shop.jobs, ANN, tenant="acme")
    jobs = [row["args"]["what"] for row in rows if row["kind"] == "job" and row["task"].endswith("child")]
    assert sorted(jobs) == sorted(HERS)
    await shop.jobs.purge_owner(ANN, tenant="acme")
    assert "canary" not in await everything(url)
    assert len(await told(shop.jobs, "bob", tenant="globex")) == 4
    shop.jobs.close()


async def test_a_batch_is_of_an_owner_only_if_all_of_it_is(url: str) -> None:
    jobs = Offpath(url, poll=0.05)
    whose: dict[str, Principal | None] = {}

    @jobs.task
    async def child(ctx: Context, what: str) -> None:
        whose[what] = ctx.principal

    @jobs.batch(size=2, wait=30)
    async def together(names: list[str]) -> None:
        await child.enqueue("+".join(sorted(names)))

    jobs.migrate()
    for first, second in ((("ann", "acme"), ("ann", "acme")), (("bob", "acme"), ("bob", "globex"))):
        for name, (owner, tenant) in zip("12", (first, second), strict=True):
            await together.using(owner=owner, tenant=tenant).enqueue(f"{owner}{name}")
        await drain(jobs)
    assert whose == {"ann1+ann2": Principal("ann", "acme"), "bob1+bob2": None}
    jobs.close()


async def test_inline_it_is_the_same(url: str) -> None:
    shop = Shop(url)
    shop.jobs.migrate()

    @shop.jobs.task
    async def outer() -> None:
        await shop.child.enqueue("inner", "x")

    with run_inline(shop.jobs):
        await outer.using(owner=ANN, tenant="acme").enqueue()
    assert shop.ran == {"inner": Principal(ANN, "acme")}
    shop.jobs.close()


@pytest.mark.parametrize(
    "options", [{"tenant": "acme"}, {"owner": None, "tenant": "acme"}, {"owner": "a", "tenant": ""}]
)
async def test_a_tenant_is_an_owners(options: dict[str, Any]) -> None:
    shop = Shop("sqlite:///never.db")
    with pytest.raises(ConfigurationError, match="tenant"):
        shop.child.using(**options)
    with pytest.raises(ConfigurationError, match="tenant"):
        shop.child.call("x", "y").then(shop.child.using().call("z", "y")).using(**options)


async def test_options_of_several_calls_say_whose_as_one(url: str) -> None:
    shop = Shop(url)
    shop.jobs.migrate()
    many = shop.child.using(owner="bob", tenant="globex")
    calls = [shop.child.call("filled", "x"), shop.child.using(owner="ann").call("said", "x")]
    await many.enqueue_many(calls)
    await drain(shop.jobs)
    assert shop.ran == {"filled": Principal("bob", "globex"), "said": Principal("ann")}
    assert json.dumps(await told(shop.jobs, "ann")).count('"said"') == 1
    shop.jobs.close()
