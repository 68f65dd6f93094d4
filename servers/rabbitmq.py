"""A RabbitMQ of one's own: node name, data, ports, cookie and epmd apart from those of any other on the machine.

It takes some seconds to start, and about 150 MB. It runs as whoever starts it, root included.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .postgres import Unavailable
from .server import LOOK, PATIENCE, Process, Program, answers, end, free_port, tied

DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The server itself; what Debian has in PATH hands over to the account rabbitmq."""

PROTOCOL = b"AMQP\x00\x00\x09\x01"
START = b"\x01\x00\x00"  # a method's frame on channel 0: connection.start

CONFIG = """
listeners.tcp.local = 127.0.0.1:{port}
default_user = offpath
default_pass = {password}
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
loopback_users = none
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 50MB
"""


def installed() -> Path:
    """The program, as Debian and others install it."""
    if DEBIAN.is_file():
        return DEBIAN
    for folder in (None, "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"):
        if found := shutil.which("rabbitmq-server", path=folder):
            return Path(found)
    raise Unavailable("no rabbitmq-server here; Debian: apt-get install rabbitmq-server")


class RabbitMQ(Program):
    """Its one account may do everything in the vhost "/"."""

    name = "rabbitmq"

    def __init__(self, home: Path, program: Path | None = None, *, port: int | None = None) -> None:
        super().__init__(home, port=port)
        self._program = program or installed()
        self._password = secrets.token_hex(16)
        self._node = f"offpath-{secrets.token_hex(4)}@localhost"
        self._mapper_port, self._peer_port = free_port(), free_port()
        self._mapper: Process | None = None

    @property
    def url(self) -> str:
        return f"amqp://offpath:{self._password}@127.0.0.1:{self.port}/%2F"

    def start(self) -> None:
        self._start_mapper()
        super().start()

    def kill(self) -> None:
        super().kill()
        mapper, self._mapper = self._mapper, None
        if mapper is not None:
            end(mapper)

    def wipe(self) -> None:
        """The disk of one that does not run is lost."""
        shutil.rmtree(self.home / "data")

    def control(self, *words: str) -> None:
        """What `rabbitmqctl` does with these words. It takes a second or two."""
        program = self._program.with_name("rabbitmqctl")
        environment = {**os.environ, **self._command()[1], "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ""}
        command = [str(program), "-q", "-n", self._node, *words]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
        if done.returncode:
            raise Unavailable(f"rabbitmqctl: {(done.stderr or done.stdout).decode(errors='replace').strip()}")

    def _start_mapper(self) -> None:
        """epmd, which tells Erlang's nodes each other's ports. Left to itself it would stay behind as a daemon."""
        if self._mapper is not None and self._mapper.poll() is None:
            return
        epmd = _epmd()
        command = [str(epmd), "-address", "127.0.0.1", "-port", str(self._mapper_port)]
        self._mapper = tied(command, self.home / "epmd.log", {})
        deadline = time.monotonic() + PATIENCE
        while not _listens(self._mapper_port):
            if self._mapper.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("epmd, which RabbitMQ needs, did not start")
            time.sleep(LOOK)

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        config, plugins, cookie = self.home / "rabbitmq.conf", self.home / "plugins", self.home / ".erlang.cookie"
        if not config.exists():
            config.touch(mode=0o600)
            config.write_text(CONFIG.format(port=self.port, password=self._password))
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
            plugins.write_text("[].\n")
        return [str(self._program)], {
            "HOME": str(self.home),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_FLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._peer_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "logs"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.home / "generated"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.home / "feature_flags"),
            "RABBITMQ_ALLOW_INPUT": "true",  # the script becomes the server, and does not stay as its parent
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def _ready(self) -> bool:
        return answers(self.port, PROTOCOL, START)


def _epmd() -> Path:
    if found := shutil.which("epmd"):
        return Path(found)
    for path in sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd")):
        return path
    raise Unavailable("no epmd here, which RabbitMQ needs; Debian: apt-get install rabbitmq-server")


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False
