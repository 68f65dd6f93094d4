"""The bytes that are signed and sent: `{"type", "timestamp", "data"}`. Pure.

Source: Standard Webhooks, "Payload structure" and "Payload size".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from ..errors import ConfigurationError
from ..http.operations import moment

LARGEST = 20_000  # bytes; "under 20kb" (Standard Webhooks, "Payload size")
_TYPE = re.compile(r"[a-zA-Z0-9_]+(?:\.[a-zA-Z0-9_]+)*")


def check_type(name: object) -> str:
    """An event type: letters, digits and underscores, in groups with dots between them."""
    if not isinstance(name, str) or len(name) > 128 or not _TYPE.fullmatch(name):
        raise ConfigurationError("an event type is at most 128 of a-z A-Z 0-9 _ with single dots between")
    return name


def payload(event_type: str, timestamp: int, data_json: str, thin: Callable[[], str] | None = None) -> bytes:
    """One event's body.

    timestamp  when it happened, µs since 1970 (not when it is sent: that is webhook-timestamp)
    data_json  the data as JSON text; it goes in as it is
    thin       makes a shorter data_json, asked for when the body would pass 20 kB
    """
    head = f'{{"type":{json.dumps(check_type(event_type))},"timestamp":"{moment(timestamp)}","data":'
    body = f"{head}{data_json}}}".encode()
    return body if thin is None or len(body) <= LARGEST else f"{head}{thin()}}}".encode()
