"""What a broker is: it carries messages between applications. (Hints are a transport's, truth is a store's.)

Everything runs on the event loop that called `open`. An address is the name of a topic, an exchange, a stream or a
queue; of the broker "http" it is a path under the broker's URL, or "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from ..core.trace import Trace
from ..errors import BrokerRefused

Shape = Literal["topic", "queue", "stream"]


class Message(NamedTuple):
    """A message as a broker carries it: nothing is decoded.

    body         as it came or is to go
    headers      name → text, without what the next fields say
    type         media type of the body, with its parameters
    key          messages of one key stay in order where the broker orders by key (Kafka's key, SQS FIFO's group); None
    id           the sender's name for it; None
    reply_to     address that waits for an answer to it, and
    correlation  what that answer is to be marked with
    """

    body: bytes
    headers: Mapping[str, str] = {}
    type: str | None = None
    key: str | None = None
    id: str | None = None
    reply_to: str | None = None
    correlation: str | None = None


class Outgoing(NamedTuple):
    """Where a message goes. `subject`: what consumers may choose by (AMQP's routing key): the event's type. `direct`:
    the address is a queue, not a topic. `answer`: it is a `reply_to`, which a stranger may have chosen: nothing is made
    there, and what the address alone is to blame for is BrokerRefused. `trace`: in which the message was made."""

    address: str
    subject: str
    message: Message
    direct: bool = False
    answer: bool = False
    trace: Trace | None = None


class Source(NamedTuple):
    """What a consumer reads. Consumers of one `group` share the messages of a topic or stream; each group has all of
    them. `subjects`: only those, where the broker can choose; () = all. A queue has no groups. `ordered`: as
    `Consumer` says."""

    address: str
    shape: Shape
    group: str
    subjects: tuple[str, ...] = ()
    ordered: bool = False


class Received(NamedTuple):
    """A message, and how to name it to its consumer (`tag`) and to people (`place`: "events/3@1207"). `where` is the
    address it was read from, `times` how often the broker has said it was handed out, 1 = first; 0 = it cannot tell."""

    message: Message
    tag: object
    place: str
    where: str
    times: int = 0


ENOUGH = 8 << 20
"""Bytes of bodies in hand with which a consumer asks its broker for no more."""


class Consumer(Protocol):
    """Reads one source.

    Of an `ordered` one, where the broker orders by key at all, nobody in the group is handed a message before the
    earlier ones of its key have been accepted, or handed to the same consumer. Where the broker keeps no key with one
    consumer by itself, one consumer is active and the others stand by, to take over when it closes or gives no sign of
    life.

    So each of them commits, of a key, an unbroken run that begins no later than the first message that nobody has
    committed. Also one that was taken for dead and wakes with messages in hand: his successor has had them as well,
    and of two commits of a message the inbox takes the first. Whoever comes first, first commits are in order.
    """

    async def receive(self, most: int, wait: float) -> list[Received]:
        """Up to `most` messages, in order for each key, and few when they are large (`ENOUGH`); [] after `wait` seconds
        without any. BrokerUnavailable when the connection is lost: close it and consume anew, unless the error says
        that it is `alive`: then go on with it, it finds its way back."""
        ...

    async def accept(self, received: Sequence[Received]) -> None:
        """Acknowledge: what they ask for has been committed. What the broker has handed to somebody else by now is
        passed over. BrokerUnavailable: they will come again."""
        ...

    async def give_back(self, received: Sequence[Received]) -> None:
        """They could not be taken (the store is away): they come again, soon, to whoever consumes then."""
        ...

    async def close(self) -> None: ...


class Broker(Protocol):
    """`kind` is "redis", "rabbitmq", "kafka", "sqs" or "http"."""

    kind: str

    async def open(self) -> None:
        """Connect. BrokerUnavailable, in one sentence: refused, unreachable, wrong credentials."""
        ...

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        """Send in order, and give for each, once the broker has confirmed that it has it, None; or why the broker will
        not take this one, whatever one does (too large, no such topic): what follows it is sent all the same.
        BrokerUnavailable: nothing is known of any of them, send all again but those its `confirmed` names."""
        ...

    async def consume(self, source: Source) -> Consumer:
        """Begin to read, making the group's own place to read from (consumer group, bound queue, subscription) if there
        is none. BrokerRefused when the source itself is not there and is not ours to make."""
        ...

    async def close(self) -> None: ...
