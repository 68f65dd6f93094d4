"""offpath.js under Node.js: its decoder at every split point, its decisions, its requests (offpath.test.mjs)."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "src" / "offpath" / "client" / "offpath.js"


@pytest.mark.servers("node")
def test_sse_02_pol_09_idk_09_opr_14_the_module_under_node(conformance: Path, tmp_path: Path) -> None:
    module = tmp_path / "offpath.mjs"  # in a package of its own it would be one by its package.json
    shutil.copy(MODULE, module)
    env = os.environ | {"OFFPATH_JS": str(module), "SSE_VECTORS": str(conformance / "sse" / "vectors.json")}
    command = ["node", "--test", "--test-reporter=tap", str(HERE / "offpath.test.mjs")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# fail 0" in done.stdout
    assert "# pass 11" in done.stdout


def test_the_module_is_one_file_without_imports() -> None:
    text = MODULE.read_text()
    lines = text.splitlines()
    assert not [line for line in lines if line.startswith("import ")]
    assert "http://" not in text.replace("https://", "")
    assert max(map(len, lines)) <= 120
