from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .kit import App


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Applications with settings of their own, all on one file."""
    made: list[App] = []

    def one(*args: Any, **settings: Any) -> App:
        app = App(tmp_path / "jobs.db", *args, **settings)
        app.store.open()
        made.append(app)
        return app

    yield one
    for app in made:
        app.close()


@pytest.fixture
def app(make: Callable[..., App]) -> App:
    return make()
