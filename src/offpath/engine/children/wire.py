"""Frames between a worker and its child: four bytes of length, then that much JSON.

worker → child   boot (once), run, written (a line of progress), leave
child → worker   ready or unready (once), log, progress, end
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

LENGTH = 4
MOST = 1 << 28  # bytes; more than that is no frame of ours

Message = dict[str, Any]


class Garbled(Exception):
    """What has arrived is no frame."""


def frame(message: Mapping[str, Any]) -> bytes:
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(LENGTH, "big") + body


class Frames:
    """What has arrived, cut into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Give every message that is whole by now. Garbled when it is none."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= LENGTH:
            end = LENGTH + int.from_bytes(buffer[:LENGTH], "big")
            if end > MOST:
                raise Garbled(f"a frame of {end} bytes")
            if len(buffer) < end:
                return
            body = bytes(buffer[LENGTH:end])
            del buffer[:end]
            try:
                message = json.loads(body)
            except ValueError as error:
                raise Garbled(str(error)) from None
            yield message
