"""`kind`: each broker in turn; `broker_url`: where it is."""

from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath

from .kit import KINDS, OPTIONS

Make = Callable[..., Offpath]


def only(*kinds: str, never: Container[str] = ()) -> Any:
    """The test is quick on these only: the others have their turn in the soak, but for those that it is not about."""
    marks: dict[str, Any] = {kind: () if kind in kinds else pytest.mark.soak for kind in KINDS if kind not in never}
    return pytest.mark.parametrize(
        "kind", [pytest.param(kind, marks=mark) for kind, mark in marks.items()], indirect=True
    )


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker_url(kind: str, request: pytest.FixtureRequest) -> str:
    url = request.getfixturevalue(f"{kind}_url")
    return f"{url}{'&' if '?' in url else '?'}{OPTIONS[kind]}"


@pytest.fixture
def topic(kind: str, request: pytest.FixtureRequest, unique: str) -> str:
    """One that nobody else uses."""
    return unique


@pytest.fixture
def make(tmp_path: Path, broker_url: str, topic: str) -> Iterator[Make]:
    """An application of the name `group`, on a database of its own."""
    made: list[Offpath] = []

    def make(group: str = "shop", **settings: Any) -> Offpath:
        url = settings.pop("url", f"sqlite:///{tmp_path}/{group}.db")
        jobs = Offpath(url, broker=broker_url, topic=topic, group=group, poll=0.05, **settings)
        made.append(jobs)
        return jobs

    yield make
    for jobs in made:
        jobs.close()
