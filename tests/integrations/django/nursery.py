"""Python processes that have imported Django and offpath already: forked from one that did nothing else.

To start an interpreter and import it all takes most of a second; these tests want some three hundred of them. A fork is
as good: nothing was set up before it, and what the test's project is, it learns from its own folder, environment and
words. Whoever needs an interpreter of his own (signals, processes of a process) starts one.

`python -m tests.integrations.django.nursery` reads orders, JSON in lines, and answers each with the process's id and,
at its end, its exit code.
"""

import atexit
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
IMPORTED = (
    "django.core.management", "django.db.models", "django.db.backends.sqlite3.base",
    "django.db.backends.postgresql.base", "django_tasks", "offpath.integrations.django", "offpath.stores.sqlite",
    "offpath.stores.postgres.store", "offpath.engine.worker", "offpath.cli", "offpath.codec.typed",
    "offpath.transports.local", "offpath.transports.notify", "offpath.integrations.django.backend",
    "django.views.debug", "django.template.defaulttags", "django.template.loader_tags", "pydantic.json_schema",
)  # fmt: skip


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(words: list[str], cwd: Path, environment: dict[str, str], scratch: Path, timeout: float) -> Ended:
    """As `subprocess.run([sys.executable, *words], …)`; the words are a file and its own, or `-c` and a program."""
    out, err = scratch / "stdout", scratch / "stderr"
    order = {"words": words, "cwd": str(cwd), "environment": environment, "out": str(out), "err": str(err)}
    nursery = _nursery()
    assert nursery.stdin is not None
    nursery.stdin.write(json.dumps(order).encode() + b"\n")
    nursery.stdin.flush()
    pid = int(_line(nursery, 60))
    try:
        code = int(_line(nursery, timeout))
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        _line(nursery, 60)
        raise
    return Ended(code, out.read_text(), err.read_text())


@cache
def _nursery() -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OFFPATH_", "DJANGO_"))}
    made = subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        env=environment | {"PYTHONWARNINGS": "error"},
    )  # fmt: skip
    atexit.register(_end, made)
    return made


def _end(nursery: "subprocess.Popen[bytes]") -> None:
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.close()
    nursery.wait()
    nursery.stdout.close()


def _line(nursery: "subprocess.Popen[bytes]", timeout: float) -> bytes:
    assert nursery.stdout is not None
    ready, _, _ = select.select([nursery.stdout], [], [], timeout)
    if not ready:
        raise TimeoutError(f"not within {timeout:g} s")
    line = nursery.stdout.readline()
    assert line, "the nursery has died"
    return line


# ── the nursery itself ───────────────────────────────────────────────────────────────────────────────────────────────


def serve() -> dict[str, Any] | None:
    """Fork for each order; what a fork returns is its order."""
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            return dict(json.loads(line))
        os.write(1, b"%d\n" % pid)
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return None


def become(order: dict[str, Any]) -> None:
    """The interpreter that was asked for; it ends as any other does."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    for number, path, how in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, order["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(path, how, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    first, *rest = order["words"]
    if first == "-c":
        program, *rest = rest
        sys.argv, sys.path[0] = ["-c", *rest], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[0] = [first, *rest], os.path.dirname(first)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    for name in IMPORTED:
        __import__(name)
    if order := serve():
        become(order)
