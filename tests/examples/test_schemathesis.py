"""Contract fuzzing from outside: schemathesis over the reference application, all phases. Zero 5xx."""

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio.to_thread
import pytest

from .conftest import World, running

CONFIG = Path(__file__).with_name("schemathesis.toml")
PROGRAM = Path(sys.executable).with_name("schemathesis")


async def fuzz(world: World, folder: Path, seed: int, examples: int, walks: int, steps: int, seconds: int) -> str:
    """What it said; an AssertionError with all of that when it found anything."""
    config = folder / "schemathesis.toml"
    text = CONFIG.read_text("utf-8")
    config.write_text(f"{text}\n[phases.stateful]\nmax-steps = {steps}\ngeneration = {{ max-examples = {walks} }}\n")
    words = [str(PROGRAM), "--no-color", "--config-file", str(config), "run", f"{world.base_url}/openapi.json"]
    words += ["--seed", str(seed), "--max-examples", str(examples), "--phases", "examples,coverage,fuzzing,stateful"]
    words += ["--suppress-health-check", "all"]

    def run() -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )

    done = await anyio.to_thread.run_sync(run)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def stop_all(world: World) -> None:
    """Whatever still runs is asked to stop, so that the worker need not be waited for."""
    while items := (await world.call("GET", "/operations?status=queued,running&limit=100", user="admin")).json()[
        "items"
    ]:
        for item in items:
            assert (await world.call("POST", item["links"]["cancel"], user="admin")).status_code in (200, 202)


async def test_doc_01_mistake_15_schemathesis_finds_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        try:
            said = await fuzz(world, tmp_path, seed=1, examples=5, walks=10, steps=15, seconds=270)
        finally:
            await stop_all(world)
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in said.replace("✅  ", "✅ "), said
    assert int(re.findall(r"API Links: +(\d+) covered", said)[0]) >= 3, "the links from a 202 were followed"


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)
async def test_schemathesis_for_longer(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, database=database) as world:
        for seed in (2, 3, 4):
            try:
                await fuzz(world, tmp_path, seed=seed, examples=100, walks=100, steps=12, seconds=450)
            finally:
                await stop_all(world)
