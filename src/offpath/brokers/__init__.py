"""Clients of the brokers: redis rabbitmq kafka sqs, and http, for where there is none. See `ports.broker`.

To add a broker: a module here (or a folder) with `broker(address) -> ports.Broker`, its schemes in `address.KINDS`, its
client in an extra of pyproject.toml, its server in `tests/brokers/__init__.py` and a class of what differs in
`tests/brokers/kinds.py`; how its CloudEvents look (`cloudevents/binary.py`), its bindings in the AsyncAPI document
(`app/asyncapi_bindings.py`), whether its places name a message for good (`STABLE` in `engine/messages.py`), its line in
the walls of pyproject.toml. It is done when the suite there passes with it.

Nothing is imported before a URL asks for it; the first thing each module does is to say which extra it needs.
"""
