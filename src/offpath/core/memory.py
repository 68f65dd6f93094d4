"""How much memory: `512MiB`, `2GB` or a number of bytes."""

from __future__ import annotations

import re

from ..errors import ConfigurationError
from .checks import shown

MIB = 1 << 20
LEAST = 32 * MIB  # a process with nothing but Python and offpath in it holds about 30 MiB
MOST = 1 << 50

_UNITS = "kmgt"
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,6})?)\s*(?:([kmgt])(i?)b|b)?\s*", re.ASCII | re.IGNORECASE)


def memory(value: object, what: str) -> int:
    """Bytes, from 32 MiB to 1 PiB. ConfigurationError for anything else.

    An int is bytes; text is a number with KB, MB, GB, TB (powers of 1,000) or KiB, MiB, GiB, TiB (of 1,024).
    """
    size = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str) and (said := _SIZE.fullmatch(value)):
        base = 1024 if said[3] else 1000
        size = round(float(said[1]) * base ** (_UNITS.index(said[2].lower()) + 1 if said[2] else 0))
    if size is None:
        raise ConfigurationError(f'{what} must be a number of bytes or a text like "512MiB", not {shown(value)}')
    if not LEAST <= size <= MOST:
        raise ConfigurationError(
            f"{what} must be from {in_words(LEAST)} (Python itself takes most of that) to {in_words(MOST)}, "
            f"not {shown(value)}"
        )
    return size


def in_words(size: float) -> str:
    """A number of bytes for people: "300 MiB"."""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = round(size / 1024, 1), larger
    return f"{size:g} {unit}"
