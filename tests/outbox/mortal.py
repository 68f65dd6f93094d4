"""The application whose worker is stopped, by the signal OUTBOX_SIGNAL, once: when the broker has confirmed some events
and the database does not know it yet. `offpath --app tests.outbox.mortal:jobs worker`"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from offpath import Offpath
from offpath.brokers.redis.client import RedisBroker
from offpath.errors import BrokerRefused
from offpath.ports import Outgoing

NOTE = Path(os.environ["OUTBOX_NOTE"])
SIGNAL = int(os.environ["OUTBOX_SIGNAL"])

jobs = Offpath(
    os.environ["OUTBOX_DATABASE"],
    broker=os.environ["OUTBOX_BROKER"],
    topic=os.environ["OUTBOX_TOPIC"],
    source="/shop",
    lease=1,
    poll=0.1,
)

_publish = RedisBroker.publish


async def publish(self: RedisBroker, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
    said = await _publish(self, outgoing)
    if not NOTE.exists():
        NOTE.write_text(str(len(outgoing)))
        os.kill(os.getpid(), SIGNAL)
    return said


RedisBroker.publish = publish  # type: ignore[method-assign]
