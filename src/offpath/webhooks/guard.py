"""Which URLs may be called, and where their names lead.

One parser: what `check_url` makes of a URL is what is connected to; nothing reads the text a second time. A name is
looked up once for each attempt, every answer is judged, and the connection goes to an address that was (`sender`).

Source: OWASP, "SSRF Prevention", case 2, and API7:2023; Standard Webhooks, "Server Side Request Forgery".
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from ..core.checks import flag, shown, whole
from ..errors import ConfigurationError, MissingExtraError, OffpathError
from .addresses import Address, judge

__all__ = ["Address", "Blocked", "Policy", "Resolver", "Target", "check_url", "judge", "resolve", "system_resolver"]

LONGEST = 2048  # characters of a URL
ANSWERS = 64  # addresses of one name that are looked at; a name with more is refused
PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(https?)://([^/?]*)([^#]*)", re.IGNORECASE)
_SIX = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}))?")
_NAME = re.compile(r"([^:\[\]]+)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label that makes a browser read the whole as an IPv4 address
_FOUR = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_PATH = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]]|%[0-9A-Fa-f]{2})*")

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""(name, port) → addresses as text; OSError when it has none."""


class Blocked(OffpathError):
    """A URL or an address that may not be called. The text says why, and is fit for whoever gave the URL."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be called.

    allow_private   loopback, private, shared and unique local addresses too (development only)
    allow_http      plain http too (development only)
    ports           only these; None: any
    hosts           only these names, or `*.example.com` for everything below one; None: any
    """

    allow_private: bool = False
    allow_http: bool = False
    ports: frozenset[int] | None = frozenset({443, 8443})
    hosts: frozenset[str] | None = None

    def __post_init__(self) -> None:
        flag(self.allow_private, "allow_private")
        flag(self.allow_http, "allow_http")
        if self.ports is not None:
            ports = frozenset(whole(port, 1, 65535, "a port") for port in _each(self.ports, "ports"))
            object.__setattr__(self, "ports", ports)
        if self.hosts is not None:
            object.__setattr__(self, "hosts", frozenset(_host_rule(host) for host in _each(self.hosts, "hosts")))

    @classmethod
    def development(cls) -> Policy:
        """Receivers on this machine or in its network, on any port, without TLS. Never in production."""
        return cls(allow_private=True, allow_http=True, ports=None)

    def admits(self, host: str) -> bool:
        if self.hosts is None or host in self.hosts:
            return True
        parents = host.split(".")[1:]
        return any("*." + ".".join(parents[n:]) in self.hosts for n in range(len(parents)))


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL means: everything that is needed to call it, and nothing that has to be parsed again.

    host      a name in lower-case ASCII without a dot at its end, or an address without brackets
    path      as it goes on the wire, with the query
    address   when the URL has one instead of a name
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None = None

    @property
    def authority(self) -> str:
        """The value of Host."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def check_url(url: object, policy: Policy) -> Target:
    """A URL that this policy allows, as far as can be seen without DNS; Blocked for every other."""
    if not isinstance(url, str) or not url:
        raise Blocked("a URL is needed, as text")
    if len(url) > LONGEST:
        raise Blocked(f"the URL is longer than {LONGEST} characters")
    if "#" in url:
        raise Blocked("the URL has a fragment, which is never sent")
    match = _URL.fullmatch(url)
    if match is None:
        raise Blocked("the URL is not an absolute https:// URL")
    scheme, authority, path = match[1].lower(), match[2], match[3]
    if scheme == "http" and not policy.allow_http:
        raise Blocked("the URL is not https")
    if "@" in authority:
        raise Blocked("the URL carries a user name or a password")
    host, port_text, address = _authority(authority)
    if not _PATH.fullmatch(path):
        raise Blocked("the path or query of the URL holds characters that have to be percent-encoded")
    port = int(port_text) if port_text else PORTS[scheme]
    if not 1 <= port <= 65535 or (policy.ports is not None and port not in policy.ports):
        raise Blocked(f"port {port} is not among those that may be called")
    if not policy.admits(host):
        raise Blocked("the host is not among those that may be called")
    if address is not None:
        _judged(address, policy, "the URL leads to")
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}", address)


async def resolve(target: Target, policy: Policy, resolver: Resolver | None = None) -> list[Address]:
    """The addresses behind a target, all of them judged: a single one that is not allowed, and all are refused.

    Blocked; OSError when the name has no address. Look up anew for each attempt, and connect to one of these.
    """
    if target.address is not None:
        _judged(target.address, policy, "the URL leads to")
        return [target.address]
    answers = await (resolver or system_resolver)(target.host, target.port)
    if len(answers) > ANSWERS:
        raise Blocked(f"the name has more than {ANSWERS} addresses")
    found: dict[Address, None] = {}
    for answer in answers:
        try:
            found[ip_address(answer)] = None
        except ValueError:
            raise Blocked("the name leads to something that is no address") from None
    for address in found:
        _judged(address, policy, "the name leads to")
    if not found:
        raise OSError("the name has no address")
    return list(found)


async def system_resolver(host: str, port: int) -> list[str]:
    """getaddrinfo in a thread of its own: a name server that does not answer holds up neither others nor the exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[str]] = loop.create_future()

    def tell(answers: list[str], error: OSError | None) -> None:
        if not future.done():
            future.set_result(answers) if error is None else future.set_exception(error)

    def look() -> None:
        answers: list[str] = []
        error: OSError | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            answers = [str(info[4][0]) for info in found]
        except OSError as e:
            error = e
        except UnicodeError:
            error = OSError("not a name that can be looked up")
        try:
            loop.call_soon_threadsafe(tell, answers, error)
        except RuntimeError:
            return  # the loop has been closed: nobody waits any more

    threading.Thread(target=look, name="offpath-webhooks-dns", daemon=True).start()
    return await future


def _judged(address: Address, policy: Policy, what: str) -> None:
    why = judge(address, policy.allow_private)
    if why is not None:
        raise Blocked(f"{what} an address that may not be called ({why})")


def _authority(text: str) -> tuple[str, str | None, Address | None]:
    """(host, port, address): the host canonical."""
    six = _SIX.fullmatch(text)
    if six is not None:
        try:
            address = IPv6Address(six[1])
        except ValueError:
            raise Blocked("the host of the URL is no IPv6 address") from None
        return str(address), six[2], address
    name = _NAME.fullmatch(text)
    if name is None:
        raise Blocked("the URL has no host, or a malformed one")
    host = _host(name[1])
    return host, name[2], IPv4Address(host) if _FOUR.fullmatch(host) else None


def _host(text: str) -> str:
    """A name in lower-case ASCII without the dot at its end, or a dotted IPv4 address; Blocked for all else."""
    ascii_text = text.lower() if text.isascii() else _idn(text)
    host = ascii_text.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Octal, hexadecimal, short, without dots, in full-width digits: programs differ about what they mean.
        if host != text or not _FOUR.fullmatch(host) or any(int(label) > 255 for label in labels):
            raise Blocked("an IPv4 address is written as four decimal numbers")
        return host
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Blocked("the host of the URL is no valid name")
    return host


def _idn(text: str) -> str:
    """An international name as DNS has it (UTS 46, as browsers do; IDNA 2008)."""
    try:
        import idna
    except ImportError as e:
        raise MissingExtraError("a host that is not ASCII", "webhooks") from e
    try:
        return idna.encode(text, uts46=True).decode("ascii").lower()
    except (ValueError, IndexError):  # IDNAError is a ValueError
        raise Blocked("the host of the URL is no valid international name") from None


def _each(value: Any, what: str) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{what} takes a set, not {shown(value)}")
    return list(value)


def _host_rule(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"a host is a name, not {shown(value)}")
    star = "*." if value.startswith("*.") else ""
    try:
        host, port, _ = _authority(value[len(star) :])
    except Blocked as e:
        raise ConfigurationError(f"{shown(value)} is no host: {e}") from None
    if port is not None:
        raise ConfigurationError(f"{shown(value)} is no host: ports have an option of their own")
    return star + host
