"""Fixtures of the tests of the dashboard: see place.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.place import Board, Maker


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    made: list[Board] = []

    def board(**options: object) -> Board:
        made.append(Board(tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield board
    for one in made:
        one.jobs.close()


@pytest.fixture
def board(make: Maker) -> Board:
    return make()
