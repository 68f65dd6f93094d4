"""I30: what somebody does to an endpoint is one line of the audit log; what changes nothing is none."""

import pytest

from offpath.app.acting import acting
from tests.webhooks.houses import Build, build, inbox, url

__all__ = ["build", "inbox", "url"]

pytestmark = pytest.mark.anyio
API = "/webhooks/endpoints"


async def test_i30_what_is_done_to_an_endpoint_is_recorded(build: Build, url: str) -> None:
    house = build(url)
    async with house.client() as alice:
        with acting("ann"):
            made = (await alice.post(API, json={"url": "http://127.0.0.1:9/hook"})).json()
            one = f"{API}/{made['id']}"
            sent = (await alice.post(f"{one}/test")).json()
            await alice.post(f"{one}/resend", json={"delivery": sent["delivery"]})
            await alice.post(f"{one}/rotate")
            for verb in ("disable", "disable", "enable", "enable"):
                assert (await alice.post(f"{one}/{verb}")).status_code == 200
            assert (await alice.delete(one)).status_code == 204
            assert (await alice.delete(one)).status_code == 404
        await alice.post(API, json={"url": "http://127.0.0.1:9/hook"})
    log = [one async for one in house.jobs.audit()]
    assert {(one.actor, one.target) for one in log} == {("ann", made["id"])}
    done = [one.action for one in reversed(log)]
    resent = ["endpoint.resend"] if "endpoint.resend" in done else []  # one that is under way is not sent again
    assert done == [
        *("endpoint.test", *resent, "endpoint.rotate", "endpoint.disable", "endpoint.enable", "endpoint.delete"),
    ]
    assert "whsec_" not in str(log)
