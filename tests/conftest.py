"""The plumbing of the whole suite: its options, its markers, and how a missing server is counted. No test data here.

A test that needs something a machine may not have says so, with `@pytest.mark.servers("postgres")` or through a fixture
that calls `missing()`. Without that server the test is skipped, the last lines of the run count what was skipped for
want of which server, and under `--require-servers NAME` (or `all`) the same lack is a failure.
"""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from servers.kafka import Kafka
from servers.redis import Redis
from servers.server import Server as AnyServer
from servers.sqs import Sqs
from tests import brokers, chromium, matrix, npm, problems, requirements, servers

if TYPE_CHECKING:
    from playwright.async_api import Browser

PREFIX = "missing server: "
AServer = TypeVar("AServer", bound=AnyServer)


def lack(server: Callable[[], servers.Server | brokers.Broker | servers.Unavailable]) -> str | None:
    """Starts the server, unless it runs."""
    found = server()
    return str(found) if isinstance(found, servers.Unavailable) else None


SERVERS: dict[str, Callable[[], str | None]] = {
    "postgres": lambda: lack(servers.postgres),
    "postgres15": lambda: lack(servers.postgres15),
    "redis": lambda: lack(brokers.redis),
    "redis7": lambda: lack(brokers.redis7),
    "rabbitmq": lambda: lack(brokers.rabbitmq),
    "kafka": lambda: lack(brokers.kafka),
    "sqs": lambda: lack(brokers.sqs),
    "npm": lambda: str(found) if isinstance(found := npm.node_modules(), servers.Unavailable) else None,
    "chromium": lambda: str(found) if isinstance(found := chromium.chromium(), servers.Unavailable) else None,
    "hosts": lambda: str(found) if isinstance(found := servers.network(), servers.Unavailable) else None,
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
    group.addoption(
        "--matrix", action="store_true", help="write docs/reference/broker-matrix.md from what this run says"
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


SLOW_TO_COME = {
    "browser",
    "node_modules",
    "pooled_url",
    "redis7_url",
    "redis7_server",
    "rabbitmq_url",
    "rabbitmq_server",
}
"""Fixtures that a fresh machine fetches first, once; whoever asks meanwhile waits with them."""
SLOW_SERVERS = {"redis7", "rabbitmq"}
"""The same by the mark."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        named = {name for mark in item.iter_markers("servers") for name in mark.args}
        if named & SLOW_SERVERS or SLOW_TO_COME.intersection(getattr(item, "fixturenames", ())):
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
    cells = [
        matrix.Cell(*value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", ())
        if name == matrix.PROPERTY and report.when == "call"
    ]
    if cells:
        for line in (*matrix.table(cells), matrix.total(cells)):
            terminalreporter.write_line(line)
        if config.getoption("--matrix"):
            matrix.PAGE.write_text(matrix.page(cells), "utf-8")
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
    with _postgres(request).database() as url:
        yield url


@pytest.fixture
def tables_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of another, with offpath's tables in its schema `public` and nothing in them: most want that."""
    with _postgres(request).database(servers.with_tables) as url:
        yield url


def _postgres(request: pytest.FixtureRequest) -> servers.Server:
    server = servers.postgres()
    if isinstance(server, servers.Unavailable):
        missing(request.config, "postgres", str(server))
    return server


def _lent(request: pytest.FixtureRequest, name: str, find: Callable[[], brokers.Broker | servers.Unavailable]) -> str:
    found = find()
    if isinstance(found, servers.Unavailable):
        missing(request.config, name, str(found))
    return found.url


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """A Valkey that the whole run shares: a test's streams and keys have names of its own (`unique`)."""
    return _lent(request, "redis", brokers.redis)


@pytest.fixture(scope="session")
def redis7_url(request: pytest.FixtureRequest) -> str:
    """The same on Redis 7."""
    return _lent(request, "redis7", brokers.redis7)


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """A RabbitMQ that the whole run shares."""
    return _lent(request, "rabbitmq", brokers.rabbitmq)


@pytest.fixture(scope="session")
def kafka_url(request: pytest.FixtureRequest) -> str:
    """Kafka, mostly librdkafka's mock of it, that the whole run shares."""
    return _lent(request, "kafka", brokers.kafka)


@pytest.fixture(scope="session")
def sqs_url(request: pytest.FixtureRequest) -> str:
    """moto's SQS, that the whole run shares."""
    return _lent(request, "sqs", brokers.sqs)


@pytest.fixture
def unique() -> str:
    """A name that nothing on a shared server has: lower case letters, digits and hyphens."""
    return f"t-{secrets.token_hex(6)}"


@pytest.fixture
def redis_server(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """This test's own Valkey, to stop, kill and start again; what was written to it is still there then."""
    yield from _own(request, "redis", Redis)


@pytest.fixture
def redis7_server(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """The same with Redis 7."""
    yield from _own(request, "redis7", Redis)


@pytest.fixture
def kafka_server(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    """This test's own mock of Kafka: `down` and `up` are its restart."""
    yield from _own(request, "kafka", Kafka)


@pytest.fixture
def sqs_server(request: pytest.FixtureRequest) -> Iterator[Sqs]:
    """This test's own moto: killed and started again it is empty. It takes a second: `sqs_url` behind a
    `servers.proxy.Proxy` does for most."""
    yield from _own(request, "sqs", Sqs)


@pytest.fixture
def rabbitmq_server(request: pytest.FixtureRequest) -> Iterator[brokers.Broker]:
    """A RabbitMQ to `stop`, `kill` and `start` again, this test's alone while it has it; what others have left in it is
    still there."""
    found = brokers.rabbitmq_to_break()
    if isinstance(found, servers.Unavailable):
        missing(request.config, "rabbitmq", str(found))
    with found.alone():
        yield found


def _own(request: pytest.FixtureRequest, name: str, kind: type[AServer]) -> Iterator[AServer]:
    try:
        programs = brokers.programs(name)
    except servers.Unavailable as e:
        missing(request.config, name, str(e))
    with kind.scratch(*programs) as server:
        yield server


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
