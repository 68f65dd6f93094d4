"""What comes over the wire, made readable before aiormq reads it: nobody's message can end the connection."""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Any, cast

from ...errors import MissingExtraError

try:
    import aiormq as aiormq
    from aiormq.connection import TransportFactory
    from pamqp import commands as commands
    from pamqp import constants
    from pamqp import header as header
    from yarl import URL as URL
except ImportError as e:
    raise MissingExtraError("an amqp:// URL", "rabbitmq") from e


class Socket(TransportFactory):
    """Opens the socket of one connection, and stands between it and aiormq."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._writer: asyncio.StreamWriter | None = None
        self._reader: _Reader | None = None

    @property
    def farewell(self) -> str:
        """Why the server has closed the connection; "" if it did not say."""
        return self._reader.farewell if self._reader is not None else ""

    async def open(self, host: str, port: int) -> None:
        """Before aiormq asks for it: that would log an error each time nobody is there."""
        reader, writer = await asyncio.open_connection(host, port, ssl=self._context)
        self._reader, self._writer = _Reader(reader), writer

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            raise ConnectionError("the connection is not open")
        return cast(asyncio.StreamReader, self._reader), self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class _Reader:
    """Frames as aiormq reads them: a byte, six more, and then the rest; those that it could not read are made readable.

    A name, property or routing key that is not UTF-8, or a date far away, would otherwise end the connection, and the
    next one, and that after it, since the message comes again.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._kind = 0
        self.farewell = ""

    def at_eof(self) -> bool:
        return self._reader.at_eof()

    async def read(self, count: int = -1) -> bytes:
        return await self._reader.read(count)

    async def readexactly(self, count: int) -> bytes:
        data = await self._reader.readexactly(count)
        if count == 1:
            self._kind = data[0]
        elif count != 6 or self._kind == 0:  # a frame's payload and its last byte
            kind, self._kind = self._kind, 0
            if kind == constants.FRAME_HEADER:
                return readable_header(data[:-1]) + data[-1:]
            if kind == constants.FRAME_METHOD and data[:4] == DELIVER:
                return readable_delivery(data[:-1]) + data[-1:]
            if kind == constants.FRAME_METHOD and data[:4] == CLOSE:  # aiormq may not tell
                self.farewell = data[7 : 7 + data[6]].decode(errors="replace")
        return data


CLOSE = struct.pack(">HH", 10, 50)  # those of connection.close: a code of two bytes follows, and a short text
DELIVER = struct.pack(">HH", 60, 60)  # the class and method of basic.deliver
FLAGS = slice(12, 14)  # of a content header: which properties there are


def readable_header(payload: bytes) -> bytes:
    """A content header of the same length that can be read. What is not UTF-8 becomes question marks; when that is not
    what is wrong, the message has no properties."""
    while True:
        try:
            header.ContentHeader().unmarshal(payload)
        except UnicodeDecodeError as e:
            payload = _replaced(payload, e.object)
        except Exception:
            return payload[: FLAGS.start] + b"\0\0" + payload[FLAGS.stop :]
        else:
            return payload


def readable_delivery(payload: bytes) -> bytes:
    """A basic.deliver of the same length whose names are UTF-8."""
    while True:
        try:
            commands.Basic.Deliver().unmarshal(payload[4:])
        except UnicodeDecodeError as e:
            payload = _replaced(payload, e.object)
        except Exception:
            return payload
        else:
            return payload


def _replaced(payload: bytes, text: bytes) -> bytes:
    """With a question mark for each byte of `text` that is none of UTF-8: lengths stay as they are."""
    fixed = text.decode(errors="surrogateescape").encode(errors="replace")
    return payload.replace(text, fixed, 1)
