"""One request to somebody else's server, on real sockets: what goes out, what is believed, and when it ends."""

import asyncio
import gc
import gzip
import json
import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from offpath import __version__
from offpath.errors import ConfigurationError
from offpath.webhooks.guard import Blocked, Policy
from offpath.webhooks.headers import FIXED
from offpath.webhooks.policy import next_attempt
from offpath.webhooks.sender import MOST_READ, Sender, _Line
from offpath.webhooks.signing import new_secret, signatures
from tests.webhooks.wire import OK, leads_to, server

LOCAL = Policy.development()
BODY = '{"type":"a","timestamp":"t","data":{"é":1.0,  "b":[]}}'.encode()
OURS = {"webhook-id": "msg_1", "webhook-timestamp": "1000", "webhook-signature": "v1,AAAA"}


async def test_whk_01_whk_02_what_is_signed_is_what_arrives() -> None:
    secret = new_secret()
    headers = {**OURS, "webhook-signature": signatures([secret], "msg_1", 1000, BODY)}
    async with server() as receiver:
        sent = await Sender(LOCAL).send(receiver.url + "hooks//a?b=%2F", headers, BODY)
        [request] = receiver.requests
    assert (sent.status, sent.error, sent.latency > 0) == (204, None, True)
    assert request.line == "POST /hooks//a?b=%2F HTTP/1.1"
    assert request.body == BODY
    assert {name: request[name] for name in OURS} == headers
    assert request["content-type"] == "application/json"
    assert request["content-length"] == str(len(BODY))
    assert request["user-agent"] == f"offpath/{__version__}"
    assert request["host"] == f"127.0.0.1:{receiver.port}"
    assert len(request.headers) == len({name for name, _ in request.headers}) == len(OURS) + len(FIXED) + 3


@pytest.mark.parametrize("status", [200, 201, 299, 301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
async def test_whk_09_the_status_is_told_and_nothing_is_followed(status: int) -> None:
    async with server() as other:
        answer = f"HTTP/1.1 {status} X\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n".encode()
        async with server(answer) as receiver:
            sent = await Sender(LOCAL).send(receiver.url, OURS, BODY)
            assert (sent.status, sent.error, len(receiver.requests)) == (status, None, 1)
        assert other.connections == 0


async def test_whk_09_a_redirect_to_itself_is_one_request() -> None:
    async with server(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n") as receiver:
        sent = await Sender(LOCAL).send(receiver.url, OURS, BODY)
        assert (sent.status, receiver.connections) == (302, 1)
        assert next_attempt(1, sent, 0, 0.5).kind == "give_up"


@pytest.mark.parametrize(("said", "low", "high"), [("120", 120, 120), ("Thu, 01 Jan 2099 00:00:00 GMT", 1e9, 1e10)])
async def test_whk_11_retry_after_is_read_in_both_forms(said: str, low: float, high: float) -> None:
    answer = f"HTTP/1.1 429 Slow\r\nRetry-After: {said}\r\nContent-Length: 0\r\n\r\n".encode()
    async with server(answer) as receiver:
        sent = await Sender(LOCAL).send(receiver.url, OURS, BODY)
    assert sent.retry_after is not None
    assert low <= sent.retry_after <= high


@pytest.fixture
def unheard() -> Any:
    """A port whose queue of connections is full: nobody accepts, and another connection is never made."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        held = [socket.socket() for _ in range(3)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for one in held:
            one.close()


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """A tarpit: always a little more, so that no time-out between two reads ever passes."""
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)  # its pace; nobody waits for it


async def drip_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-A: ")
    await drip(writer, b"a")


async def drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n")
    await drip(writer, b"a")


async def drip_continue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"HTTP/1.1 102 Processing\r\n\r\n")


@pytest.mark.parametrize("answer", [drip_headers, drip_body, drip_continue])
async def test_whk_14_a_tarpit_is_left_at_the_deadline(answer: Any) -> None:
    async with server(answer) as receiver:
        sent = await Sender(LOCAL, timeout=2.0 if answer is drip_body else 0.5).send(receiver.url, OURS, BODY)
        assert (sent.error or "").startswith("timeout: ")
        assert sent.status == (500 if answer is drip_body else None)
        await receiver.gone.wait()  # the line is closed, too


async def test_whk_14_the_deadline_covers_the_look_up() -> None:
    async def silent(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    sent = await Sender(LOCAL, timeout=0.1, resolver=silent).send("http://example.com/", OURS, BODY)
    assert sent[0::2] == (None, "timeout: not answered in full within 0.1 s", "")


async def test_whk_14_the_deadline_covers_the_connection(unheard: int) -> None:
    sent = await Sender(LOCAL, timeout=0.1).send(f"http://127.0.0.1:{unheard}/", OURS, BODY)
    assert (sent.error or "").startswith("timeout: ")


@pytest.mark.parametrize(("scheme", "size"), [("https", 2), ("http", 20_000_000)])
async def test_whk_14_the_deadline_covers_tls_and_sending(scheme: str, size: int) -> None:
    """A server that accepts and then neither reads nor says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/"
        sent = await Sender(LOCAL, timeout=0.2).send(url, OURS, b"x" * size)
        gc.collect()  # a socket left open would be warned of here
        assert (sent.error or "").startswith("timeout: ")


async def test_whk_14_one_deadline_for_all_of_them_together() -> None:
    """Each phase is quick enough for itself: a look-up, and four addresses of which none answers."""
    begun: list[str] = []

    async def slow(host: str, port: int) -> Sequence[str]:
        begun.append(host)
        await asyncio.sleep(0.3)  # it belongs to what is timed
        return ["127.0.0.1"]

    latencies: list[float] = []
    async with server(drip_headers) as receiver:
        sender = Sender(LOCAL, timeout=0.4, resolver=slow)
        while len(latencies) < 20:  # a machine that was held up is asked again
            begun.clear()
            sent = await sender.send(f"http://example.com:{receiver.port}/", OURS, BODY)
            assert ((sent.error or "")[:8], begun) == ("timeout:", ["example.com"])
            latencies.append(sent.latency)
            if sent.latency < 0.6:
                break
    assert latencies[-1] < 0.6, f"never the sum of a deadline for each: {latencies}"


@pytest.mark.parametrize("bad", [0, -1, 61, float("nan"), "15", None, True])
def test_whk_14_a_deadline_is_a_number_of_seconds(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        Sender(LOCAL, timeout=bad)
    assert Sender().timeout == 15


async def test_whk_15_an_endless_body_is_read_to_16_kib() -> None:
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            written += 4096
            await writer.drain()

    async with server(endless) as receiver:
        sent = await Sender(LOCAL).send(receiver.url, OURS, BODY)
        await receiver.gone.wait()
    assert (sent.status, sent.error, sent.snippet) == (200, None, "x" * 1024)
    assert MOST_READ == 16 * 1024
    assert written < 64 * 1024 * 1024  # what the buffers between us took, and no more


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: " + b"a" * 1000 + b"\r\n")
        await writer.drain()


async def test_whk_15_endless_headers_are_refused() -> None:
    async with server(endless_headers) as receiver:
        sent = await Sender(LOCAL).send(receiver.url, OURS, BODY)
        await receiver.gone.wait()
    assert sent.error == "protocol: the answer is not valid HTTP"


async def test_whk_15_nothing_is_decompressed() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    head = f"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with server(head.encode() + bomb) as receiver:
        sent = await Sender(LOCAL).send(receiver.url, OURS, BODY)
        assert receiver.requests[0]["accept-encoding"] == "identity"
    assert (sent.status, sent.snippet) == (500, "")


async def test_whk_15_an_echo_brings_no_secret_into_the_log() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = dict(receiver.requests[0].headers)
        text = json.dumps(found).replace("/", "\\/") + f"\r\n{found}\x00 {secret} {json.dumps(secret)}"
        writer.write(f"HTTP/1.1 500 No\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        await writer.drain()

    secret = "whsec_" + "ab/+" * 8
    headers = {**OURS, "webhook-signature": signatures([secret, secret], "msg_1", 1000, BODY)}
    extra = {"Authorization": "Bearer abc/def+123=", "X-Api-Key": 'key"with/all'}
    async with server(echo) as receiver:
        sent = await Sender(LOCAL).send(receiver.url, headers, BODY, extra)
        assert receiver.requests[0]["x-api-key"] == 'key"with/all'
    assert 0 < len(sent.snippet) <= 1024
    for part in ("ab/", "ab\\/", "abc/", "abc\\/", "with", *(one[3:9] for one in headers["webhook-signature"].split())):
        assert part not in sent.snippet
    assert sent.snippet.count("[cut]") + sent.snippet.count("[redacted]") >= 6
    assert sent.snippet.isprintable()


async def test_whk_15_a_snippet_is_at_most_1_kib_of_text() -> None:
    text = ("ü" * 3000).encode() + b"\xff"
    async with server(b"HTTP/1.1 400 No\r\nConnection: close\r\n\r\n" + text) as receiver:
        sent = await Sender(LOCAL).send(receiver.url, OURS, BODY)
    assert sent.snippet == "ü" * 512


ASKED = [
    ("HTTP_PROXY", "http://127.0.0.1:{}"), ("http_proxy", "http://127.0.0.1:{}"), ("HTTPS_PROXY",
    "http://127.0.0.1:{}"),
    ("ALL_PROXY", "socks5://127.0.0.1:{}"), ("all_proxy", "http://127.0.0.1:{}"),
]  # fmt: skip


async def test_whk_26_proxies_netrc_and_cookies_are_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with server() as proxy, server(answer) as receiver:
        for name, value in ASKED:
            monkeypatch.setenv(name, value.format(proxy.port))
        sender = Sender(LOCAL)
        for _ in range(2):
            assert (await sender.send(receiver.url, OURS, BODY)).status == 200
        assert proxy.connections == 0
        assert receiver.connections == 2  # each attempt connects anew, to what was judged anew
        for request in receiver.requests:
            assert not {"authorization", "cookie", "proxy-authorization"} & {name for name, _ in request.headers}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.6 secret banner\r\n\r\n", "protocol"),
        (b"", "protocol"),
        (b"HTTP/1.1 abc\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "protocol"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nshort", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
        (b"\x15\x03\x01\x00\x02\x02", "protocol"),
    ],
)
async def test_whk_15_what_an_inner_service_says_is_not_repeated(answer: bytes, kind: str) -> None:
    async with server(answer) as receiver:
        sent = await Sender(LOCAL).send(receiver.url, OURS, BODY)
    assert (sent.kind, "SSH" in str(sent), "banner" in str(sent)) == (kind, False, False)


async def unknown(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_whk_09_nobody_there() -> None:
    with socket.socket() as deaf:  # has the port, and does not listen
        deaf.bind(("127.0.0.1", 0))
        sent = await Sender(LOCAL).send(f"http://127.0.0.1:{deaf.getsockname()[1]}/", OURS, BODY)
    assert (sent.status, sent.error) == (None, "connect: nobody listens there")
    for resolver in (leads_to(), unknown):
        sent = await Sender(LOCAL, resolver=resolver).send("http://example.com/", OURS, BODY)
        assert (sent.status, sent.error) == (None, "dns: the name has no address")
    sent = await Sender().send("http://example.com/", OURS, BODY)
    assert (sent.status, sent.error) == (None, "refused: the URL is not https")


async def test_whk_24_the_next_address_is_tried_when_one_does_not_answer(unheard: int) -> None:
    async with server(OK, host="127.0.0.2", port=unheard) as receiver:
        sender = Sender(LOCAL, timeout=2.4, resolver=leads_to("127.0.0.3", "127.0.0.1", "127.0.0.2"))
        sent = await sender.send(f"http://example.com:{unheard}/", OURS, BODY)
        assert (sent.status, receiver.requests[0]["host"]) == (204, f"example.com:{unheard}")


async def test_whk_24_the_other_end_is_compared_with_what_was_judged() -> None:
    closed = []

    class Stream:
        """A connection that ended up somewhere else; a kernel that does so cannot be had for a test."""

        def get_extra_info(self, name: str) -> Any:
            return {"server_addr": ("127.0.0.1", 443)}.get(name)

        async def aclose(self) -> None:
            closed.append(self)

    line = _Line(ip_address("1.1.1.1"))
    await line.trace("connection.connect_tcp.started", {})
    with pytest.raises(Blocked, match="another address"):
        await line.trace("connection.connect_tcp.complete", {"return_value": Stream()})
    await line.close()
    assert len(closed) == 1
    await _Line(ip_address("127.0.0.1")).trace("connection.connect_tcp.complete", {"return_value": Stream()})


def test_whk_23_a_context_that_verifies_nothing_is_refused() -> None:
    lax = ssl.create_default_context()
    lax.check_hostname = False
    with pytest.raises(ConfigurationError, match="verifies"):
        Sender(tls=lax)
    lax.verify_mode = ssl.CERT_NONE
    with pytest.raises(ConfigurationError, match="verifies"):
        Sender(tls=lax)
