"""Hosts for a test or a measurement: network namespaces of this machine, each with an address of its own on one bridge.

They see each other and us, and nothing else: there is no route out. Linux, as root, with `ip` (Debian's iproute2). The
addresses are of 198.18.0.0/15, which RFC 2544 keeps for measurements. All of it goes with the block.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from .postgres import Unavailable

Process: TypeAlias = "subprocess.Popen[bytes]"


@dataclass(frozen=True)
class Host:
    """`name` is the namespace's, `address` its address, `cable` our end of its cable."""

    name: str
    address: str
    cable: str

    def popen(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None) -> "Process":
        """Start a program there, in silence; the process is the program's own."""
        words = ["ip", "netns", "exec", self.name, *command]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(words, env=env, cwd=cwd, stdin=quiet, stdout=quiet, stderr=quiet)

    def cut(self) -> None:
        """Pull the cable: nothing arrives, and nobody is told."""
        _ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        _ip("link", "set", self.cable, "up")


_MARKS = itertools.count(os.getpid(), 211)  # the kernel takes its time to remove a cable: no name comes twice


@contextlib.contextmanager
def hosts(count: int) -> Iterator[tuple[str, list[Host]]]:
    """(our own address, which they reach; `count` hosts). Unavailable, in one sentence, where none can be made."""
    if shutil.which("ip") is None:
        raise Unavailable("no `ip` here (Debian: apt-get install iproute2)")
    if os.geteuid() != 0:
        raise Unavailable("network namespaces are for root")
    mark = next(_MARKS) % 100_000
    net = f"198.{18 + mark // 256 % 2}.{mark % 256}"
    bridge = f"ofb{mark}"
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("address", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        made = []
        for n in range(count):
            host = Host(f"of{mark}-{n}", f"{net}.{n + 2}", f"ofc{mark}-{n}"[:15])
            _ip("netns", "add", host.name)
            stack.callback(_ip, "netns", "del", host.name)  # the cable goes with it
            _ip("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", host.cable, "master", bridge, "up")
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{host.address}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
            ):
                _ip("-n", host.name, *words)
            made.append(host)
        yield f"{net}.1", made


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"ip {' '.join(words)}: {done.stderr.strip()}")
