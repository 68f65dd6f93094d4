"""The attacks A28 to A33 as one corpus: whatever the URL and whatever DNS says, nobody inside is called.

A canary listens on every loopback address. The policy of these tests is as lax as a policy can be without
`allow_private`: plain http, any port, any host. What keeps the canary silent is the judgement of addresses alone.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from offpath.webhooks.guard import Blocked, Policy, check_url
from offpath.webhooks.policy import next_attempt
from offpath.webhooks.sender import Sender
from tests.webhooks.wire import Server, leads_to, server

LAX = Policy(allow_http=True, ports=None)
OURS = {"webhook-id": "msg_1"}
PUBLIC = "1.1.1.1"  # never connected to: no test here lets a name lead to public addresses alone

LOOPBACK = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1",
    "0177.0.0.1", "0177.1", "017700000001", "0x7f.0x0.0x0.0x1", "127.0.0.01", "0.0.0.0", "0", "00", "0x0", "localhost",
    "LOCALHOST", "localhost.", "①②⑦.⓪.⓪.①", "①②⑦.0.0.1", "１２７.0.0.1", "127。0。0。1", "127．0．0．1", "𝟙𝟚𝟟.0.0.1",
    "ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "lo\u00adcalhost", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[::7f00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:7f00:0001::1]", "[2001:0:0:0:0:0:80ff:fffe]", "[::1%25lo]",
    "[::1%lo]",
    "127.0.0.1.", "127.0.0.1%00", "127.0.0.1%2f", "127%2e0%2e0%2e1", "%6c%6f%63%61%6c%68%6f%73%74", "127.0.0.1\\",
    "127.0.0.1\t",
]  # fmt: skip
"""What some program takes for this machine."""

INSIDE = [
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518", "⑯⑨.②⑤④.⑯⑨.②⑤④", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::1]", "[fc00::1]", "[fec0::1]", "[ff02::1]", "168.63.129.16", "100.100.100.200", "192.0.0.192", "224.0.0.1",
    "255.255.255.255", "198.18.0.1", "[2002:a9fe:a9fe::]", "[::a9fe:a9fe]", "[100::1]", "[2001:db8::1]",
]  # fmt: skip
SHAPES = [
    "http://{host}:{port}/", "https://{host}:{port}/", "HTTP://{host}:{port}?a", "http://{host}:{port}/a/../b%2f",
    "http://user:password@{host}:{port}/",
]  # fmt: skip
CONFUSED = [
    "http://1.1.1.1@127.0.0.1:{port}/", "http://1.1.1.1:80@127.0.0.1:{port}/", "http://127.0.0.1:{port}@1.1.1.1/",
    "http://1.1.1.1#@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@1.1.1.1/", "http://1.1.1.1?@127.0.0.1:{port}/\r\n",
    "http://1.1.1.1\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@1.1.1.1/", "http:\\\\127.0.0.1:{port}\\",
    "http:/\\127.0.0.1:{port}/", "http:127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/", "127.0.0.1:{port}/", "http://127.0.0.1:{port}:80/", "http://[::1]:{port}]/",
    "http://[::1]x:{port}/",
    "http://127.0.0.1:{port}\x00.example.com/", "http://127.0.0.1:{port}\t.example.com/", "http://127.0.0.1\n:{port}/",
    " http://127.0.0.1:{port}/", "http://127.0.0.1:{port} @example.com/", "http://127.0.0.1 :{port}/",
    "http://,127.0.0.1:{port}/",
    "http://example.com,127.0.0.1:{port}/", "http://1.1.1.1 &@127.0.0.1:{port}#@1.1.1.1/", "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_POST", "file:///etc/passwd", "dict://127.0.0.1:{port}/", "ws://127.0.0.1:{port}/",
    "unix:///run/x",
    "data:text/plain,x", "http+unix://127.0.0.1:{port}/", "view-source:http://127.0.0.1:{port}/",
    "jar:http://127.0.0.1:{port}!/",
]  # fmt: skip
"""URLs that two parsers read differently, and schemes that are none of ours."""

NAMES = ["receiver.example", "RECEIVER.example.", "bücher.example", "a.b.c.d.receiver.example", "xn--bcher-kva.example"]
ANSWERS = [
    ["127.0.0.1"], ["::1"], ["0.0.0.0"], ["::"], ["127.0.0.2", "127.0.0.1"], [PUBLIC, "127.0.0.1"], ["127.0.0.1",
    PUBLIC],
    [PUBLIC, "1.0.0.1", "2606:4700::1111", "::1"], [PUBLIC, "10.0.0.1"], ["169.254.169.254"], [PUBLIC,
    "169.254.169.254"],
    ["::ffff:127.0.0.1"], [PUBLIC, "::ffff:127.0.0.1"], ["64:ff9b::127.0.0.1"], ["64:ff9b:1::7f00:1"],
    ["2002:7f00:1::"],
    ["2001:0:0:0:0:0:80ff:fffe"], ["::127.0.0.1"], ["::ffff:0:7f00:1"], ["fe80::1%lo"], ["::1%lo"], ["fd00:ec2::254"],
    ["168.63.129.16"], ["224.0.0.1"], ["255.255.255.255"], ["fec0::1"], ["127.1"], ["localhost"], ["2130706433"], [""],
]  # fmt: skip


@pytest.fixture
async def canary() -> Any:
    async with server(host="127.0.0.1") as here, server(host="127.0.0.2", port=here.port) as there:
        yield here, there


def hits(canary: tuple[Server, Server]) -> int:
    return sum(one.connections for one in canary)


def corpus(port: int) -> Iterator[str]:
    for shape, host in itertools.product(SHAPES, LOOPBACK + INSIDE):
        yield shape.format(host=host, port=port)
    for url in CONFUSED:
        yield url.format(port=port)


async def test_whk_25_a28_a29_a31_no_url_reaches_the_canary(canary: tuple[Server, Server]) -> None:
    urls = list(corpus(canary[0].port))
    assert len(set(urls)) >= 400
    sender = Sender(LAX)
    for url in urls:
        sent = await sender.send(url, OURS, b"{}")
        assert (sent.status, sent.snippet) == (None, ""), url
        assert sent.kind in ("blocked", "refused", "dns"), (url, sent)
        assert not await sender.ask(url, "me"), url
    assert hits(canary) == 0


async def test_whk_24_a30_no_answer_of_dns_reaches_the_canary(canary: tuple[Server, Server]) -> None:
    tried = 0
    for answers, name, scheme in itertools.product(ANSWERS, NAMES, ("http", "https")):
        sent = await Sender(LAX, resolver=leads_to(*answers)).send(f"{scheme}://{name}:{canary[0].port}/", OURS, b"{}")
        assert (sent.status, sent.kind) == (None, "blocked"), (answers, sent)
        tried += 1
    assert tried >= 300
    assert hits(canary) == 0


async def test_the_canary_sings(canary: tuple[Server, Server]) -> None:
    """With the guard told to let it through, the same URLs do reach it: the silence above is the guard's work."""
    reached = 0
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "ｌｏｃａｌｈｏｓｔ"):
        sent = await Sender(Policy.development()).send(f"http://{host}:{canary[0].port}/", OURS, b"{}")
        reached += sent.status == 204
    assert reached == hits(canary) == 4


def once_then(
    first: Sequence[str], then: Sequence[str]
) -> tuple[Callable[[str, int], Awaitable[Sequence[str]]], list[str]]:
    """A resolver that changes its mind (rebinding), and the names it was asked."""
    asked: list[str] = []

    async def resolver(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return first if len(asked) == 1 else then

    return resolver, asked


async def test_whk_24_a30_a_name_is_looked_up_once_and_the_answer_is_what_is_connected_to(
    canary: tuple[Server, Server],
) -> None:
    """Both addresses listen; a second look-up anywhere on the way would lead to the other one."""
    resolver, asked = once_then(["127.0.0.1"], ["127.0.0.2"])
    sent = await Sender(Policy.development(), resolver=resolver).send(
        f"http://receiver.example:{canary[0].port}/", OURS, b"{}"
    )
    assert (sent.status, asked) == (204, ["receiver.example"])
    assert (canary[0].connections, canary[1].connections) == (1, 0)


async def test_whk_24_a30_a_name_that_was_public_at_registration_is_judged_at_each_attempt(
    canary: tuple[Server, Server],
) -> None:
    resolver, asked = once_then([PUBLIC], ["127.0.0.1"])
    url = f"http://receiver.example:{canary[0].port}/"
    assert await resolver(check_url(url, LAX).host, 0) == [PUBLIC]  # when it was registered
    for attempt in (1, 2):
        sent = await Sender(LAX, resolver=resolver).send(url, OURS, b"{}")
        assert sent.kind == "blocked"
        assert next_attempt(attempt, sent, 0, 0.5).kind == "retry"  # DNS may be mended
    assert (len(asked), hits(canary)) == (3, 0)


async def test_whk_24_a31_a_redirect_to_the_inside_is_not_followed(canary: tuple[Server, Server]) -> None:
    for where in (
        canary[0].url,
        f"//127.0.0.1:{canary[0].port}/",
        f"gopher://127.0.0.1:{canary[0].port}/",
        "file:///etc/passwd",
    ):
        for status in (301, 302, 303, 307, 308):
            answer = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()
            async with server(answer) as receiver:
                sent = await Sender(Policy.development()).send(receiver.url, OURS, b"{}")
                assert sent.status == status
    assert hits(canary) == 0


async def test_whk_25_what_is_refused_does_not_say_what_is_inside() -> None:
    for answers in ANSWERS:
        sent = await Sender(LAX, resolver=leads_to(*answers)).send("http://receiver.example/", OURS, b"{}")
        assert not [one for one in answers if len(one) > 2 and one in str(sent.error)]


def test_whk_25_a28_every_spelling_is_refused_before_anything_is_looked_up() -> None:
    for host in LOOPBACK + INSIDE:
        if "localhost" in host.lower() or not host.strip("[").isascii():
            continue  # a name, or what becomes one: judged by where it leads
        with pytest.raises(Blocked):
            check_url(f"http://{host}/", LAX)
