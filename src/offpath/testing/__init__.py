"""For your tests. Nothing here pretends: jobs are rows of a real SQLite file and a real worker runs them, except
under `run_inline`, which runs the function where it is enqueued, through the same checks and the same encoding.

    @pytest.fixture(autouse=True)
    def fresh_jobs():
        with isolated(jobs):
            yield

    async def test_sign_up(client):
        await client.post("/users", json={"email": "a@example.org"})
        assert_enqueued(jobs, send_email, to="a@example.org")
        assert await drain(jobs) == {"succeeded": 1}
"""

from .clock import MovedClock, moved_clock
from .crash import Crash, crash_at_every_step, crash_everywhere
from .drain import drain, drain_sync, isolated
from .inline import Inline, run_inline
from .records import Recorded, assert_enqueued, assert_not_enqueued, enqueued

__all__ = [
    "Crash",
    "Inline",
    "MovedClock",
    "Recorded",
    "assert_enqueued",
    "assert_not_enqueued",
    "crash_at_every_step",
    "crash_everywhere",
    "drain",
    "drain_sync",
    "enqueued",
    "isolated",
    "moved_clock",
    "run_inline",
]
