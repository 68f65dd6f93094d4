"""mypy --strict and pyright see a wrong argument to `accept`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.typing.test_typing import mypy, pyright


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_wrong_arguments_are_refused_at_each_marked_line_and_nowhere_else(
    checker: Callable[[Path], dict[int, str]], tmp_path: Path
) -> None:
    path = tmp_path / "typed.py"
    path.write_text(Path(__file__).with_name("typed.py.txt").read_text())
    marked = {number for number, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("# refused")}
    assert len(marked) == 9
    found = checker(path)
    assert set(found) == marked, found
