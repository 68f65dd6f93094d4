"""What carries "there is work": hints only. A lost hint costs latency, a doubled one nothing; the store has the truth.

To add a broker: one module here with a class of `ports.Transport`'s few verbs (open, subscribe, announce, close), one
line in `app/places.py` that makes it for a URL, its client in an extra of pyproject.toml, and its tests beside
`tests/transports/test_local.py` (loss, doubles, order, restart). Nothing else knows of it.
"""
