"""Programs that a distribution ships: the machine's own, or installed by whoever asks first, where that is allowed."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from servers.postgres import Unavailable

PATIENCE = 900  # s, for apt-get
PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))

Which = Callable[[str], str | None]


def which(name: str) -> str | None:
    return shutil.which(name, path=PLACES)


@cache
def program(package: str, *names: str) -> Path | Unavailable:
    """One of these programs: the machine's own, else that of Debian's package, installed now if we may."""
    try:
        return find(names) or install(package, names)
    except Unavailable as e:
        return e


def find(names: Sequence[str], which: Which = which) -> Path | None:
    return next((Path(path) for name in names if (path := which(name))), None)


def install(package: str, names: Sequence[str]) -> Path:
    """apt-get install, once: processes of one run take turns, and whoever comes later finds it there."""
    if os.geteuid() != 0:
        raise Unavailable(f"none of {', '.join(names)} in PATH, and only root may install one")
    if not Path("/etc/debian_version").exists() or shutil.which("apt-get") is None:
        raise Unavailable(f"none of {', '.join(names)} in PATH, and this is no Debian to install one from")
    with open(Path(tempfile.gettempdir(), "offpath-apt.lock"), "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if found := find(names):
            return found
        said = _apt("install", "-y", "--no-install-recommends", package)
        if said:  # no lists of packages yet, or old ones
            said = _apt("update") or _apt("install", "-y", "--no-install-recommends", package)
        if found := find(names):
            return found
    raise Unavailable(f"apt-get install {package} failed: {said or 'it brought no program of that name'}")


def _apt(*words: str) -> str:
    """ "" when it went well, else the last thing it said."""
    command: Sequence[str] = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *words)
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    if done.returncode == 0:
        return ""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
