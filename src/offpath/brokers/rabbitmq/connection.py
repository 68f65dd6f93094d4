"""A connection to RabbitMQ that cannot hang and cannot be ended by what others have written.

Made of aiormq, the part of aio-pika that speaks the protocol. What aio-pika puts on top of it (connections that come
back by themselves, messages decoded in part) is just what a caller who must know of every loss cannot use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import struct
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import unquote

from ...errors import BrokerRefused, BrokerUnavailable
from ..address import Address, known
from ..options import TLS, seconds, tls, whole
from .frames import URL, Socket, aiormq

T = TypeVar("T")

OPTIONS = ("timeout", "heartbeat", "prefetch", "make", "hints", *TLS)
"""What an amqp URL may say behind the question mark, to the broker and to the transport."""

FAREWELL = 3.0  # s for an orderly end
PORT, TLS_PORT = 5672, 5671


class _Unasked(logging.Filter):
    """What aiormq has to say of our connections (a traceback for each that is lost) is logged when its logger has been
    given a level: we say it ourselves, once. Connections of others in this process are none of our business."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _ours.get() or any(logging.getLogger(name).level for name in ("aiormq", record.name))


_ours: ContextVar[bool] = ContextVar("offpath_rabbitmq", default=False)
for _name in ("aiormq.connection", "aiormq.connection.marshall", "aiormq.channel"):  # a filter is asked by its own only
    logging.getLogger(_name).addFilter(_Unasked())


class Line:
    """One connection. `name` is for people."""

    def __init__(self, name: str, timeout: float, connection: aiormq.abc.AbstractConnection, raw: Socket) -> None:
        self.name, self.timeout = name, timeout
        self._connection, self._raw = connection, raw

    @property
    def lost(self) -> bool:
        return not self._connection.is_opened

    @property
    def version(self) -> tuple[int, ...]:
        """Of the server: (3, 10)."""
        said = (self._connection.server_properties or {}).get("version", "")
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())

    @property
    def frame(self) -> int:
        """The largest frame that the server takes, in bytes."""
        return int(cast(Any, self._connection).connection_tune.frame_max)

    async def channel(self, *, confirms: bool = False) -> aiormq.abc.AbstractChannel:
        opening = self._connection.channel(publisher_confirms=confirms, timeout=self.timeout)
        return await self.ask(opening)

    async def ask(self, what: Coroutine[Any, Any, T], more: float = 0.0) -> T:
        """The answer, within the timeout and `more` seconds. BrokerUnavailable when it does not come, BrokerRefused
        when the server closes the channel over it."""
        try:
            return await within(what, self.timeout + more)
        except Exception as e:
            raise said(self.name, self.timeout, e) from e

    async def unblocked(self, seconds: float) -> None:
        """BrokerUnavailable when the server takes no messages all that time: it is short of memory or of disk."""
        try:
            await within(self._connection.ready(), seconds)
        except TimeoutError as e:
            raise BrokerUnavailable(
                f"{self.name} takes no messages now, since it is short of memory or disk: see `rabbitmqctl status`"
            ) from e

    async def close(self) -> None:
        """In good order when that is quick."""
        try:
            with contextlib.suppress(Exception):
                await within(self._connection.close(), FAREWELL)
        finally:
            self.drop()

    def drop(self) -> None:
        """At once, with what is still to be sent."""
        self._raw.abort()


class Settings(NamedTuple):
    """What an amqp URL says of the connection: seconds; a second each for `heartbeat`."""

    address: Address
    timeout: float
    heartbeat: int
    context: ssl.SSLContext | None

    @property
    def name(self) -> str:
        """For people."""
        return f"RabbitMQ at {self.address.host}:{self.port}"

    @property
    def port(self) -> int:
        return self.address.port or (TLS_PORT if self.address.tls else PORT)

    @property
    def vhost(self) -> str:
        """`amqp://host` and `amqp://host/` mean the vhost "/", as with everybody; `%2F` is it in full."""
        return unquote(self.address.path[1:]) or "/"


def settings(address: Address) -> Settings:
    """ConfigurationError for an option that no amqp URL has, and for wrong files."""
    known(address, *OPTIONS)
    timeout, heartbeat = seconds(address, "timeout", 10.0), whole(address, "heartbeat", 10, most=3_600)
    return Settings(address, timeout, heartbeat, tls(address))


async def connect(given: Settings, what: str) -> Line:
    """BrokerUnavailable, in one sentence. `what` it is for is what RabbitMQ's own pages say of it."""
    address = given.address
    url = URL.build(
        scheme="amqps" if address.tls else "amqp",
        host=address.host,
        port=given.port,
        user="guest" if address.user is None else address.user,
        password=("guest" if address.user is None else "") if address.password is None else address.password,
        path="/" + given.vhost,
        query={"heartbeat": str(given.heartbeat)},
    )
    raw = Socket(given.context)
    connection = aiormq.Connection(url, transport_factory=raw, client_properties={"connection_name": what})

    async def begin() -> None:
        await raw.open(address.host, given.port)
        await connection.connect()

    try:
        await within(begin(), given.timeout)
        return Line(given.name, given.timeout, connection, raw)
    except BaseException as e:
        raw.abort()
        if raw.farewell and not isinstance(e, aiormq.exceptions.ProbableAuthenticationError):
            raise BrokerUnavailable(f"{given.name} said: {raw.farewell}; the URL asks for vhost {given.vhost!r}") from e
        if isinstance(e, Exception):
            raise said(given.name, given.timeout, e) from e
        raise


async def within(what: Coroutine[Any, Any, T], seconds: float) -> T:
    """Its answer, or TimeoutError. aiormq cancels those who wait on a connection that is lost: for them, too, that is
    an error of the connection, and no wish of whoever waits here."""
    context = copy_context()
    context.run(_ours.set, True)  # for what it starts, too: aiormq reads in a task of its own
    task = context.run(asyncio.ensure_future, what)
    task.add_done_callback(_seen)  # whoever waits here may have been cancelled by then
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    if task.done():
        if task.cancelled():
            raise ConnectionError("the connection was lost")
        return task.result()
    with contextlib.suppress(BaseException):
        await asyncio.wait({task}, timeout=1.0)  # let it tidy up
    raise TimeoutError


def _seen(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def said(
    name: str, timeout: float, error: BaseException, *, opening: bool = False
) -> BrokerUnavailable | BrokerRefused:
    """What aiormq raised, in a sentence."""
    text = " ".join(str(part) for part in error.args if part) or type(error).__name__
    if isinstance(error, BrokerUnavailable | BrokerRefused):
        return error
    if isinstance(error, TimeoutError):
        return BrokerUnavailable(f"{name} does not answer in {timeout:g} s")
    if isinstance(error, aiormq.exceptions.ProbableAuthenticationError | aiormq.exceptions.AuthenticationError):
        return BrokerUnavailable(f"{name} turned the credentials down: check the user and the password of the URL")
    if isinstance(error, aiormq.exceptions.ChannelClosed):
        return BrokerRefused(f"{name} said: {text}")
    if not isinstance(error, OSError) and isinstance(
        error, ValueError | TypeError | struct.error
    ):  # before it was sent
        return BrokerRefused(f"AMQP cannot say this: {text}")
    return BrokerUnavailable(f"{name} cannot be reached: {text}")
