"""RabbitMQ 3.8 and later, by aio-pika's protocol part: topics are topic exchanges, groups are quorum queues.

    amqp://[user:password@]host[:5672][/vhost]     amqps:// with TLS (5671); without a user: guest, guest

    ?timeout=10     seconds for the server to answer (and one more for each MiB of what is sent)
    &heartbeat=10   seconds between two signs of life; a connection that gives none for three of them is given up
    &prefetch=100   messages that the server hands out to one consumer before they are accepted (and that are in memory)
    &make=1         make a queue (durable, of type quorum) that is to be consumed and is not there
    &hints=classic  of the transport alone: classic or quorum, the type of its queues
    &ca=, &cert=, &key=    files, for TLS

**A topic** is a durable topic exchange of that name, made when it is first used; the routing key is the event's type.
**A group** reads from the durable quorum queue `<topic>.<group>`, bound for each type that it has handlers for, or for
all of them (`#`). Bindings are added, never taken away. An exchange or queue of that name that is there already is used
as it is: declare it yourself, with whatever arguments, to have it otherwise. RabbitMQ keeps nothing for groups that it
has not heard of: what is published before a group's first consumer has begun does not reach that group. A stream is a
topic like any other; queues of RabbitMQ's type stream are not read.

**A queue** is consumed as it is there, and refused when it is not (see `make`). A reply goes to the queue that asked
for it, by the default exchange; when there is no such queue it is refused. A topic that no queue is bound to takes
messages, and drops them: that is what topics are. It is told once for each type (`outbox.unrouted`).

**What was bound and is not any more** (the exchange was deleted, or the server came back without its disk) is bound
again by those who read, within 10 s or as soon as they are connected. Until then a type of messages that a queue has
taken from this process waits for one, for 30 s; and so does all that goes to an exchange that had to be made anew. What
others publish meanwhile, what a process publishes that has sent nothing there before, and what one group lacks when
somebody else has made the exchange and another group is bound already, is lost to it.

**Names** of topics, and of queues that are read, `<topic>.<group>` among them, are 1 to 127 letters of ASCII, digits,
spaces and `-_.:@#,/+`. An exchange of another name is read by a queue of yours that is bound to it.

**In order** (`@jobs.on(…, ordered=True)`) one consumer of a queue is active, and the others stand by. Queues that we
make then have the argument `x-single-active-consumer`. One that is there already without it is refused if it is a
quorum queue; of a classic one somebody is the exclusive consumer, as long as no other program reads it.

**Rights.** The user needs to configure, write and read `<topic>` and `<topic>.<group>`; not to configure those that are
there already, unless they are to be read in order: it takes that right to learn what they were declared with.

**A message** is persistent. Content type, message id, correlation id and reply-to are AMQP's properties of that name;
the key is the header `message-key`, and nothing orders by it: a queue has one order. Headers of other types become text
(numbers, `true`, dates in ISO 8601, JSON for lists and tables); what is not UTF-8 in names and properties becomes
question marks. A message whose properties cannot be read at all is handed over without them. A message without an id is
given one when it is sent.

**What a confirmation is worth.** A message is confirmed once a majority of each bound quorum queue's members has it on
disk. When the queue says no (`overflow=reject-publish`, no majority) it is to be sent again, without those that the
server has confirmed; an answer is refused. A server of one node that is killed within a second of making a quorum queue
may not find it again, and then nothing that uses the queue is answered until it is deleted (rabbitmq-server issue
15725). RabbitMQ refuses messages over `max_message_size`, 16 MiB by default from 4.0 on.

**Coming again.** What a consumer had and did not accept goes to another when it is closed or its connection is lost,
at the front of the queue. What is given back stays with the consumer, and comes first when it reads on: a return would
be counted, and a quorum queue drops messages after so many returns (`delivery-limit`, 20 by default from 4.0 on). Our
own queues are declared without that limit; a policy, or a queue of yours, may have one. A message that is not accepted
for `consumer_timeout` (30 minutes by default) ends the consumer, and comes again: that takes a worker that reads
nothing for so long because its queue of jobs is full.

**Alarms.** A server that is short of memory or disk takes no messages. Publishing waits for `timeout`, and says so.
There is one connection to publish and another to consume, which such a server goes on serving.
"""

from __future__ import annotations

from ...ports import Broker
from ..address import Address


def broker(address: Address) -> Broker:
    """Nothing is opened yet. ConfigurationError for an option that is none, MissingExtraError without the extra."""
    from .client import RabbitBroker

    return RabbitBroker(address)


__all__ = ["broker"]
