"""pytest's plugin of offpath: fixtures for your tests, and the name of the point at which a crash test failed.

It lies outside of the package on purpose: pytest imports it in every run, and it imports offpath only for a test that
asks for one of these fixtures.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from offpath import Offpath
    from offpath.testing import MovedClock


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("offpath_app", "where your jobs are, as module:attribute", default="")


@pytest.fixture
def offpath_app(request: pytest.FixtureRequest) -> Offpath:
    """Your application's `Offpath`: what `offpath_app = module:attribute` in pytest's configuration names. Or write a
    fixture of this name yourself."""
    from offpath import Offpath

    target: str = request.config.getini("offpath_app")
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise pytest.UsageError(
            "offpath's fixtures need your application: write `offpath_app = module:attribute` in pytest's "
            f"configuration, or a fixture offpath_app that returns it (there is {target!r})"
        )
    found: object = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Offpath):
        raise pytest.UsageError(f"offpath_app = {target}: that is {found!r}, not an Offpath")
    return found


@pytest.fixture
def offpath_jobs(offpath_app: Offpath, tmp_path: Any) -> Iterator[Offpath]:
    """Your application's jobs, in an empty database of this test's own (`offpath.testing.isolated`)."""
    from offpath.testing import isolated

    with isolated(offpath_app, tmp_path) as jobs:
        yield jobs


@pytest.fixture
def offpath_clock(offpath_jobs: Offpath) -> Iterator[MovedClock]:
    """Their clock, to be moved (`offpath.testing.moved_clock`)."""
    from offpath.testing import moved_clock

    with moved_clock(offpath_jobs) as clock:
        yield clock


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """A test that failed inside of `crash_everywhere` says where the worker had died."""
    outcome = yield
    crash = sys.modules.get("offpath.testing.crash")
    if crash is not None and call.when == "call" and (told := crash.interrupted()) and call.excinfo is not None:
        outcome.get_result().sections.append(("offpath", "\n".join(told)))
