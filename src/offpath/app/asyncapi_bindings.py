"""What is different from broker to broker in an AsyncAPI document: servers, channels, headers, bindings."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..brokers.address import Address
from ..brokers.sqs import names as sqs
from ..cloudevents.binary import PREFIXES
from ..cloudevents.data import is_json
from ..cloudevents.structured import MEDIA_TYPE

__all__ = ["Channel", "channel", "envelope", "is_json", "message", "operation", "server", "structured", "trait"]

Json = dict[str, Any]

TRAIT, ENVELOPE, INBOX = "CloudEvent", "cloudevents.Event", "inbox"  # no class has a dot in its name
OWN_GROUP = "offpath"
"""What goes before the name of a queue to name the one group that reads it, where a broker has no queues."""

_PROTOCOLS = {
    ("redis", False): "redis",
    ("redis", True): "rediss",
    ("rabbitmq", False): "amqp",
    ("rabbitmq", True): "amqps",
    ("kafka", False): "kafka",
    ("kafka", True): "kafka-secure",
    ("sqs", False): "sqs",
    ("sqs", True): "sqs",
    ("http", False): "http",
    ("http", True): "https",
}
_SASL = {"PLAIN": "plain", "SCRAM-SHA-256": "scramSha256", "SCRAM-SHA-512": "scramSha512"}
_ATTRIBUTES: dict[str, Json] = {
    "id": {"type": "string", "minLength": 1, "description": "the same whenever it is sent again; unique in its source"},
    "source": {"type": "string", "format": "uri-reference", "minLength": 1},
    "specversion": {"type": "string", "const": "1.0"},
    "type": {"type": "string", "minLength": 1},
    "subject": {"type": "string", "minLength": 1, "description": "what it happened to"},
    "time": {"type": "string", "format": "date-time"},
    "dataschema": {"type": "string", "format": "uri"},
    "partitionkey": {"type": "string", "minLength": 1, "description": "events of one key keep their order"},
    "traceparent": {"type": "string", "description": "W3C Trace Context"},
    "tracestate": {"type": "string"},
}
_REQUIRED = ("id", "source", "specversion", "type")


class Channel(NamedTuple):
    name: str
    address: str
    description: str
    bindings: Json


def structured(kind: str | None) -> bool:
    """Whether an event is one JSON object there. (Where no broker is named, that is what fits any.)"""
    return kind not in PREFIXES


def server(broker: Address, host: str) -> Json:
    """One host of the broker."""
    made: Json = {"host": host, "protocol": _PROTOCOLS[broker.kind, broker.tls]}
    if broker.kind == "sqs" and "." not in host and ":" not in host:
        made["host"] = f"sqs.{host}.amazonaws.com"
        made["description"] = f"Amazon SQS in {host}"
    if broker.kind == "http" and broker.path.strip("/"):
        made["pathname"] = broker.path
    if broker.kind == "rabbitmq":
        made["protocolVersion"] = "0.9.1"
        if broker.path.strip("/"):
            made["pathname"] = broker.path
    if broker.user is not None or broker.password is not None:
        security = _security(broker)
        if security is not None:
            made["security"] = [security]
    return made


def _security(broker: Address) -> Json | None:
    if broker.kind == "kafka":
        return {"type": _SASL.get(broker.options.get("sasl", "PLAIN").upper(), "plain")}
    if broker.kind == "http":
        return {"type": "http", "scheme": "bearer"}
    return None if broker.kind == "sqs" else {"type": "userPassword"}


def channel(
    kind: str | None, action: str, address: str, shape: str, type: str, *, group: str = "", vhost: str = ""
) -> Channel:
    """The channel to send or receive messages of a type ("": of any) at an address. `group`: of who reads there."""
    if kind == "rabbitmq":
        return _amqp(address, shape, type, vhost or "/")
    if kind == "sqs":
        if action == "send":
            said = f"To every group that reads it: to each queue whose name begins with {sqs.prefix(address)}"
            return Channel(address, address, said, {})
        if shape == "queue":
            queue, said = sqs.own_queue(address)[0], "A queue."
        else:
            queue, said = sqs.group_queue(address, group), f"The queue of this group for {address}."
        named: Json = {"queue": {"name": queue, "fifoQueue": sqs.fifo(queue)}, "bindingVersion": "0.2.0"}
        return Channel(queue, queue, said, {"sqs": named})
    if kind == "kafka":
        return Channel(address, address, "A topic.", {"kafka": {"topic": address, "bindingVersion": "0.5.0"}})
    if kind == "redis":
        return Channel(address, address, "A stream.", {})
    if kind == "http":
        if action == "send":
            return Channel("http", "/", "Events are posted there.", {})
        return Channel(INBOX, "/events", "Events are posted here: the route of this application's inbox.", {})
    return Channel(address, address, f"A {shape}.", {})


def _amqp(address: str, shape: str, type: str, vhost: str) -> Channel:
    """A queue, or one routing key of a topic exchange: the event's type."""
    if shape == "queue":
        queue = {"name": address, "durable": True, "exclusive": False, "autoDelete": False, "vhost": vhost}
        said: Json = {"is": "queue", "queue": queue, "bindingVersion": "0.3.0"}
        return Channel(address, address, "A queue.", {"amqp": said})
    exchange = {"name": address, "type": "topic", "durable": True, "autoDelete": False, "vhost": vhost}
    said = {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}
    route = type or "#"
    return Channel(f"{address}.{route}", route, f"Routing key of the exchange {address}.", {"amqp": said})


def operation(kind: str | None, action: str, group: str | None, address: str = "") -> Json:
    """The bindings of an operation. A queue (`address`) has no group of the application's: Kafka, which has no queues,
    has one for it."""
    if kind == "kafka" and action == "receive":
        read_by = group or f"{OWN_GROUP}.{address}"
        return {"kafka": {"groupId": {"type": "string", "enum": [read_by]}, "bindingVersion": "0.5.0"}}
    if kind == "rabbitmq":
        said = {"ack": True} if action == "receive" else {"deliveryMode": 2}
        return {"amqp": {**said, "bindingVersion": "0.3.0"}}
    if kind == "http":
        return {"http": {"method": "POST", "bindingVersion": "0.3.0"}}
    return {}


def message(kind: str | None, type: str, described: Json, payload: Json | None) -> Json:
    """A message with this data: a CloudEvent of that type, or ("") the data alone."""
    if not type:
        return described | ({} if payload is None else {"payload": payload})
    made: Json = described | {"traits": [{"$ref": f"#/components/messageTraits/{TRAIT}"}]}
    if structured(kind):
        properties: Json = {"type": {"type": "string", "const": type}}
        if payload is not None:
            properties["data"] = payload
        elif "contentType" in described:
            properties["data_base64"] = {"type": "string", "contentMediaType": described["contentType"]}
        envelope = {"$ref": f"#/components/schemas/{ENVELOPE}"}
        return made | {
            "contentType": MEDIA_TYPE,
            "payload": {"allOf": [envelope, {"type": "object", "properties": properties}]},
        }
    header = f"{PREFIXES[kind or ''][0]}type"
    made["headers"] = {"type": "object", "properties": {header: {"type": "string", "const": type}}}
    if kind == "kafka":
        made["bindings"] = {
            "kafka": {
                "key": {"type": "string", "description": "the event's partitionkey, when it has one"},
                "bindingVersion": "0.5.0",
            }
        }
    if payload is not None:
        made["payload"] = payload
    return made


def trait(kind: str | None) -> Json:
    """What all CloudEvents have in common there."""
    if structured(kind):
        return {"description": "A CloudEvent 1.0 in structured mode.", "contentType": MEDIA_TYPE}
    prefix = PREFIXES[kind or ""][0]
    return {
        "headers": {
            "type": "object",
            "required": [f"{prefix}{name}" for name in _REQUIRED],
            "properties": {f"{prefix}{name}": schema for name, schema in _ATTRIBUTES.items()},
        },
        "tags": [{"name": "CloudEvents", "description": "CloudEvents 1.0, binary mode; structured mode is read too"}],
    }


def envelope() -> Json:
    """The JSON Schema of an event in structured mode."""
    return {
        "type": "object",
        "required": list(_REQUIRED),
        "properties": {**_ATTRIBUTES, "datacontenttype": {"type": "string", "minLength": 1}},
    }
