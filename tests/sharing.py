"""One server for all processes of a test run: started by whoever asks first, gone with the last of them.

Each process that uses a server holds a shared lock on one file. A guard, a process of its own, owns the server and
waits for that lock to be all its own: the kernel tells it, and nobody has to end in order. Should the guard itself be
killed, the server goes with it where `setpriv` can arrange that (Linux).

    python -m tests.sharing HOME MODULE WORD …     is a guard; it enters `MODULE.begin(HOME, WORD, …)`
"""

import contextlib
import fcntl
import importlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from servers.postgres import Unavailable

RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16)


def share(name: str, module: str, *words: str) -> dict[str, str]:
    """What the run's server of this name said when it was begun; `Unavailable`, the same for all, when it was not.

    module  has a context manager `begin(home, *words)`, which yields that answer; it is entered in the guard's process,
            and left when nobody uses the server any more
    """
    home = Path(tempfile.gettempdir(), f"offpath-{os.getuid()}-{RUN[:16]}-{name}")
    answer: dict[str, str] | None = None
    while answer is None:
        with contextlib.suppress(FileNotFoundError):  # the last user has gone, and the folder with it: once more
            answer = _join(home, module, words)
    if "error" in answer:
        raise Unavailable(answer["error"])
    return answer


def _join(home: Path, module: str, words: tuple[str, ...]) -> dict[str, str]:
    """Become a user of the server in `home`, for as long as this process lives; what its guard said."""
    with contextlib.suppress(FileExistsError):
        home.mkdir(mode=0o711)  # the server may run as somebody else
    if home.stat().st_uid != os.getuid():
        raise Unavailable(f"{home} is somebody else's")
    with open(home / "starting", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        users = os.open(home / "users", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        said = home / "said.json"
        if not os.path.samestat(os.fstat(users), os.stat(home / "users")):
            os.close(users)
            raise FileNotFoundError
        if not said.exists():
            said.touch(mode=0o600)
            said.write_text(_start(home, module, words))
        answer: dict[str, str] = json.loads(said.read_text())
    os.register_at_fork(after_in_child=lambda: os.close(users))  # a child that is left behind keeps no server
    return answer


def _start(home: Path, module: str, words: tuple[str, ...]) -> str:
    """The first line of a new guard: JSON of what it has, or of an `error`."""
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.sharing", str(home), module, *words],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the tests
        text=True,
    )
    assert guard.stdout is not None
    with guard.stdout:
        line = guard.stdout.readline()
    guard.returncode = 0  # it outlives us: nobody waits for it
    return line or json.dumps({"error": "the guard of the server died"})


# ── the guard ────────────────────────────────────────────────────────────────────────────────────────────────────────


def guard(home: Path, module: str, words: list[str]) -> None:
    """Start the server, say where it is, and stop it once nobody holds `users` any more."""
    with contextlib.ExitStack() as stack:
        try:
            say = stack.enter_context(importlib.import_module(module).begin(home, *words))
        except (Unavailable, OSError, subprocess.SubprocessError) as e:
            say = {"error": " ".join(str(e).split())}
        print(json.dumps(say), flush=True)
        users = stack.enter_context(open(home / "users"))
        fcntl.flock(users, fcntl.LOCK_EX)
        stack.pop_all().close()
        shutil.rmtree(home)


if __name__ == "__main__":
    guard(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
