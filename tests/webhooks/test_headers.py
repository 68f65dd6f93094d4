"""Header fields that somebody else may add, and the handshake, which is made of them."""

from typing import Any

import pytest

from offpath.errors import ConfigurationError
from offpath.webhooks.guard import Policy
from offpath.webhooks.headers import check_headers
from offpath.webhooks.sender import Sender
from tests.webhooks.wire import leads_to, server

LOCAL = Policy.development()
BODY = b"{}"
OURS = {"webhook-id": "msg_1", "webhook-timestamp": "1000", "webhook-signature": "v1,AAAA"}
BAD = [
    "webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "webhook-anything", "Host", "content-length",
    "Transfer-Encoding",
    "Content-Type", "content-encoding", "Connection", "User-Agent", "Accept-Encoding", "Expect", "TE", "Trailer",
    "Upgrade",
    "Proxy-Authorization", "Keep-Alive", "a b", "a:", "", "ä", "a\r\nHost", "a\n", "x" * 129,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_whk_28_somebody_elses_header_replaces_none_of_ours(name: str) -> None:
    async with server() as receiver:
        sent = await Sender(LOCAL).send(receiver.url, OURS, BODY, {name: "evil"})
        assert (sent.status, (sent.error or "")[:8], receiver.connections) == (None, "refused:", 0)
    with pytest.raises(ConfigurationError):
        check_headers({name: "evil"})


@pytest.mark.parametrize(
    "value", ["a\r\nHost: evil", "a\n", "\ra", "a\x00", "é", "", " a", "a ", "a\x7f", "\u2028", 7, None]
)
async def test_whk_28_no_value_breaks_a_line(value: Any) -> None:
    async with server() as receiver:
        for ours, extra in ((OURS, {"x-a": value}), ({**OURS, "webhook-id": value}, None)):
            if isinstance(value, str) or extra:
                sent = await Sender(LOCAL).send(receiver.url, ours, BODY, extra)
                assert (sent.error or "").startswith("refused: ")
        assert receiver.connections == 0


def test_whk_28_what_may_be_added() -> None:
    assert check_headers({"X-A": "b c\td", "Authorization": "Bearer x"}) == {
        "x-a": "b c\td",
        "authorization": "Bearer x",
    }
    with pytest.raises(ConfigurationError, match="twice"):
        check_headers({"X-A": "1", "x-a": "2"})
    with pytest.raises(ConfigurationError, match="8192"):
        check_headers({f"x-{n}": "a" * 1000 for n in range(9)})


@pytest.mark.parametrize(
    ("answer", "granted"),
    [
        ("200 OK\r\nWebHook-Allowed-Origin: jobs.example.com\r\nWebHook-Allowed-Rate: 120", True),
        ("204 OK\r\nwebhook-allowed-origin: JOBS.example.com ", True),
        ("200 OK\r\nWebHook-Allowed-Origin: *", True),
        ("200 OK", False),
        ("200 OK\r\nWebHook-Allowed-Origin: other.example.com", False),
        ("200 OK\r\nWebHook-Allowed-Origin: ", False),
        ("405 No\r\nAllow: POST\r\nWebHook-Allowed-Origin: *", False),
        ("302 Found\r\nLocation: /\r\nWebHook-Allowed-Origin: *", False),
        ("500 No\r\nWebHook-Allowed-Origin: *", False),
    ],
)
async def test_whk_27_a_handshake_asks_the_receiver(answer: str, granted: bool) -> None:
    async with server(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode()) as receiver:
        assert await Sender(LOCAL).ask(receiver.url + "hook", "jobs.example.com") is granted
        [request] = receiver.requests
    assert request.line == "OPTIONS /hook HTTP/1.1"
    assert request["webhook-request-origin"] == "jobs.example.com"
    assert (request.body, "webhook-signature" in dict(request.headers)) == (b"", False)


async def test_whk_27_a_handshake_is_guarded_like_a_delivery() -> None:
    async with server(b"HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: *\r\n\r\n") as canary:
        inside = f"https://example.com:{canary.port}/"
        assert not await Sender(Policy(ports=None), resolver=leads_to("127.0.0.1")).ask(inside, "me")
        assert not await Sender().ask(canary.url, "me")
        assert not await Sender(LOCAL).ask(canary.url, "me\r\nHost: x")
        assert canary.connections == 0
