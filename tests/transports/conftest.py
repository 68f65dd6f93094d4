"""What tests of every transport look at and turn."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from offpath.transports import line
from tests.transports.ear import Ear


@pytest.fixture
def signals() -> Iterator[Ear]:
    """Hears what the transports say of themselves: each time (name, error or "")."""
    ear, logger = Ear(), logging.getLogger("offpath.transport")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields: dict[str, Any] = record.offpath  # type: ignore[attr-defined]
            ear((fields["signal"], str(fields.get("error", ""))))

    handler, level = Handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield ear
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "QUIET", 0.2)
    monkeypatch.setattr(line, "PATIENCE", 0.5)
