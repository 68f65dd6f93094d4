"""Arguments change while jobs with the old ones wait: upcasters, and workers that leave alone what they do not know."""

import logging

import pytest

from offpath.core.job import State
from offpath.engine.clock import clock
from offpath.engine.upkeep import Upkeep
from offpath.errors import ArgumentError, ConfigurationError

from .kit import App


@pytest.fixture
def next_version(app: App) -> App:
    """The same database, as the application of the next deploy sees it: no tasks yet."""
    return App(app.path)


async def test_an_old_job_runs_in_new_code_by_way_of_its_upcasters(app: App, next_version: App) -> None:
    @app.task(name="greet")
    async def greet_1(first: str, last: str) -> str:
        return f"{first} {last}"

    old = await greet_1.enqueue(first="Ada", last="Lovelace")

    @next_version.task(name="greet", version=3)
    async def greet(name: str, polite: bool) -> str:
        return f"{'Dear' if polite else 'Hi'} {name}"

    @greet.upcast(1)
    def joined(args: dict[str, str]) -> dict[str, str]:
        return {"name": f"{args['first']} {args['last']}"}

    @greet.upcast(2)
    def polite(args: dict[str, object]) -> dict[str, object]:
        return {**args, "polite": True}

    assert greet.versions() == [3, 2, 1]
    new = await greet.enqueue(name="Bob", polite=False)
    async with next_version.worker():
        assert await old.result(60) == "Dear Ada Lovelace"
        assert await new.result(60) == "Hi Bob"
    next_version.close()


async def test_a_version_that_is_not_known_waits_and_is_told_of(
    app: App, next_version: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="greet")
    async def greet_1(first: str) -> str:
        return first

    @next_version.task(name="greet", version=2)
    async def greet_2(name: str) -> str:
        return name

    new = await greet_2.enqueue(name="Bob")
    old = await greet_1.enqueue(first="Ada")
    caplog.set_level(logging.INFO, "offpath")
    async with app.worker():  # the old code, in the middle of a rolling deploy
        assert await old.result(60) == "Ada"
        await Upkeep(app.store, app.registry, clock(app.store), 5.0).unknown()
    assert "worker.unknown task=greet version=2 jobs=1" in [record.getMessage() for record in caplog.records]
    assert (await new.info()).state == "ready"
    async with next_version.worker():
        assert await new.result(60) == "Bob"
    next_version.close()


async def test_an_upcaster_that_fails_ends_its_job_and_spares_its_neighbours(app: App, next_version: App) -> None:
    @app.task(name="greet")
    async def greet_1(first: str) -> str:
        return first

    bad, good = await greet_1.enqueue(first=""), await greet_1.enqueue(first="Ada")

    @next_version.task(name="greet", version=2)
    async def greet(name: str) -> str:
        return name

    @greet.upcast(1)
    def renamed(args: dict[str, str]) -> dict[str, str]:
        if not args["first"]:
            raise ValueError("nobody")
        return {"name": args["first"]}

    async with next_version.worker():
        assert await good.result(60) == "Ada"
        row = await next_version.ended(bad)
    assert row.state is State.FAILED
    assert "cannot be brought from version 1 to 2" in row.error
    next_version.close()


def test_an_upcaster_is_from_a_version_before(app: App) -> None:
    @app.task(version=2)
    async def greet(name: str) -> str:
        return name

    for version in (0, 2, 3, "1", 1.0):
        with pytest.raises(ConfigurationError, match="is version 2: an upcaster is from a version before it"):
            greet.upcast(version)
    greet.upcast(1)(lambda args: args)
    with pytest.raises(ConfigurationError, match="has an upcaster from version 1 already"):
        greet.upcast(1)
    with pytest.raises(ArgumentError):
        greet.decode("{}", 1)
