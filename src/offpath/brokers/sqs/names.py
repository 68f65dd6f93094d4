"""Names of queues. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ...core.checks import shown
from ...errors import BrokerRefused

BETWEEN = "--"
FIFO = ".fifo"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_QUEUE_PATH = re.compile(r"/(?P<account>[0-9]{12})/(?P<name>[A-Za-z0-9_.-]{1,80})")


def fifo(address: str) -> bool:
    return address.endswith(FIFO)


def prefix(topic: str) -> str:
    """How the queues of a topic begin. BrokerRefused when it cannot be a topic here."""
    return _part(topic.removesuffix(FIFO), "topic", topic) + BETWEEN


def group_queue(topic: str, group: str) -> str:
    """The queue of this group."""
    name = prefix(topic) + _part(group, "group", group)
    return _checked(name + (FIFO if fifo(topic) else ""))


def is_of(queue: str, topic: str) -> bool:
    """Whether this queue, found by the prefix, belongs to a group of the topic."""
    return fifo(queue) == fifo(topic) and queue.startswith(prefix(topic))


def own_queue(address: str) -> tuple[str, str | None]:
    """A queue's name, and its account if that is said: of a name, or of a queue's URL. Only those two parts of a URL
    are used: a message may name its `reply_to`, but not the server that our credentials are sent to."""
    if "://" in address:
        found = _QUEUE_PATH.fullmatch(urlsplit(address).path)
        if found is None:
            raise BrokerRefused(f"{shown(address)} is not the URL of an SQS queue")
        return found["name"], found["account"]
    return _checked(address.removesuffix(FIFO).replace(".", "-") + (FIFO if fifo(address) else "")), None


def account_of(url: str) -> str | None:
    """The account of a queue's URL; None where the server has none."""
    found = _QUEUE_PATH.fullmatch(urlsplit(url).path)
    return None if found is None else found["account"]


def _part(text: str, what: str, said: str) -> str:
    name = text.replace(".", "-")
    if not _NAME.fullmatch(name) or BETWEEN in name or name[0] == "-" or name[-1] == "-":
        raise BrokerRefused(
            f"{shown(said)} cannot be a {what} on SQS: letters, digits, '_', and single '-' or '.' in between "
            "(two dashes separate topic and group)"
        )
    return name


def _checked(name: str) -> str:
    if len(name) > 80 or not _NAME.fullmatch(name.removesuffix(FIFO)):
        raise BrokerRefused(f"{shown(name)} cannot be an SQS queue: 1 to 80 letters, digits, '_' and '-'")
    return name
