"""TLS with certificates of our own: the name of the URL is what counts, wherever the connection goes."""

import ssl
from pathlib import Path

import pytest

from offpath.webhooks.guard import Policy
from offpath.webhooks.sender import Sender
from tests.webhooks.wire import certificate, leads_to, server

INSIDE = Policy(allow_private=True, ports=None)
OURS = {"webhook-id": "msg_1"}


def trusting(file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(file))


async def test_whk_24_sni_and_host_are_the_name_and_the_socket_goes_to_the_judged_address(tmp_path: Path) -> None:
    tls, file = certificate(tmp_path, "receiver.example")
    async with server(tls=tls) as receiver:
        sender = Sender(INSIDE, tls=trusting(file), resolver=leads_to("127.0.0.1"))
        sent = await sender.send(f"https://Receiver.example.:{receiver.port}/x", OURS, b"{}")
        assert (sent.status, sent.error) == (204, None)
        assert receiver.names == ["receiver.example"]
        assert receiver.requests[0]["host"] == f"receiver.example:{receiver.port}"


async def test_whk_24_an_address_in_the_url_is_verified_as_an_address(tmp_path: Path) -> None:
    tls, file = certificate(tmp_path, "127.0.0.1")
    async with server(tls=tls) as receiver:
        sent = await Sender(INSIDE, tls=trusting(file)).send(f"https://127.0.0.1:{receiver.port}/", OURS, b"{}")
        assert (sent.status, sent.error) == (204, None)


@pytest.mark.parametrize(
    ("name", "trusted", "why"),
    [
        ("other.example", True, "tls: the certificate is not valid (Hostname mismatch"),  # right chain, wrong name
        ("receiver.example", False, "tls: the certificate is not valid (self-signed certificate)"),
        ("127.0.0.1", True, "tls: the certificate is not valid (Hostname mismatch"),  # the address is not the name
    ],
)
async def test_whk_23_a_certificate_that_proves_nothing_gets_nothing(
    name: str, trusted: bool, why: str, tmp_path: Path
) -> None:
    tls, file = certificate(tmp_path, name)
    async with server(tls=tls) as receiver:
        sender = Sender(INSIDE, tls=trusting(file) if trusted else None, resolver=leads_to("127.0.0.1"))
        sent = await sender.send(f"https://receiver.example:{receiver.port}/", OURS, b"{}")
        assert sent.status is None
        assert (sent.error or "").replace("self signed", "self-signed").startswith(why)
        assert receiver.requests == []


async def test_whk_23_plain_http_behind_https_gets_nothing() -> None:
    async with server(greeting=b"HTTP/1.1 200 OK\r\n\r\n") as receiver:
        sent = await Sender(INSIDE).send(f"https://127.0.0.1:{receiver.port}/", OURS, b"{}")
        assert (sent.status, sent.kind, receiver.requests) == (None, "tls", [])


async def test_whk_23_old_tls_is_refused(tmp_path: Path) -> None:
    tls, file = certificate(tmp_path, "receiver.example")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    async with server(tls=tls) as receiver:
        sender = Sender(INSIDE, tls=trusting(file), resolver=leads_to("127.0.0.1"))
        sent = await sender.send(f"https://receiver.example:{receiver.port}/", OURS, b"{}")
        assert (sent.status, sent.kind) == (None, "tls")
