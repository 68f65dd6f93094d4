"""Is there such a topic, and if not, may we make it?"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.cimpl import NewTopic

from ...core.checks import shown
from ...errors import BrokerRefused, BrokerUnavailable
from .settings import Settings, Trouble, cause

NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
SLICE = 0.5  # s between two looks at what has been told on the side
BREATH = 0.05  # s before asking again for a topic that is being made
MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)


class Client(Protocol):
    """A Producer or a Consumer."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata: ...


def metadata(
    client: Client, topic: str | None, trouble: Trouble, deadline: float, hear: Callable[[], object]
) -> ClusterMetadata:
    """What the cluster says of itself and of this topic. BrokerUnavailable at the deadline (`time.monotonic`), or as
    soon as it is known that there will be no answer. `hear`: lets the client tell what it knows."""
    while True:
        try:
            there: ClusterMetadata = client.list_topics(
                topic, timeout=max(0.01, min(SLICE, deadline - time.monotonic()))
            )
        except KafkaException as e:
            hear()
            if trouble.known or time.monotonic() >= deadline:
                raise trouble.unavailable(cause(e)) from None
        else:
            return there


def ensure(
    client: Client,
    topic: str,
    settings: Settings,
    trouble: Trouble,
    deadline: float,
    hear: Callable[[], object],
    config: dict[str, str] | None = None,
) -> None:
    """The topic is there when this returns. BrokerRefused when it is not, and may not be made. `config`: what it is
    made with."""
    if not NAME.fullmatch(topic) or topic in (".", ".."):
        raise BrokerRefused(f"{shown(topic)} cannot be a Kafka topic: 1 to 249 letters, digits, '.', '_' and '-'")
    asked = False
    while True:
        there = metadata(client, topic, trouble, deadline, hear)
        error = there.topics[topic].error
        if error is None:
            return
        if error.code() not in MISSING:
            if not error.retriable() and error.code() != KafkaError.LEADER_NOT_AVAILABLE:
                raise BrokerRefused(f"Kafka refuses the topic {shown(topic)}: {error.str()}")
        elif settings.partitions is None:
            raise BrokerRefused(
                f"Kafka at {settings.where} has no topic {shown(topic)}: create it, or let it be created with "
                "?create=PARTITIONS in the broker's URL"
            )
        elif not asked:
            asked = True
            _create(topic, settings, trouble, deadline, config or {}, there.controller_id in there.brokers)
        if time.monotonic() >= deadline:
            raise BrokerUnavailable(f"Kafka at {settings.where}: the topic {shown(topic)} has no leader yet")
        time.sleep(BREATH)


def _create(
    topic: str, settings: Settings, trouble: Trouble, deadline: float, config: dict[str, str], controller: bool
) -> None:
    admin = AdminClient(settings.any_client(trouble.tell))
    if not controller:  # nobody could be asked (librdkafka's mock): by wanting it, where the broker makes topics so
        automatic = AdminClient({**settings.any_client(trouble.tell), "allow.auto.create.topics": True})
        metadata(automatic, topic, trouble, deadline, lambda: automatic.poll(0))
        return
    left = max(0.1, deadline - time.monotonic())
    new = NewTopic(topic, num_partitions=settings.partitions or 1, config=config)
    made = admin.create_topics([new], request_timeout=left, operation_timeout=left)[topic]
    try:
        made.result(left + 1)
    except TimeoutError:
        raise trouble.unavailable() from None
    except KafkaException as e:
        code = cause(e).code()
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            return  # somebody was quicker
        if cause(e).retriable() or code in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
            raise trouble.unavailable(cause(e)) from None
        raise BrokerRefused(f"Kafka does not make the topic {shown(topic)}: {cause(e).str()}") from None
