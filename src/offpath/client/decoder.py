"""A strict decoder of event streams (WHATWG HTML section 9.2.6). Pure: bytes in pieces of any size in, messages out.

Only LF, CR and CRLF end a line (`str.splitlines` knows eight more), only ASCII digits are a `retry` (`int` takes more),
an id with NUL is ignored, an event without a `data` line is not dispatched, and what the end cuts off never was.
"""

from __future__ import annotations

from typing import NamedTuple

_BOM = "\ufeff"


class Message(NamedTuple):
    """One dispatched event. `type` is "message" where the stream named none; `id` is the last one seen so far."""

    type: str
    data: str
    id: str


class Decoder:
    """One connection's decoder. `last_id`: what to send as Last-Event-ID; `retry`: the pause asked for, ms, or None."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry: int | None = None
        self._rest = bytearray()
        self._first = True
        self._after_cr = False
        self._id = last_id
        self._type = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[Message]:
        """The messages that this piece completes."""
        if self._after_cr and piece:  # CR LF is one line end, also when a piece ends in between
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        if piece.endswith(b"\r"):
            self._after_cr = True
        *lines, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        messages: list[Message] = []
        for line in lines:
            self._rest += line
            message = self._line(self._rest.decode("utf-8", "replace"))  # ends of lines are ASCII: no character is cut
            self._rest.clear()
            if message is not None:
                messages.append(message)
        self._rest += rest
        return messages

    def _line(self, line: str) -> Message | None:
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")  # a comment has no name
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value.lstrip("0")[:10] or "0")  # int() refuses thousands of digits; ten are months
            case _:
                pass
        return None

    def _dispatch(self) -> Message | None:
        self.last_id = self._id
        message = Message(self._type or "message", "\n".join(self._data), self.last_id) if self._data else None
        self._type, self._data = "", []
        return message
