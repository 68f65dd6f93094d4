"""A small decoder of event streams, written from WHATWG HTML §9.2.6: the oracle of these tests."""

from typing import NamedTuple


class Seen(NamedTuple):
    type: str
    data: str
    id: str


class Decoder:
    """Feed it bytes in pieces of any size; it gives the events they complete."""

    def __init__(self) -> None:
        self.retry: int | None = None
        self.id = ""
        self.comments = 0
        self._rest = bytearray()
        self._first = True
        self._after_cr = False
        self._id = ""
        self._type = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[Seen]:
        seen: list[Seen] = []
        for byte in piece:
            if self._after_cr:
                self._after_cr = False
                if byte == 0x0A:
                    continue
            if byte in (0x0A, 0x0D):
                self._after_cr = byte == 0x0D
                line = self._rest.decode("utf-8", "replace")
                self._rest.clear()
                if self._first:
                    line = line.removeprefix("\ufeff")
                    self._first = False
                seen += self._line(line)
            else:
                self._rest.append(byte)
        return seen

    def _line(self, line: str) -> list[Seen]:
        if not line:
            self.id = self._id
            event = [Seen(self._type or "message", "\n".join(self._data), self.id)] if self._data else []
            self._type, self._data = "", []
            return event
        if line.startswith(":"):
            self.comments += 1
            return []
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\x00" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)
        return []


def decode(stream: bytes) -> list[Seen]:
    return Decoder().feed(stream)
