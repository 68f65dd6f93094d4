"""Clients that generators make from the reference application's OpenAPI document are whole, type-check and run."""

import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from examples.accounts.app import api

from .conftest import running

HERE = Path(__file__).parent


async def run(*words: object, cwd: Path) -> str:
    done = await anyio.run_process([str(word) for word in words], cwd=cwd, check=False)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    return said


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[str]:
    (tmp_path / "openapi.json").write_text(json.dumps(api.openapi()))
    async with running(tmp_path) as world:
        yield world.base_url


async def test_doc_02_03_a_python_client_is_generated_type_checked_and_run(served: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("post_hooks: []\npackage_name_override: accounts_client\n")
    generator = Path(sys.executable).with_name("openapi-python-client")
    words = ["generate", "--path", "openapi.json", "--meta", "none", "--output-path", "accounts_client"]
    said = await run(generator, *words, "--config", "config.yaml", cwd=tmp_path)
    assert "WARNING" not in said, said
    script = shutil.copy(HERE / "generated_client.py", tmp_path)
    await run(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", script, cwd=tmp_path)
    assert "/file" in await run(sys.executable, script, served, cwd=tmp_path)


async def test_doc_02_03_a_typescript_client_is_generated_type_checked_and_run(
    served: str, tmp_path: Path, node_modules: Path
) -> None:
    tools = node_modules / ".bin"
    # Without the flag it holds every member with a default to be required, in requests too.
    await run(
        tools / "openapi-typescript",
        "openapi.json",
        "--default-non-nullable=false",
        "-o",
        "accounts.d.ts",
        cwd=tmp_path,
    )
    script = shutil.copy(HERE / "generated_client.ts", tmp_path)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "process.d.ts").write_text("declare const process: { argv: string[]; exitCode: number };\n")
    words = [
        "--strict",
        "--target",
        "es2022",
        "--module",
        "es2022",
        "--moduleResolution",
        "bundler",
        "--lib",
        "es2022,dom",
    ]
    await run(tools / "tsc", *words, "--skipLibCheck", "false", "process.d.ts", script, cwd=tmp_path)
    made = Path(script).with_suffix(".js")
    await run("node", made.rename(made.with_suffix(".mjs")), served, cwd=tmp_path)
