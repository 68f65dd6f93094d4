"""The fixtures of the suite. One is missing, and it is yours: `databases`, see `offpath.testing.stores`. `migrated` may
be yours as well, where it is quicker to clear tables than to make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import pytest

from ...core.retention import Retention, Terms
from ...ports import Announce, Hint, Store
from .kit import Hand

__all__ = ["build", "examples", "hand", "heard", "hire", "make", "migrated", "store"]


class Build(Protocol):
    """A store object on one database, not opened yet."""

    def __call__(self, *, announce: Announce, retention: Retention | Terms = ...) -> Store: ...


Databases = Callable[[], AbstractContextManager[Build]]
"""Each call: an empty database, and how to make store objects on it; gone when the context ends."""


class Make(Protocol):
    """Another store object on the test's database, open, as another process would have."""

    def __call__(self, *, announce: Announce = ..., retention: Retention | Terms = ...) -> Store: ...


Hire = Callable[..., Hand]
"""A worker of the test's store, or of another one given as `on`; the arguments are those of `Hand`."""


@pytest.fixture
def migrated(databases: Databases) -> Databases:
    """The same, with the tables of this version and nothing in them."""
    return with_tables(databases)


def with_tables(databases: Databases) -> Databases:
    @contextmanager
    def ready() -> Iterator[Build]:
        with databases() as build:
            store = build(announce=lambda hints: None)
            store.migrate()
            store.close()
            yield build

    return ready


@pytest.fixture
def build(migrated: Databases) -> Iterator[Build]:
    """The test's database."""
    with migrated() as build:
        yield build


@pytest.fixture
def heard() -> list[Hint]:
    """Every hint that left, in order."""
    return []


@pytest.fixture
def make(build: Build, heard: list[Hint]) -> Iterator[Make]:
    made: list[Store] = []

    def hear(hints: Sequence[Hint]) -> None:
        heard.extend(hints)

    def make(*, announce: Announce = hear, **options: Any) -> Store:
        store = build(announce=announce, **options)
        store.open()
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make: Make) -> Store:
    return make()


@pytest.fixture
def hire(store: Store) -> Iterator[Hire]:
    hands: list[Hand] = []

    def hire(seconds: float = 60.0, *, on: Store | None = None, **given: Any) -> Hand:
        hand = Hand(on or store, seconds, **given)
        hands.append(hand)
        return hand

    yield hire
    for hand in hands:
        hand.close()


@pytest.fixture
def hand(hire: Hire) -> Hand:
    return hire()


@pytest.fixture
def examples() -> int:
    """How many histories the stateful test tries; each takes an empty database and about fifty steps."""
    return 100
