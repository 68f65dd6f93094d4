"""What the tests bring along from npm is pinned, by hash and without an address."""

import json
from pathlib import Path

from tests.npm import HERE


def test_every_package_is_pinned_by_hash_and_names_no_registry() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text("utf-8"))["packages"]
    bought = {name: about for name, about in packages.items() if name}
    assert bought
    assert [name for name, about in bought.items() if not about.get("integrity")] == []
    assert [name for name, about in bought.items() if "resolved" in about] == []


def test_what_was_installed_is_what_the_lock_says(node_modules: Path) -> None:
    lock = json.loads((HERE / "package-lock.json").read_text("utf-8"))["packages"]
    for name in ("standardwebhooks", "@redocly/cli", "typescript"):
        about = json.loads((node_modules / name / "package.json").read_text("utf-8"))
        assert about["version"] == lock[f"node_modules/{name}"]["version"]
