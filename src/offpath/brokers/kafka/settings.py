"""From a kafka:// URL to what librdkafka is told, and from its errors to ours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from ...core.checks import shown
from ...errors import BrokerUnavailable, ConfigurationError, MissingExtraError
from ..address import Address
from ..options import seconds, whole

try:
    from confluent_kafka import KafkaError, KafkaException
except ImportError as e:
    raise MissingExtraError("a kafka:// broker", "kafka") from e

NAMES = ("create", "partitioner", "reset", "sasl", "session", "timeout", "wait")
OF_THE_CLIENT = ("ssl.", "socket.", "sasl.", "client.", "broker.", "metadata.", "message.max.bytes")
"""Properties of librdkafka that a URL may set: those that mean the same for producers and consumers."""
OURS = frozenset({"sasl.username", "sasl.password", "sasl.mechanism", "sasl.mechanisms"})
PARTITIONERS = ("murmur2_random", "consistent_random", "fnv1a_random")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

QUIET = logging.getLogger("offpath.broker.librdkafka")
"""librdkafka tells of every connection it fails to make; what matters of it we say ourselves."""
QUIET.setLevel(logging.CRITICAL)


class Settings(NamedTuple):
    """A URL, read. `partitions`: of a topic that we create; None: we create none. Times in seconds."""

    where: str
    client: dict[str, Any]
    partitions: int | None
    partitioner: str
    reset: str
    session: float
    timeout: float
    wait: int  # ms

    def producer(self, tell: Callable[[KafkaError], None]) -> dict[str, Any]:
        return {
            **self.client,
            "error_cb": tell,
            "logger": QUIET,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": self.partitioner,
            "linger.ms": 1,
            # One that is too large takes those of its batch with it (they are sent anew, alone): few.
            "batch.size": 64 * 1024,
            # Not the producer but `publish` gives up, and then all at once: a message that the producer gave up alone
            # would come after those of its key that it did not.
            "message.timeout.ms": round(self.timeout * 1000) * 10 + 60_000,
            # A topic is there or made by us; by asking for it nobody creates one.
            "allow.auto.create.topics": False,
        }

    def consumer(self, group: str, tell: Callable[[KafkaError], None]) -> dict[str, Any]:
        return {
            **self.client,
            "error_cb": tell,
            "logger": QUIET,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": self.reset,
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": round(self.session * 1000),
            "fetch.wait.max.ms": self.wait,
            "heartbeat.interval.ms": round(self.session * 1000 / 10),
            "allow.auto.create.topics": False,
        }

    def any_client(self, tell: Callable[[KafkaError], None]) -> dict[str, Any]:
        return {**self.client, "error_cb": tell, "logger": QUIET}


def read(address: Address) -> Settings:
    """ConfigurationError for what this module's docstring (`brokers.kafka`) does not name."""
    options = {name: value for name, value in address.options.items() if name in NAMES}
    client: dict[str, Any] = {
        "bootstrap.servers": address.netloc,
        "client.id": "offpath",
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 2000,
    }
    for name, value in address.options.items():
        if name in NAMES:
            continue
        if name in OURS or not name.startswith(OF_THE_CLIENT):
            there = ", ".join((*NAMES, *(f"{prefix}*" if prefix[-1] == "." else prefix for prefix in OF_THE_CLIENT)))
            raise ConfigurationError(f"kafka URLs know {there}, not {shown(name)}")
        client[name] = value
    if address.path.strip("/"):
        raise ConfigurationError(f"a kafka URL has no path: leave out {shown(address.path)} (topics are named in code)")
    client.update(_security(address, options.get("sasl")))
    timeout = seconds(address, "timeout", 10)
    client.setdefault("socket.timeout.ms", round(max(timeout, 1) * 1000))
    client.setdefault("socket.connection.setup.timeout.ms", round(max(timeout, 1) * 1000))
    return Settings(
        address.netloc,
        client,
        whole(address, "create", 1, 1, 10_000) if "create" in options else None,
        _one_of(options, "partitioner", PARTITIONERS),
        _one_of(options, "reset", ("earliest", "latest")),
        seconds(address, "session", 45, 1),
        timeout,
        whole(address, "wait", 500, 1, 60_000),
    )


def _security(address: Address, mechanism: str | None) -> dict[str, Any]:
    secret = {"security.protocol": "SSL" if address.tls else "PLAINTEXT"}
    if address.user is None:
        if mechanism is not None:
            raise ConfigurationError("sasl= needs a user and a password: kafka://user:password@host:9092?sasl=…")
        return secret
    if not address.user or not address.password:
        raise ConfigurationError("a kafka URL with a user needs a password: kafka://user:password@host:9092")
    chosen = "PLAIN" if mechanism is None else mechanism.upper()
    if chosen not in MECHANISMS:
        raise ConfigurationError(f"sasl must be one of {', '.join(MECHANISMS)}, not {shown(mechanism)}")
    return {
        "security.protocol": "SASL_SSL" if address.tls else "SASL_PLAINTEXT",
        "sasl.mechanism": chosen,
        "sasl.username": address.user,
        "sasl.password": address.password,
    }


def _one_of(options: dict[str, str], name: str, known: tuple[str, ...]) -> str:
    given = options.get(name, known[0])
    if given not in known:
        raise ConfigurationError(f"{name} must be one of {', '.join(known)}, not {shown(given)}")
    return given


# -- what goes wrong ---------------------------------------------------------------------------------------------------

SENTENCES = {
    KafkaError._AUTHENTICATION: "turned the user or the password down",
    KafkaError.SASL_AUTHENTICATION_FAILED: "turned the user or the password down",
    KafkaError._SSL: "no secure connection could be agreed on (TLS)",
    KafkaError._RESOLVE: "unknown host",
    KafkaError._ALL_BROKERS_DOWN: "nobody answers there",
    KafkaError._TRANSPORT: "nobody answers there",
    KafkaError._TIMED_OUT: "no answer in time",
    KafkaError._MSG_TIMED_OUT: "no answer in time",
    KafkaError._TIMED_OUT_QUEUE: "no answer in time",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "this user may not read in that group",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "this user may not use that topic",
}
TELLING = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE, KafkaError._ALL_BROKERS_DOWN)
"""Of several errors, the one that says the most comes first."""
FINAL = (KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN)
"""Of those, what is not said of one host among several."""


class Trouble:
    """What librdkafka has told on the side (`error_cb`) since it was last asked."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._told: dict[int, KafkaError] = {}

    def tell(self, error: KafkaError) -> None:
        self._told[error.code()] = error

    @property
    def known(self) -> bool:
        """Whether it is one that waiting for an answer does not mend."""
        return any(code in self._told for code in FINAL)

    def forget(self) -> None:
        """It was of another time."""
        self._told.clear()

    def unavailable(self, error: KafkaError | None = None) -> BrokerUnavailable:
        """One sentence for it all; what was told is forgotten."""
        told, self._told = self._told, {}
        for code in TELLING:
            if code in told:
                return BrokerUnavailable(f"Kafka at {self._where}: {SENTENCES[code]}")
        error = error or next(iter(told.values()), None)
        if error is None:
            return BrokerUnavailable(f"Kafka at {self._where}: no answer in time")
        return BrokerUnavailable(f"Kafka at {self._where}: {SENTENCES.get(error.code()) or error.str()}")


def cause(error: KafkaException) -> KafkaError:
    said: KafkaError = error.args[0]
    return said
