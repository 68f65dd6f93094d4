"""Kafka: a topic is a topic, a group is a consumer group, and messages of one key stay in order.

    kafka://[user:password@]host:port[,host:port…]       kafkas:// with TLS

Options of the URL:

    create       partitions: make a topic that is missing, with so many (and the broker's own replication); without it,
                 a missing topic is refused
    partitioner  murmur2_random (default: a key goes where Java's producers send it), consistent_random, fnv1a_random
    reset        earliest (default) or latest: where a group begins that has never read the topic
    sasl         PLAIN (default), SCRAM-SHA-256 or SCRAM-SHA-512, for the user and the password
    session      seconds (45) without a sign of life after which a consumer's partitions go to others
    timeout      seconds (10) for an answer
    wait         milliseconds (500) that a question for messages stays at the broker while there are none

and librdkafka's own properties `ssl.*`, `socket.*`, `sasl.*`, `client.*`, `broker.*`, `metadata.*` and
`message.max.bytes`.

**What is guaranteed.** A message is confirmed when all replicas in sync have it (`acks=all`, idempotent producer). A
group's offset moves past a message only when that message and all before it in its partition have been accepted; after
a crash or a rebalance what was not accepted comes again, to whoever has the partition then. What was handed out a
second time is recognised by its id, in the inbox. `reset=earliest` also holds when an offset has been lost (a group
unused for longer than `offsets.retention.minutes`): messages come again rather than not at all.

Order within a key holds through outages and crashes. It has one edge: when the cluster refuses a *batch* for one
record in it (too large for the topic's `max.message.bytes`, turned down by its policy), the others of that batch are
sent again one by one, and what the cluster had confirmed meanwhile stands before them.

**Replies** go to topics that are there: `create` makes none for them, whoever asked may have named anything.

**How a message looks.** Headers are Kafka headers in UTF-8, the media type is the header `content-type`; `message-id`,
`reply-to` and `correlation-id` are headers, for Kafka has none of its own. A foreign header or key that is not UTF-8
is read with U+FFFD in place of what is wrong with it; of a header that is there twice, the last counts. A message
without a value (a tombstone) has an empty body.

**Groups.** A *queue* is a topic that is read by the one group `offpath.<topic>`. Members of a group wait for each other
at a rebalance even where they read different topics: give a topic a group of its own (`group=` of `jobs.on`) when one
is not to feel the other's.

Source: Kafka's protocol (KIP-98 idempotent producer, KIP-429 cooperative rebalancing); librdkafka's CONFIGURATION.md.
"""

from __future__ import annotations

from ...ports import Broker
from ..address import Address


def broker(address: Address) -> Broker:
    """Nothing is opened yet. ConfigurationError for an option that is none, MissingExtraError without the extra."""
    from .producer import KafkaBroker
    from .settings import read

    return KafkaBroker(read(address))


__all__ = ["broker"]
