"""What only PostgreSQL has to get right about limits: several claims at the same moment."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from offpath.core.limits import Rule
from offpath.ports import Look, Store
from offpath.stores.postgres.address import qualify
from offpath.stores.postgres.session import SETTINGS
from offpath.stores.postgres.store import PACKAGE
from offpath.stores.statements import load, numbered
from tests.stores.kit import Hand, new_job, perform, put

SCAN = qualify(load(PACKAGE)["limits.scan"], "public")


@pytest.fixture
async def other(store: Store, tables_url: str) -> Any:
    """A claim of somebody else's, to be begun and ended by hand."""
    opened = await asyncpg.connect(tables_url, server_settings=SETTINGS)
    yield opened
    await opened.close()


async def test_a_bucket_that_somebody_claims_from_is_left_out_until_he_has_committed(
    store: Store, hire: Callable[..., Hand], other: Any
) -> None:
    """Without that, both would count before either has committed."""
    perform(store, store.verbs.declare([Rule("k", 1, None, 1), Rule("all", 2, None, 1)]))
    put(store, *(new_job(lane=lane) for lane in ("k\t1", "all\nk\t2", "k\t3") for _ in range(2)))
    sql, names = numbered(SCAN)
    given = {"queue": "default", "after": "k\t0", "until": "k\t0", "past": 0, "limit": 1}
    begun = other.transaction()
    await begun.start()
    lanes, locked, _ = await other.fetchrow(sql, *(given[name] for name in names))
    assert (lanes, locked) == ('["k\\t1"]', "[]")
    hand = hire()
    said = hand.exchange(want=hand.want(limited=Look(10, 10)))
    assert sorted(str(job.lane) for job in said.claimed) == ["all\nk\t2", "k\t3"]
    assert said.limited is not None
    assert said.limited.busy
    await begun.rollback()
    said = hand.exchange(want=hand.want(limited=Look(10, 10)))
    assert [job.lane for job in said.claimed] == ["k\t1"]
    assert said.limited is not None
    assert not said.limited.busy
