# ruff: noqa: E402, F403
"""All of it under one roof: see `offpath.testing.stores`."""

import pytest

PARTS = (
    *("enqueue", "claim", "keys", "settle", "cancel", "lease", "upkeep", "operations", "schema", "races", "machine"),
    *("doctor", "remembered", "guards", "webhooks", "deliveries", "queues", "bulk", "rules", "memory", "schedules"),
    *(
        "limits",
        "turns",
        "flows",
        "flowmachine",
        "outbox",
        "inbox",
        "attempts",
        "alerts",
        "recent",
        "stats",
        "audit",
        "owners",
    ),
)

pytest.register_assert_rewrite(*(f"offpath.testing.stores.{name}" for name in ("kit", "model", "flowmodel", *PARTS)))

from . import fixtures, schema
from .alerts import *
from .attempts import *
from .audit import *
from .bulk import *
from .cancel import *
from .claim import *
from .deliveries import *
from .doctor import *
from .enqueue import *
from .fixtures import *
from .flowmachine import *
from .flows import *
from .guards import *
from .inbox import *
from .keys import *
from .lease import *
from .limits import *
from .machine import *
from .memory import *
from .operations import *
from .outbox import *
from .owners import *
from .queues import *
from .races import *
from .recent import *
from .remembered import *
from .rules import *
from .schedules import *
from .schema import *
from .settle import *
from .stats import *
from .turns import *
from .upkeep import *
from .webhooks import *

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    *(name for name in globals() if name.startswith("test_")),
    *fixtures.__all__,
    schema.empty.__name__,
]
