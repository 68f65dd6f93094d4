"""What follows the question mark of a broker's URL, as values. ConfigurationError names the option."""

from __future__ import annotations

import math
import ssl

from ..core.checks import shown
from ..errors import ConfigurationError
from .address import Address

TLS = ("ca", "cert", "key")
"""Options of every URL with TLS: files of the authorities to trust (otherwise the machine's own), of our certificate
and of its key."""


def seconds(address: Address, name: str, default: float, least: float = 0.001) -> float:
    """A number of seconds, `least` or more and under a year."""
    text = address.options.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < 366 * 86400:
        raise ConfigurationError(f"{name}= of the {address.kind} URL is in seconds, from {least:g}, not {shown(text)}")
    return value


def whole(address: Address, name: str, default: int, least: int = 1, most: int = 2**53) -> int:
    """A whole number from `least` to `most`."""
    text = address.options.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ConfigurationError(
            f"{name}= of the {address.kind} URL is a whole number from {least} to {most}, not {shown(text)}"
        )
    return int(text)


def flag(address: Address, name: str) -> bool:
    """`name=1` or `name=0`; not there: False."""
    text = address.options.get(name, "0")
    if text not in ("0", "1"):
        raise ConfigurationError(f"{name}= of the {address.kind} URL is 0 or 1, not {shown(text)}")
    return text == "1"


def tls(address: Address) -> ssl.SSLContext | None:
    """What a connection with TLS asks of the server; None without TLS. The server's name is always checked."""
    given = [name for name in TLS if name in address.options]
    if not address.tls:
        if given:
            raise ConfigurationError(f"{given[0]}= is for a URL with TLS, as in {_SECURE[address.kind]}")
        return None
    ca, cert, key = (address.options.get(name) or None for name in TLS)
    if key and not cert:
        raise ConfigurationError(f"key= of the {address.kind} URL needs cert=, the certificate that it belongs to")
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key)
    except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
        said = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise ConfigurationError(f"the certificates of the {address.kind} URL cannot be read: {said}") from None
    return context


_SECURE = {
    "redis": "rediss://",
    "rabbitmq": "amqps://",
    "kafka": "kafkas://",
    "sqs": "sqss://",
    "http": "https://",
}
