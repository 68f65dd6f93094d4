"""What carries "there is work": hints only. A lost hint costs latency, a doubled one nothing; the store has the truth.

To add a broker: one module here with a `wire.Kind` and its `wire.Wire` (connect, listen, send, echo, ping, close) and a
function `transport(address, line)`; its scheme in `brokers/address.py`, its client in an extra of pyproject.toml, and a
class in `tests/transports/kinds.py`, with which the suite beside it passes. Nothing else knows of it.
"""
