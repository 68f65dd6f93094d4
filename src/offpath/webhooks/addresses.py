"""Which addresses are nobody's business to call. Pure.

What stands in another address is unwrapped first, and refused whatever is in it: what a gateway on the way would make
of it cannot be known here. `ipaddress.is_global` is not asked: it passes NAT64, 6to4, compatible, site-local and
multicast addresses (Python 3.11.7).

Source: RFC 6890 and the IANA special-purpose registries (IPv4, IPv6); OWASP, "SSRF Prevention", case 2; wire.md WHK-25.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

LOOPBACK, PRIVATE, SHARED, UNIQUE = "loopback", "private", "shared", "unique local"
METADATA = "cloud-internal"
INSIDE = frozenset({LOOPBACK, PRIVATE, SHARED, UNIQUE})
"""What `allow_private` lets through. Metadata services are never among it: they stand first in the tables."""

_V4 = [
    (IPv4Network(network), kind)
    for network, kind in (
        ("168.63.129.16/32", METADATA),  # Azure
        ("100.100.100.200/32", METADATA),  # Alibaba, within the shared ones
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", PRIVATE),
        ("100.64.0.0/10", SHARED),
        ("127.0.0.0/8", LOOPBACK),
        ("169.254.0.0/16", "link-local"),  # 169.254.169.254: most metadata services
        ("172.16.0.0/12", PRIVATE),
        ("192.0.0.0/24", "special-purpose"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", PRIVATE),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
]
_V6 = [
    (IPv6Network(network), kind)
    for network, kind in (
        ("fd00:ec2::/32", METADATA),  # AWS, within the unique local ones
        ("::/128", "unspecified"),
        ("::1/128", LOOPBACK),
        ("100::/64", "discard-only"),
        ("2001::/23", "special-purpose"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", UNIQUE),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
]
_GLOBAL = IPv6Network("2000::/3")
# A network, the name of the form, how far right the IPv4 address lies in it, and what it is XORed with.
_WRAPS = [
    (IPv6Network(network), form, shift, mask)
    for network, form, shift, mask in (
        ("::ffff:0:0/96", "IPv4-mapped", 0, 0),
        ("::ffff:0:0:0/96", "IPv4-translated", 0, 0),
        ("64:ff9b::/96", "NAT64", 0, 0),
        ("64:ff9b:1::/48", "NAT64", 0, 0),
        ("2002::/16", "6to4", 80, 0),
        ("2001::/32", "Teredo", 0, 0xFFFF_FFFF),  # RFC 4380 §4: the client's address, obfuscated
        ("::/96", "IPv4-compatible", 0, 0),
    )
]
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214 §6.1, above the IPv4 address in the lower half of any prefix


def judge(address: Address, allow_private: bool = False) -> str | None:
    """Why this address may not be called, in a word or two; None: it may.

    allow_private   loopback, private, shared and unique local addresses may be, for development. Nothing else may,
                    and nothing that is wrapped in another address
    """
    wrapped = _unwrap(address)
    if wrapped is not None:
        form, inner = wrapped
        return f"{form} of a {_kind(inner) or 'public'} address"
    kind = _kind(address)
    return None if allow_private and kind in INSIDE else kind


def _kind(address: Address) -> str | None:
    """What is special about an address that wraps none; None: it is a public one."""
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), None)
    if address.scope_id is not None:
        return "scoped"
    kind = next((kind for network, kind in _V6 if address in network), None)
    return kind or (None if address in _GLOBAL else "reserved")


def _unwrap(address: Address) -> tuple[str, IPv4Address] | None:
    """(form, the IPv4 address within)."""
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    if number in (0, 1):  # `::` and `::1`
        return None
    for network, form, shift, mask in _WRAPS:
        if address in network:
            return form, IPv4Address(number >> shift & 0xFFFF_FFFF ^ mask)
    if number >> 32 & 0xFFFF_FFFF in _ISATAP:
        return "ISATAP", IPv4Address(number & 0xFFFF_FFFF)
    return None
