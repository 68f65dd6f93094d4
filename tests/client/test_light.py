"""What `pip install "offpath[client]"` brings is all that the client needs."""

import subprocess
import sys

import pytest

from tests.client.wire import ACCEPTED, DONE, scripted

pytestmark = pytest.mark.anyio

BARE = """
import sys
import importlib.abc
import importlib.util


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(name=name)


hidden = {missing}
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in hidden else real(name, package)
sys.meta_path.insert(0, Missing())
"""
USE = """
from dataclasses import dataclass
from offpath.client import Client
from offpath.errors import MissingExtraError

@dataclass
class Report:
    n: int

with Client(sys.argv[1], headers={"Authorization": "alice"}) as client:
    started = client.start("POST", "/reports", json={"title": "May"}, result=dict)
    print(started.result(timeout=60)["n"])
    try:
        client.operation("7", result=Report)
    except MissingExtraError as error:
        print(error.extra)
roots = {name.partition(".")[0] for name in sys.modules}
print(sorted(roots & {"pydantic", "starlette", "fastapi", "sqlalchemy", "uvicorn"}))
"""


def run(missing: set[str], use: str, *arguments: str) -> list[str]:
    code = BARE.replace("{missing}", repr(missing)) + use
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=200, check=False
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()[-1:]]


async def test_the_client_alone_needs_httpx2_and_nothing_else() -> None:
    from anyio.to_thread import run_sync

    async with scripted([ACCEPTED], [DONE]) as wire:
        said = await run_sync(run, {"pydantic", "starlette", "fastapi", "sqlalchemy", "httpx"}, USE, wire.url)
    assert said == ["1", "http", "[]"]


def test_without_httpx2_it_says_what_to_install() -> None:
    [line] = run({"httpx2"}, "import offpath.client")
    assert line.endswith('offpath.client needs an optional dependency: pip install "offpath[client]"')
