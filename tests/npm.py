"""Other people's clients and linters that are written in JavaScript: `tests/node/package-lock.json` pins them by hash.

They are installed beside it when the first test asks, once for all processes of a run, and again when the lock changes.
"""

import fcntl
import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.servers import Unavailable

HERE = Path(__file__).parent / "node"
OLDEST = 20  # the oldest version of Node.js that all of them run on


@cache
def node_modules() -> Path | Unavailable:
    """The folder `node_modules`, filled; or why it cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return Unavailable("no node and npm here")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if int(version.lstrip("v").partition(".")[0] or 0) < OLDEST:
        return Unavailable(f"node {version} is older than {OLDEST}")
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    folder = HERE / "node_modules"
    stamp = folder / ".offpath-lock"
    with (HERE / ".installing").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            words = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)
            if done.returncode:
                return Unavailable(f"npm ci failed: {' '.join(done.stderr.split())[-300:]}")
            stamp.write_text(wanted)
    return folder
