"""A step on its way keeps the job's row: nobody takes the job from its worker before the step is there."""

import psycopg

from offpath.core.steps import Asked
from offpath.ports import Store
from offpath.testing.stores.fixtures import Hire

from .kit import ask, expire, lose, new_job, put


def test_no_claim_passes_a_step_that_is_not_committed(store: Store, hire: Hire, tables_url: str) -> None:
    dead, judge = hire(-1), hire()
    put(store, new_job())
    job = dead.claim_one()
    with psycopg.connect(tables_url) as tx:
        verb = store.verbs.remember_steps(job.id, job.fence, dead.id, [(Asked("charge", 1, 1, 1), "1")])
        assert store.run_on(tx, verb)
        lose(dead, judge)
        assert expire(store, dead.id) == 0
        assert judge.claim(1) == []
    assert expire(store, dead.id) == 1
    again = judge.claim_one()
    assert ask(store, store.verbs.remembered_steps(again.id)) == [Asked("charge", 1, 1, 1)]
