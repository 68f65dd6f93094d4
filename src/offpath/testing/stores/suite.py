# ruff: noqa: E402, F403
"""All of it under one roof: see `offpath.testing.stores`."""

import pytest

PARTS = (
    *("enqueue", "claim", "keys", "settle", "cancel", "lease", "upkeep", "operations", "schema", "races", "machine"),
    *("doctor", "remembered", "guards", "webhooks", "deliveries"),
)

pytest.register_assert_rewrite(*(f"offpath.testing.stores.{name}" for name in ("kit", "model", *PARTS)))

from . import fixtures, schema
from .cancel import *
from .claim import *
from .deliveries import *
from .doctor import *
from .enqueue import *
from .fixtures import *
from .guards import *
from .keys import *
from .lease import *
from .machine import *
from .operations import *
from .races import *
from .remembered import *
from .schema import *
from .settle import *
from .upkeep import *
from .webhooks import *

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    *(name for name in globals() if name.startswith("test_")),
    *fixtures.__all__,
    schema.empty.__name__,
]
