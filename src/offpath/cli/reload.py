"""`offpath worker --reload`: a child that is started again when the source changes. For development only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

LOOK = 0.5  # s
PATIENCE = 30.0  # s for a child to drain before it is told again

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


def run(arguments: Sequence[str], folder: str) -> int:
    """Run `offpath` with these arguments, less --reload, until we are told to stop; gives the last child's code.

    A child that ends by itself (a syntax error, say) is started again at the next change.
    """
    command = [sys.executable, "-m", "offpath", *(a for a in arguments if a != "--reload")]
    with _told_to_stop() as stop:
        while True:
            seen = snapshot(folder)
            # A process group of its own: Ctrl-C reaches only us, and the child is told once, not twice.
            child = subprocess.Popen(command, process_group=0)  # noqa: S603
            changed = _until_changed(folder, seen, stop)
            code = _end(child, stop)
            if changed is None:
                return code if code >= 0 else 1
            print(
                f"offpath: {os.path.relpath(changed)} changed, starting the worker again", file=sys.stderr, flush=True
            )


def snapshot(folder: str) -> dict[str, int]:
    """The .py files below a folder and when they were last written (ns); hidden and installed ones are left out."""
    found: dict[str, int] = {}
    for path, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _SKIPPED]
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        for name in files:
            if name.endswith(".py"):
                full = os.path.join(path, name)
                with contextlib.suppress(OSError):  # gone since it was listed
                    found[full] = os.stat(full).st_mtime_ns
    return found


def _until_changed(folder: str, seen: dict[str, int], stop: threading.Event) -> str | None:
    """The file that was changed, added or removed; None when we were told to stop."""
    while not stop.wait(LOOK):
        now = snapshot(folder)
        if now != seen:
            return min(name for name in now.keys() | seen.keys() if now.get(name) != seen.get(name))
    return None


def _end(child: subprocess.Popen[bytes], stop: threading.Event) -> int:
    """Let it drain; when we are told to stop a second time, or it takes too long, it is told again: at once."""
    stop.clear()
    for _ in range(2):
        if child.poll() is not None:
            break
        child.terminate()
        waited = 0.0
        while child.poll() is None and waited < PATIENCE and not stop.is_set():
            stop.wait(0.1)
            waited += 0.1
        stop.clear()
    try:
        return child.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    told = threading.Event()
    before = {number: signal.signal(number, lambda *_: told.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
