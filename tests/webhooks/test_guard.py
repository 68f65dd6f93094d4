"""URLs: one parser, and all it refuses; names, and all they lead to."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.errors import ConfigurationError
from offpath.webhooks.guard import Blocked, Policy, Target, check_url, resolve, system_resolver
from tests.webhooks.wire import leads_to

STRICT = Policy()
LAX = Policy(allow_private=True, allow_http=True, ports=None)
EXAMPLE = Target("https", "example.com", 443, "/")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.com./Path?Q=%2F", "https://example.com/Path?Q=%2F"),
        ("https://example.com?a=b", "https://example.com/?a=b"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:8443//a/../b;c=1?[]", "https://example.com:8443//a/../b;c=1?[]"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),  # not "fass": that is another name
        ("https://example。com/", "https://example.com/"),
        ("https://a_b.example.com/", "https://a_b.example.com/"),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        ("https://[2606:4700:0:0::1111]/", "https://[2606:4700::1111]/"),
        ("https://[2606:4700::1111]:8443/x", "https://[2606:4700::1111]:8443/x"),
        ("https://1e100.example.net/", "https://1e100.example.net/"),
    ],
)
def test_whk_26_what_is_checked_is_what_is_used(url: str, expected: str) -> None:
    target = check_url(url, STRICT)
    assert target.url == expected
    assert check_url(target.url, STRICT) == target


@pytest.mark.parametrize(
    "url",
    [
        "", " ", "example.com", "//example.com/", "/path", "https:", "https:/", "https://", "https:///path",
        "https:example.com",
        "https:/example.com", "https://?a", "https://:443/", "https://example.com:/", "https://example.com:0/",
        "https://example.com:65536/", "https://example.com:99999/", "https://example.com:+443/",
        "https://example.com:4 43/",
        "https://example.com:443:443/", "https://example.com:٤٤٣/", "https://example.com:443\n/", "https://[::1/",
        "https://::1/", "https://[v1.x]/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/",
        "https://[2606:4700::]x/",
        "https://[1.1.1.1]/", "https://[]/", "https://[::ffff:1.1.1.1.1]/",
        " https://example.com/", "https://example.com/ ", "https://example.com/\n", "\thttps://example.com",
        "ht\ntps://example.com",
        "https://exa mple.com/", "https://exa\tmple.com/", "https://example.com\x00/",
        "https://example.com\r\nHost: x/",
        "https://example.com/a\r\nX: y", "https://example.com/a b", "https://example.com/\x00", "https://example.com/é",
        "https://example.com/%", "https://example.com/%zz", "https://example.com/%0", "https://example.com/<>",
        'https://example.com/"', "https://example.com/`", "https://example.com/{}", "https://example.com/|",
        "https://example.com/^",
        "https://example.com/a#b", "https://example.com#@evil", "https://example.com/#",
        "https://.example.com/", "https://example..com/", "https://example.com../", "https://-a.example/",
        "https://a-.example/",
        "https://" + "a" * 64 + ".example/", "https://" + "a." * 127 + "aa/", "https://./", "https://../",
        "https://exa%6dple.com/",
        "https://example.com%2f.evil/", "https://%31%32%37.0.0.1/", "https://*.example.com/", "https://a,b/",
        "https://a;b/",
        "https://example.com/" + "a" * 2048,
        None, 7, b"https://example.com/", ["https://example.com/"], True,
    ],
)  # fmt: skip
def test_whk_26_what_is_no_url_is_refused(url: Any) -> None:
    for policy in (STRICT, LAX):
        with pytest.raises(Blocked):
            check_url(url, policy)


@pytest.mark.parametrize(
    "url",
    [
        "https://user@example.com/", "https://user:secret@example.com/", "https://@example.com/",
        "https://:@example.com/",
        "https://example.com@127.0.0.1/", "https://example.com:443@127.0.0.1/", "https://127.0.0.1@example.com/",
        "https://a@b@c/", "https://example.com%40127.0.0.1/", "https://user%40x@example.com/",
        "https://example.com\\@127.0.0.1/", "https://127.0.0.1\\@example.com/", "https://example.com\\.evil/",
        "https:\\\\example.com/", "https:/\\example.com/", "\\\\example.com\\x", "https://example.com\\",
        "https://example.com/\\x",
    ],
)  # fmt: skip
def test_whk_26_no_userinfo_and_no_backslash(url: str) -> None:
    named = "@" in url and "\\" not in url
    for policy in (STRICT, LAX):
        with pytest.raises(Blocked, match="user name" if named else None):
            check_url(url, policy)


@pytest.mark.parametrize(
    "scheme",
    [
        "http",
        "HTTP",
        "ftp",
        "file",
        "gopher",
        "dict",
        "ldap",
        "ws",
        "wss",
        "data",
        "javascript",
        "unix",
        "httpss",
        "xhttps",
    ],
)
def test_whk_23_https_only(scheme: str) -> None:
    with pytest.raises(Blocked):
        check_url(f"{scheme}://example.com:443/", STRICT)
    if scheme.lower() != "http":
        with pytest.raises(Blocked):
            check_url(f"{scheme}://example.com/", LAX)


def test_whk_23_http_needs_a_switch_of_its_own() -> None:
    with pytest.raises(Blocked, match="not https"):
        check_url("http://example.com/", Policy(allow_private=True, ports=None))
    assert check_url("http://example.com/", Policy(allow_http=True, ports=frozenset({80}))).port == 80


@pytest.mark.parametrize("port", [22, 25, 80, 444, 2375, 3306, 5432, 6379, 8080, 11211, 65535])
def test_whk_26_listed_ports_only(port: int) -> None:
    with pytest.raises(Blocked, match=f"port {port}"):
        check_url(f"https://example.com:{port}/", STRICT)
    assert check_url(f"https://example.com:{port}/", Policy(ports=None)).port == port
    assert check_url(f"https://example.com:{port}/", Policy(ports=frozenset({port}))).port == port


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0177.0.0.01", "127.1", "127.0.1", "017700000001",
        "127.0.0.01",
        "127.0.0.0x1", "0x7F.0x0.0x0.0x1", "127.0.0.1.", "1.1", "16843009", "01.1.1.1", "1.1.1.01", "256.1.1.1",
        "1.1.1.256",
        "1.1.1.1.1", "0", "0x", "0x0", "00", "1.2.3.", "example.0x1", "example.127", "4294967296",
        "99999999999999999999",
        "①②⑦.0.0.1", "１２７.0.0.1", "127。0。0。1", "127．0.0.1", "1１.1.1.1", "⑯⑨。②⑤④。⑯⑨｡②⑤④", "𝟏.𝟏.𝟏.𝟏", "0ⓧ7f.1",
    ],
)  # fmt: skip
def test_whk_25_every_other_spelling_of_an_address_is_refused(host: str) -> None:
    for policy in (STRICT, LAX):
        for tail in ("", ":443"):
            with pytest.raises(Blocked):
                check_url(f"https://{host}{tail}/", policy)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"])
async def test_whk_25_an_address_in_the_url_is_judged_at_once_and_again(host: str) -> None:
    with pytest.raises(Blocked, match="may not be called"):
        check_url(f"https://{host}/", STRICT)
    target = Target("https", host, 443, "/", ip_address(host.strip("[]")))
    with pytest.raises(Blocked, match="may not be called"):
        await resolve(target, STRICT)


def test_whk_26_an_allow_list_of_hosts() -> None:
    policy = Policy(hosts=frozenset({"Example.com", "*.bücher.example", "1.1.1.1", "[2606:4700:0::1111]"}))
    for url in (
        "https://example.com/", "https://EXAMPLE.COM./", "https://a.xn--bcher-kva.example/",
        "https://a.b.bücher.example/",
        "https://1.1.1.1/", "https://[2606:4700::1111]/",
    ):  # fmt: skip
        assert check_url(url, policy)
    for url in (
        "https://a.example.com/", "https://example.com.evil.example/", "https://evilexample.com/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example.evil/", "https://1.1.1.2/",
    ):  # fmt: skip
        with pytest.raises(Blocked, match="host"):
            check_url(url, policy)


@pytest.mark.parametrize(
    "given",
    [
        {"allow_private": 1}, {"allow_http": "yes"}, {"ports": {0}}, {"ports": {70000}}, {"ports": {"443"}},
        {"ports": 443},
        {"ports": "443"}, {"hosts": "example.com"}, {"hosts": {"exa mple"}}, {"hosts": {"example.com:443"}},
        {"hosts": {7}},
        {"hosts": {"https://example.com"}}, {"hosts": {"*"}}, {"hosts": {"*.127.0.0.1.x.1"}}, {"hosts": {""}},
    ],
)  # fmt: skip
def test_whk_26_a_policy_is_checked(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Policy(**given)


@given(st.text() | st.text().map("https://".__add__) | st.text().map("https://a.example/".__add__))
def test_whk_26_no_text_is_an_error_of_another_kind(url: str) -> None:
    try:
        target = check_url(url, STRICT)
    except Blocked:
        return
    assert check_url(target.url, STRICT) == target
    assert target.url.isascii()
    assert target.url.isprintable()


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["1.1.1.1", "1.0.0.1", "10.0.0.1"],
        ["2606:4700::1111", "::1"], ["1.1.1.1", "::ffff:127.0.0.1"], ["1.1.1.1", "64:ff9b::7f00:1"], ["1.1.1.1",
        "fe80::1%eth0"],
        ["1.1.1.1", "localhost"], ["1.1.1.1", ""], ["1.1.1.1", "127.1"], ["1.1.1.1"] * 65,
    ],
)  # fmt: skip
async def test_whk_24_all_answers_are_judged_and_one_bad_one_refuses_all(answers: Sequence[str]) -> None:
    with pytest.raises(Blocked) as caught:
        await resolve(EXAMPLE, STRICT, leads_to(*answers))
    assert not any(answer and answer in str(caught.value) for answer in answers)  # what is inside is not told


async def test_whk_24_good_answers_come_back_in_order_and_once() -> None:
    found = await resolve(EXAMPLE, STRICT, leads_to("1.0.0.1", "2606:4700::1111", "1.0.0.1", "1.1.1.1"))
    assert [str(address) for address in found] == ["1.0.0.1", "2606:4700::1111", "1.1.1.1"]
    with pytest.raises(OSError, match="no address"):
        await resolve(EXAMPLE, STRICT, leads_to())


async def test_whk_24_the_systems_resolver() -> None:
    assert set(await system_resolver("localhost", 443)) <= {"127.0.0.1", "::1"}
    with pytest.raises(Blocked, match="loopback"):
        await resolve(check_url("https://localhost/", STRICT), STRICT)
    with pytest.raises(OSError, match="name"):
        await system_resolver("a" * 70 + ".example", 443)


async def test_whk_14_a_look_up_can_be_left() -> None:
    """Whoever stops waiting is not held up by the thread that looks, and its late answer harms nobody."""
    task = asyncio.ensure_future(system_resolver("localhost", 443))
    await asyncio.sleep(0)  # until it has begun
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await system_resolver("localhost", 443)
