"""The signals are a contract: every one that is given is in the table, with these fields and no others."""

import ast
import logging
import re
from pathlib import Path

import pytest

import offpath
from offpath import observe
from offpath.observe import SIGNALS, signal

PACKAGE = Path(offpath.__file__).parent


def given() -> list[tuple[str, str, set[str], bool]]:
    """(where, name, fields, whether some are spread) of every call of signal() in the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "signal"
                and node.args
            ):
                names = {k.arg for k in node.keywords if k.arg is not None} - {"exc_info"}
                spread = any(k.arg is None for k in node.keywords)
                where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                first = node.args[0]
                literals = [
                    n.value for n in ast.walk(first) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
                found += [(where, name, names, spread) for name in literals]
    return found


def test_the_table_is_well_formed() -> None:
    for name, sign in SIGNALS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", name), name
        assert sign.level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
        assert len(set(sign.fields)) == len(sign.fields)
        assert sign.when


@pytest.mark.parametrize("call", given(), ids=lambda call: f"{call[1]}@{call[0]}")
def test_what_is_given_is_in_the_table(call: tuple[str, str, set[str], bool]) -> None:
    where, name, fields, spread = call
    assert name in SIGNALS, f"{where} gives {name!r}, which is not in the table"
    assert fields <= set(SIGNALS[name].fields), where
    assert spread or fields == set(SIGNALS[name].fields), where


def test_what_is_in_the_table_is_given() -> None:
    assert set(SIGNALS) - {name for _, name, _, _ in given()} == set()


def test_a_signal_is_one_line_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "offpath")
    signal("transport.failed", transport="local", error="no\nroom \x1b[31m")
    (record,) = caplog.records
    assert record.name == "offpath.transport"
    assert record.levelno == logging.WARNING
    assert record.offpath == {"signal": "transport.failed", "transport": "local", "error": "no\nroom \x1b[31m"}  # type: ignore[attr-defined]
    assert record.getMessage() == r"transport.failed transport=local error='no\nroom \x1b[31m'"


def test_a_signal_that_nobody_hears_costs_nothing_and_an_unknown_one_is_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "offpath")
    signal("attempt.started", job="1", task="t", queue="q", attempt=1)
    assert not caplog.records
    assert observe.heard("attempt.exhausted")
    assert not observe.heard("attempt.started")
    with pytest.raises(KeyError):
        signal("worker.danced")


def test_the_library_is_silent_by_default() -> None:
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("offpath").handlers)
