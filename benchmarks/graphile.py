"""How graphile-worker gets here: `npm install` into a cache folder, on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).with_name("graphile_peer.js")
NEW, OLD = "0.18.0", "0.17.3"
SINCE = (22, 18)  # the oldest Node that NEW supports


class Graphile(NamedTuple):
    command: tuple[str, ...]
    about: str


def graphile() -> Graphile | str:
    """How to run the peer, or why it cannot be had, in a few words. The peer finds its packages by NODE_PATH."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "no node or no npm here"
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    version = NEW if tuple(int(part) for part in said.lstrip("v").split(".")[:2]) >= SINCE else OLD
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offpath-bench" / f"graphile-{version}"
    if not (cache / "whole").exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "package.json").write_text('{"private": true}\n')
        install = [npm, "install", "--prefix", str(cache), "--no-audit", "--no-fund", f"graphile-worker@{version}"]
        if (done := subprocess.run(install, capture_output=True, text=True)).returncode:
            return f"npm install failed: {done.stderr.strip()[-300:]}"
        (cache / "whole").touch()
    os.environ["NODE_PATH"] = str(cache / "node_modules")
    return Graphile((node, str(SCRIPT)), f"graphile-worker {version} on Node {said.lstrip('v')}")
