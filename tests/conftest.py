"""The plumbing of the whole suite: its options, its markers, and how a missing server is counted. No test data here.

A test that needs something a machine may not have says so, with `@pytest.mark.servers("postgres")` or through a fixture
that calls `missing()`. Without that server the test is skipped, the last lines of the run count what was skipped for
want of which server, and under `--require-servers NAME` (or `all`) the same lack is a failure.
"""

import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests import chromium, npm, problems, requirements, servers

if TYPE_CHECKING:
    from playwright.async_api import Browser

PREFIX = "missing server: "


def lack(server: Callable[[], servers.Server | servers.Unavailable]) -> str | None:
    """Starts the server, unless it runs."""
    found = server()
    return str(found) if isinstance(found, servers.Unavailable) else None


SERVERS: dict[str, Callable[[], str | None]] = {
    "postgres": lambda: lack(servers.postgres),
    "postgres15": lambda: lack(servers.postgres15),
    "npm": lambda: str(found) if isinstance(found := npm.node_modules(), servers.Unavailable) else None,
    "chromium": lambda: str(found) if isinstance(found := chromium.chromium(), servers.Unavailable) else None,
    "node": lambda: None if shutil.which("node") else "no node in PATH",
}
"""By the name a test asks for: a function that says why the server cannot be had, or None when it can."""

pytest.register_assert_rewrite("offpath.testing.stores")

# How long an example takes, to run or to make up, says nothing here but how busy the machine is.
settings.register_profile("offpath", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("offpath")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("offpath")
    group.addoption(
        "--require-servers",
        default="",
        metavar="all|NAME,…",
        help="fail, instead of skipping, when one of these servers is missing",
    )
    group.addoption("--soak", action="store_true", help="run the tests that take minutes too")
    group.addoption(
        "--conformance", action="store_true", help="write docs/reference/http-conformance.md from what this run says"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--conformance") and not hasattr(config, "workerinput"):  # under xdist: the controller
        config.pluginmanager.register(_Conformance(), "offpath-conformance")


class _Conformance:
    """`requirements.Recorder` as a plugin of pytest."""

    def __init__(self) -> None:
        self.recorder = requirements.Recorder()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.recorder.heard(report.nodeid, report.outcome, report.when)

    def pytest_sessionfinish(self) -> None:
        self.recorder.write()


SLOW_TO_COME = {"browser", "node_modules", "pooled_url"}
"""Fixtures that a fresh machine fetches first, once; whoever asks meanwhile waits with them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_TO_COME.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(420))
    if config.getoption("--soak"):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; --soak runs it"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("servers"):
        for name in mark.args:
            probe = SERVERS.get(name)
            if probe is None:
                pytest.fail(f"no server is called {name!r}; tests/conftest.py knows {sorted(SERVERS)}", pytrace=False)
            if reason := probe():
                missing(item.config, name, reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lacking: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _, found, rest = reason.partition(PREFIX)
        if found:
            lacking[rest.split(" ", 1)[0]] += 1
    if lacking:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(lacking.items()))
        terminalreporter.write_line(f"tests skipped for want of a server: {lacking.total()} ({counts})", yellow=True)
    else:
        terminalreporter.write_line("tests skipped for want of a server: 0")


def pytest_unconfigure() -> None:
    servers.close()


def missing(config: pytest.Config, name: str, reason: str) -> NoReturn:
    """This test needs `name`, which is not here: skip and count it, or fail it when the caller insisted."""
    required = {word.strip() for word in config.getoption("--require-servers").split(",")}
    if required & {"all", name}:
        pytest.fail(f"{PREFIX}{name} ({reason}), and --require-servers insists on it", pytrace=False)
    pytest.skip(f"{PREFIX}{name} ({reason})")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def every_refusal_is_a_problem() -> Iterator[None]:
    """RES-06: the test that saw an application answer 400 or above with anything but a problem fails, whatever it
    asked for itself."""
    problems.watch()
    yield
    problems.judge()


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, this test's own. Any connection left open is closed at its end."""
    server = servers.postgres()
    if isinstance(server, servers.Unavailable):
        missing(request.config, "postgres", str(server))
    with server.database() as url:
        yield url


@pytest.fixture(scope="session")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """The folder of other people's programs for Node.js (see `tests/npm.py`); a test that runs one is `servers("npm")`
    or asks for this."""
    found = npm.node_modules()
    if isinstance(found, servers.Unavailable):
        missing(request.config, "npm", str(found))
    return found


@pytest.fixture(scope="module")
async def browser(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator["Browser"]:
    """A headless Chromium with a profile of its own, for one module (see `tests/chromium.py`). A test that asks for it
    is async: it, the browser's driver and a server may share the loop."""
    found = chromium.chromium()
    if isinstance(found, servers.Unavailable):
        missing(request.config, "chromium", str(found))
    async with chromium.launched(found) as running:
        yield running


@pytest.fixture
def conformance(request: pytest.FixtureRequest) -> Path:
    """The folder of conformance vectors, which live beside the repository and are never copied into it."""
    told = os.environ.get("OFFPATH_CONFORMANCE")
    folder = Path(told) if told else request.config.rootpath.parent / "shared" / "conformance"
    if not folder.is_dir():
        missing(request.config, "conformance", "no ../shared/conformance, and OFFPATH_CONFORMANCE names no folder")
    return folder
