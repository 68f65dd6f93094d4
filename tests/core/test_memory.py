"""Amounts of memory, as people write them."""

import pytest

from offpath.core.memory import LEAST, MOST, in_words, memory
from offpath.errors import ConfigurationError


@pytest.mark.parametrize(
    ("said", "size"),
    [
        (LEAST, LEAST),
        (MOST, MOST),
        ("512MiB", 512 << 20),
        (" 1.5 gib ", 3 << 29),
        ("64MB", 64_000_000),
        ("2tb", 2 * 10**12),
        (str(1 << 30), 1 << 30),
        ("1048576KiB", 1 << 30),
    ],
)
def test_what_is_understood(said: int | str, size: int) -> None:
    assert memory(said, "memory") == size


@pytest.mark.parametrize(
    "said", [LEAST - 1, MOST + 1, 0, -1, True, None, 1e9, "", "MiB", "1 MB MB", "1e9", "٣GB", "12 parsecs"]
)
def test_what_is_not(said: object) -> None:
    with pytest.raises(ConfigurationError, match="memory must be"):
        memory(said, "memory")


@pytest.mark.parametrize(
    ("size", "said"), [(1, "1 B"), (1023, "1023 B"), (32 << 20, "32 MiB"), (3 << 29, "1.5 GiB"), (MOST, "1024 TiB")]
)
def test_in_words(size: int, said: str) -> None:
    assert in_words(size) == said
