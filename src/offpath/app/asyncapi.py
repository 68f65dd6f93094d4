"""The AsyncAPI 3 document: what an application publishes and consumes, for people and programs that are to do the
other half. Pure; its schemas are those of the types that the code itself reads and writes with.

A channel is one address of the broker (of RabbitMQ: one routing key of an exchange), an operation what this application
does there. Source: AsyncAPI 3.1.0, and its bindings for AMQP 0.3.0, HTTP 0.3.0, Kafka 0.5.0, Redis 0.1.0 and SQS 0.2.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from ..brokers import address as broker_address
from ..brokers.address import Address
from ..codec import Arguments, Data, schemas
from ..settings import Settings
from ..tasks import Registry
from ..tasks.subscription import Subscription
from . import asyncapi_bindings as bindings

VERSION = "3.1.0"
_SCHEMAS = "#/components/schemas/"
_MESSAGES = "#/components/messages/"
_SERVER = "broker"

Json = dict[str, Any]
Mode = Literal["validation", "serialization"]


@dataclass
class _Message:
    """A message to be described.

    type         of a CloudEvent; "" of a foreign producer's plain JSON
    payload      the shape of its data
    contenttype  of that data
    """

    type: str
    payload: Data | Arguments
    mode: Mode
    title: str
    description: str = ""
    contenttype: str = "application/json"
    dataschema: str | None = None


@dataclass
class _Draft:
    """What is collected, by key."""

    kind: str | None
    messages: dict[str, _Message] = field(default_factory=dict)
    channels: dict[str, Json] = field(default_factory=dict)
    operations: dict[str, Json] = field(default_factory=dict)


def document(registry: Registry, settings: Settings, *, title: str = "", version: str = "1.0.0") -> Json:
    """The document, plain data. ConfigurationError when a topic is consumed and nothing says for which group."""
    url = settings.broker or settings.transport
    broker = broker_address.parse(url) if url else None
    draft = _Draft(broker.kind if broker else None)
    vhost = broker.path[1:] if broker is not None and broker.kind == "rabbitmq" else ""
    for event in registry.events.values():
        if event.published:
            message = _Message(
                event.name,
                event.shape,
                "serialization",
                event.name,
                event.description,
                event.datacontenttype,
                event.dataschema,
            )
            topic = event.topic or settings.topic
            where = bindings.channel(draft.kind, "send", topic, "topic", event.name, vhost=vhost)
            said = event.description or f"An event {event.name} is published."
            _operation(draft, "send", f"send.{event.name}", where, {event.name: message}, said, None)
    for subscription in registry.subscriptions:
        if draft.kind == "http" and subscription.format == "json":
            continue  # the route of the inbox takes events only
        _receive(draft, registry, settings, subscription, vhost)
    return _assembled(draft, broker, title or settings.group or settings.source or "Events", version)


def _receive(draft: _Draft, registry: Registry, settings: Settings, subscription: Subscription, vhost: str) -> None:
    address, shape, group = subscription.place(settings.topic, settings.group)
    task = registry.get(subscription.task)
    text = " ".join((getattr(task, "__doc__", None) or "").split())
    said = text or f"Jobs of the task {subscription.task}."
    if subscription.format == "json":
        passed = {} if task is None else task.passed
        name = subscription.task
        message = _Message("", Arguments(name, passed), "validation", name, text)
        where = bindings.channel(draft.kind, "receive", address, shape, "", group=group, vhost=vhost)
        _operation(draft, "receive", f"receive.{name}", where, {name: message}, said, group)
        return
    for type in subscription.types:
        declared = registry.events.get(type)
        shaped = Data(f"event {type}", subscription.data)
        message = _Message(
            type,
            shaped,
            "validation",
            type,
            declared.description if declared else "",
            declared.datacontenttype if declared else "application/json",
            declared.dataschema if declared else None,
        )
        where = bindings.channel(draft.kind, "receive", address, shape, type, group=group, vhost=vhost)
        name = f"receive.{subscription.task}" + (f".{type}" if len(subscription.types) > 1 else "")
        _operation(draft, "receive", name, where, {f"{type}.received": message}, said, group)


def _operation(
    draft: _Draft,
    action: str,
    name: str,
    where: bindings.Channel,
    messages: dict[str, _Message],
    said: str,
    group: str | None,
) -> None:
    """One operation, its channel and its messages."""
    channel = draft.channels.setdefault(
        key(where.name),
        {"address": where.address, "description": where.description, "messages": {}}
        | ({"bindings": where.bindings} if where.bindings else {}),
    )
    refs = []
    for given, message in messages.items():
        named = key(given)
        while (there := draft.messages.setdefault(named, message)) != message and not _alike(there, message):
            named += "-2"  # two tasks that want other data of one type
        channel["messages"][named] = {"$ref": f"{_MESSAGES}{named}"}
        refs.append({"$ref": f"#/channels/{key(where.name)}/messages/{named}"})
    made = {
        "action": action,
        "channel": {"$ref": f"#/channels/{key(where.name)}"},
        "summary": said,
        "messages": refs,
    }
    more = bindings.operation(draft.kind, action, group, where.address or "")
    taken = key(name)
    while taken in draft.operations:
        taken += "-2"
    draft.operations[taken] = made | ({"bindings": more} if more else {})


def _alike(one: _Message, other: _Message) -> bool:
    data = [getattr(message.payload, "annotation", message.payload) for message in (one, other)]
    return data[0] == data[1] and (one.type, one.mode) == (other.type, other.mode)


def _assembled(draft: _Draft, broker: Address | None, title: str, version: str) -> Json:
    found, classes = schemas({name: (m.payload, m.mode) for name, m in draft.messages.items()}, _SCHEMAS)
    for name, message in draft.messages.items():
        if isinstance(message.payload, Arguments):  # a class of ours, of no meaning to others
            if "$ref" in found[name]:
                found[name] = classes.pop(found[name]["$ref"].removeprefix(_SCHEMAS))
            found[name].pop("title", None)
    components: Json = {
        "messages": {
            name: bindings.message(draft.kind, message.type, _described(message), _payload(message, found[name]))
            for name, message in draft.messages.items()
        },
        "schemas": dict(sorted(classes.items())),
    }
    events = any(message.type for message in draft.messages.values())
    if events:
        components |= {"messageTraits": {bindings.TRAIT: bindings.trait(draft.kind)}}
        if bindings.structured(draft.kind):
            components["schemas"][bindings.ENVELOPE] = bindings.envelope()
    hosts = servers(broker)
    for name, channel in draft.channels.items():
        if hosts and name != bindings.INBOX:
            channel["servers"] = [{"$ref": f"#/servers/{host}"} for host in hosts]
    made: Json = {
        "asyncapi": VERSION,
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "servers": hosts,
        "channels": draft.channels,
        "operations": draft.operations,
        "components": {name: part for name, part in components.items() if part},
    }
    return {name: part for name, part in made.items() if part or name in ("channels", "operations")}


def _payload(message: _Message, schema: Json) -> Json | None:
    """None: there are no data; or they are no JSON, and the content type says all there is to say."""
    if not bindings.is_json(message.contenttype) or _empty(message):
        return None
    return schema


def _described(message: _Message) -> Json:
    made: Json = {"name": message.type or message.title, "title": message.title}
    if message.description:
        made["description"] = message.description
    if not _empty(message):
        made["contentType"] = message.contenttype
    if message.dataschema:
        made["externalDocs"] = {"url": message.dataschema, "description": "The schema of the data (dataschema)"}
    return made


def _empty(message: _Message) -> bool:
    return isinstance(message.payload, Data) and message.payload.annotation in (None, type(None))


def servers(broker: Address | None) -> dict[str, Json]:
    """The broker, each of its hosts, without user and password."""
    if broker is None:
        return {}
    hosts = broker.netloc.split(",")
    return {
        _SERVER if index == 1 else f"{_SERVER}-{index}": bindings.server(broker, host)
        for index, host in enumerate(hosts, 1)
    }


def key(name: str) -> str:
    """What a component may be called: [A-Za-z0-9._-]+."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name) or "-"
