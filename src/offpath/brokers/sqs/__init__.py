"""Amazon SQS, and servers that speak its language (ElasticMQ, LocalStack, moto).

    sqs://region                                  AWS, with the credentials that boto3 would find
    sqs://[key:secret@]host:port/region           a server of one's own; sqss:// with TLS

Options of the URL:

    visibility   seconds (60) that a message handed to us stays hidden from others; it is accepted within a few
    poll         seconds (5, at most 20) that one look for messages waits at the server: SQS bills each look. Closing a
                 consumer waits for the look under way
    refresh      seconds (30) for which the list of a topic's queues is believed
    accounts     numbers of other accounts, with commas in between, whose queues a reply's address may name
    keep         days (14, the most there is) that queues made by us keep a message
    timeout      seconds (10) for an answer
    ca           file of the authorities to trust, for sqss://

**Topics.** SQS has none. A group's own queue is `<topic>--<group>`, with a dash for each dot; `consume` makes it, and
`publish` copies a message into every queue of that prefix. So:

- A group has what is published after its queue was made, and, for `refresh` seconds, perhaps not in all processes.
- Without a group, what is published goes nowhere, as on a topic exchange to which nobody has bound a queue.
- Copying is not atomic over the queues: after a crash or an error in between, all are sent again, and a group may have
  a message twice. The inbox takes it once, by (source, id).
- A group that is given up keeps its queue, and messages in it, until somebody deletes the queue.

**Order.** A topic or queue named `….fifo` is a FIFO queue (its groups' queues too): messages of one key stay in order
(the key is the MessageGroupId) and one of the same id, sent twice within five minutes, is there once (it is the
MessageDeduplicationId). Other queues keep no order and hand messages out more than once.

Of a group one message is on its way at a time, so that none is behind what SQS has failed at: a key takes some
hundred messages a second.

**Replies.** An address that is a queue's URL counts as its name and account, on our server. Only our own account's
queues, and those of `accounts`, are written to; what we may not write to is refused.

**How a message looks.** The body is the message's body where that is text that SQS takes, or else base64, with the
attribute `body-encoding: base64`. `content-type`, `message-id`, `message-key`, `reply-to` and `correlation-id` are
message attributes, and so is every header, if all of them have names and values that SQS takes and there are no more
than ten attributes in all; otherwise all headers are one attribute `headers`, a JSON object. A message with all is at
most 1 MiB, or what the queue allows. A foreign message without `message-id` is known by its SQS MessageId. Messages
that SNS wraps are not unwrapped: turn on its raw message delivery.

**Failing.** What is not accepted comes again after `visibility`; given back, at once. If the queue has a redrive
policy, both count towards its `maxReceiveCount`, then SQS moves the message to the queue's own dead letters: queues
made here have none.

Source: Amazon SQS Developer Guide and API Reference (2012-11-05).
"""

from __future__ import annotations

from ...ports import Broker
from ..address import Address


def broker(address: Address) -> Broker:
    """Nothing is opened yet. ConfigurationError for an option that is none, MissingExtraError without the extra."""
    from .client import SqsBroker, read

    return SqsBroker(read(address))


__all__ = ["broker"]
