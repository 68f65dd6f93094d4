"""docs/how-to/privacy.md: its snippets, run as they stand, and what it says of how long things are kept."""

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath
from offpath.app.owners import Erased
from offpath.privacy import Secret
from offpath.testing import drain
from offpath.testing.stores import attempts, audit, deliveries, flows, guards, inbox, memory, outbox, remembered, stats
from offpath.testing.stores import upkeep as pruning

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "privacy.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| (?!what|---)([^|]+) \|", re.MULTILINE)
pytestmark = pytest.mark.anyio

PRUNED: dict[str, list[Callable[..., None]]] = {
    "jobs that succeeded or were canceled": [pruning.test_history_is_forgotten_page_by_page],
    "dead letters": [pruning.test_history_is_forgotten_page_by_page],
    "operations, their events and results": [
        pruning.test_an_operation_becomes_a_tombstone_and_then_nothing,
        pruning.test_tombstones_are_forgotten_in_the_end,
    ],
    "steps, attempts that failed, edges of flows": [
        memory.test_steps_go_when_history_forgets_their_job,
        attempts.test_attempts_go_with_their_job,
        attempts.test_history_forgets_them_together,
        flows.test_a_flow_is_forgotten_with_its_edges,
    ],
    "raw messages that could not be read": [
        inbox.test_a_letter_is_kept_as_long_as_the_newest_job_that_read_it,
        inbox.test_a_letter_whose_job_is_nowhere_goes,
    ],
    "messages known by id": [inbox.test_what_is_known_is_forgotten_when_its_time_is_up],
    "outgoing events that a broker refused": [outbox.test_what_is_aside_is_forgotten_with_its_job],
    "idempotency records": [remembered.test_an_answer_whose_time_is_up_is_forgotten],
    "tickets of streams": [guards.test_tickets_that_nobody_used_are_pruned],
    "webhook deliveries and their attempts": [deliveries.test_deliveries_and_attempts_are_forgotten_with_time],
    "audit log": [audit.test_acts_are_forgotten_when_their_time_is_up],
    "counts and samples (nobody's data)": [stats.test_they_are_forgotten_page_by_page],
}
"""Each row of the table, and the conformance tests of stores that prune what it is about, with time moved on."""


def test_each_row_about_how_long_things_are_kept_has_a_test_of_every_store() -> None:
    text = PAGE.read_text("utf-8").partition("## How long things are kept")[2].partition("## ")[0]
    assert [row.strip() for row in ROW.findall(text)] == list(PRUNED)
    for tests in PRUNED.values():
        assert tests
        for test in tests:
            assert {"store", "make"} & inspect.signature(test).parameters.keys()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module that the page adds up to."""
    monkeypatch.chdir(tmp_path)
    module = type(sys)("page_privacy")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(PAGE.read_text("utf-8"))), str(PAGE), "exec"), module.__dict__)
    return module.__dict__


async def test_the_page(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    jobs: Offpath = page["jobs"]
    jobs.migrate()
    async with jobs, jobs.worker():
        await page["pay"]()
        assert capsys.readouterr().out == "receipt of 4242\n"
        await page["at_the_counter"]()
        assert capsys.readouterr().out == "receipt of 4242\n"
        charge = page["charge"].using(owner="ann")
        await (await charge.enqueue(card="4242 4242 4242 4242", amount=5)).result(timeout=60)
    rows = await page["data_request"]("ann")
    assert [row["args"] for row in rows if row["kind"] == "job"] == [{"card": "Secret(…)", "amount": 5}]
    await page["erasure_request"]("ann")
    said = capsys.readouterr().out
    assert repr(Erased({"job": 1})) in said
    assert said.splitlines()[-1] == "{'job': 1}"
    assert await page["data_request"]("ann") == []
    jobs.close()


async def test_a_direct_call_gets_secrets_at_any_depth() -> None:
    jobs = Offpath("sqlite:///x.db")

    @jobs.task
    async def pay(cards: list[Secret[str]], pin: Secret[int] | None = None, *, name: str = "") -> str:
        return "".join(card.reveal() for card in cards) + str(pin and pin.reveal()) + name

    @jobs.batch(size=5)
    async def many(cards: list[Secret[str]]) -> list[str]:
        return [card.reveal() for card in cards]

    assert await pay(["a", Secret.of("b")], 5, name="x") == "ab5x"
    assert await pay([]) == "None"
    assert await many(["a", "b"]) == ["a", "b"]
    with pytest.raises(Exception, match="value must be int") as caught:
        await pay([], "canary")  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


async def test_drained_in_the_page_nothing_is_left(page: dict[str, Any]) -> None:
    jobs: Offpath = page["jobs"]
    jobs.migrate()
    await page["charge"].using(owner="ann", delay=3600).enqueue(card="4242", amount=1)
    await page["erasure_request"]("ann")  # what waits goes at once
    assert await drain(jobs) == {}
    jobs.close()
