"""The interpreter's settings while an application serves: put on once, taken off by whoever is last."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offpath import Offpath
from offpath.app.interpreter import SERVING

SWITCH, COLLECT = 0.005, (700, 10, 10)


@pytest.fixture(autouse=True)
def as_python_has_it() -> Iterator[None]:
    before = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(*COLLECT)
    yield
    sys.setswitchinterval(before[0])
    gc.set_threshold(*before[1])


@pytest.fixture
def jobs(tmp_path: Path) -> Offpath:
    return Offpath(f"sqlite:///{tmp_path}/app.db")


def now() -> tuple[float, tuple[int, int, int]]:
    return round(sys.getswitchinterval(), 6), gc.get_threshold()


async def test_while_the_application_lives(jobs: Offpath) -> None:
    async with jobs.lifespan(object()):
        assert now() == (SERVING.switch, SERVING.collect)
        assert gc.get_freeze_count() > 1000
    assert now() == (SWITCH, COLLECT)
    assert gc.get_freeze_count() == 0


async def test_two_applications_in_one_process_and_the_first_ends_first(jobs: Offpath, tmp_path: Path) -> None:
    other = Offpath(f"sqlite:///{tmp_path}/other.db")
    one, two = jobs.lifespan(object()), other.lifespan(object())
    await one.__aenter__()
    await two.__aenter__()
    await one.__aexit__(None, None, None)
    assert now() == (SERVING.switch, SERVING.collect)
    await two.__aexit__(None, None, None)
    assert now() == (SWITCH, COLLECT)


async def test_what_the_application_has_chosen_stays(jobs: Offpath) -> None:
    sys.setswitchinterval(0.01)
    gc.set_threshold(5_000, 20, 20)
    async with jobs.lifespan(object()):
        assert now() == (0.01, (5_000, 20, 20))
        assert gc.get_freeze_count() == 0
    assert now() == (0.01, (5_000, 20, 20))


async def test_it_can_be_left_out(jobs: Offpath) -> None:
    async with jobs.lifespan(tune=False)(object()):
        assert now() == (SWITCH, COLLECT)
