"""Every row of the list of addresses that may not be called."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offpath.webhooks.addresses import INSIDE, judge

REFUSED = {
    "unspecified": ("0.0.0.0", "0.0.0.1", "0.255.255.255", "::"),
    "loopback": ("127.0.0.0", "127.0.0.1", "127.1.2.3", "127.255.255.255", "::1"),
    "private": ("10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"),
    "shared": ("100.64.0.0", "100.127.255.255"),
    "link-local": (
        "169.254.0.0",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.255.255",
        "fe80::",
        "fe80::1",
        "febf::1",
    ),
    "special-purpose": ("192.0.0.0", "192.0.0.192", "192.0.0.255", "2001:2::1", "2001:10::1", "2001:20::1"),
    "documentation": ("192.0.2.1", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::1", "3fff:fff::1"),
    "benchmarking": ("198.18.0.0", "198.19.255.255"),
    "multicast": ("224.0.0.1", "239.255.255.255", "ff00::", "ff02::1", "ff0e::1", "ffff::1"),
    "reserved": ("240.0.0.0", "255.255.255.254", "5f00::1", "4000::1", "e000::1", "8000::", "fe00::1"),
    "broadcast": ("255.255.255.255",),
    "cloud-internal": ("168.63.129.16", "100.100.100.200", "fd00:ec2::254"),
    "unique local": ("fc00::", "fc00::1", "fdff:ffff::1"),
    "site-local": ("fec0::", "fec0::1", "feff::1"),
    "6to4 relay": ("192.88.99.1",),
    "discard-only": ("100::1",),
    "scoped": ("2606:4700::1%eth0",),
}
WRAPPED = {
    "IPv4-mapped": ("::ffff:169.254.169.254", "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
    "IPv4-translated": ("::ffff:0:127.0.0.1",),
    "IPv4-compatible": ("::127.0.0.1", "::8.8.8.8", "::2"),
    "NAT64": ("64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::127.0.0.1", "64:ff9b:1:ffff::1"),
    "6to4": ("2002:7f00:1::", "2002:7f00:1:ffff::1", "2002:808:808::1"),
    "Teredo": ("2001::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:808:808:0:0:80ff:fffe"),
    "ISATAP": ("2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1"),
}
FORMS = ("::ffff:{}", "::ffff:0:{}", "::{}", "64:ff9b::{}", "64:ff9b:1::{}")
NEIGHBOURS = (
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255",
    "203.0.114.0", "223.255.255.255", "2001:200::1", "2001:db7:ffff::1", "2001:db9::1", "2003::1", "2606:4700::1111",
    "2a00:1450:4001::8a", "3ffe:ffff::1",
)  # fmt: skip


@pytest.mark.parametrize(("why", "text"), [(why, text) for why, texts in REFUSED.items() for text in texts])
def test_whk_25_a_special_address_is_refused(why: str, text: str) -> None:
    assert judge(ip_address(text)) == why


@pytest.mark.parametrize(("form", "text"), [(form, text) for form, texts in WRAPPED.items() for text in texts])
def test_whk_25_an_address_within_an_address_is_refused_in_every_form(form: str, text: str) -> None:
    said = judge(ip_address(text))
    assert said is not None
    assert said.startswith(f"{form} of a ")
    assert judge(ip_address(text), allow_private=True) == said


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b:1::127.0.0.1", "loopback"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("2002:7f00:1::1", "loopback"),
        ("2001:0:1:1:1:1:80ff:fffe", "loopback"),  # Teredo keeps it inverted
        ("::168.63.129.16", "cloud-internal"),
        ("2002:808:808::1", "public"),
    ],
)
def test_whk_25_what_is_within_is_unwrapped_and_judged(text: str, inner: str) -> None:
    said = judge(ip_address(text))
    assert said is not None
    assert said.endswith(f" of a {inner} address")


@pytest.mark.parametrize("text", NEIGHBOURS)
def test_whk_25_what_lies_beside_a_refused_range_may_be_called(text: str) -> None:
    assert judge(ip_address(text)) is None


@settings(max_examples=300)
@given(st.ip_addresses(v=4))
def test_whk_25_never_more_lenient_than_the_standard_library_v4(address: IPv4Address) -> None:
    assert judge(address) is not None or (address.is_global and not address.is_multicast)
    for form in FORMS:
        assert judge(ip_address(form.format(address))) is not None
    assert judge(IPv6Address(0x2002 << 112 | int(address) << 80)) is not None
    assert judge(IPv6Address(0x20010000 << 96 | int(address) ^ 0xFFFFFFFF)) is not None


@settings(max_examples=300)
@given(st.ip_addresses(v=6))
def test_whk_25_never_more_lenient_than_the_standard_library_v6(address: IPv6Address) -> None:
    assert judge(address) is not None or (address.is_global and not address.is_multicast and not address.is_reserved)


def test_whk_25_is_global_would_let_these_through() -> None:
    """Why it is not what decides."""
    passed = [text for texts in (*REFUSED.values(), *WRAPPED.values()) for text in texts if ip_address(text).is_global]
    assert len(passed) >= 10


def test_whk_25_in_development_only_what_is_inside_is_let_through() -> None:
    for why, texts in REFUSED.items():
        for text in texts:
            assert judge(ip_address(text), allow_private=True) == (None if why in INSIDE else why)
