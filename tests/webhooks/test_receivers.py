"""Receivers written by others believe what our sender sends, byte for byte as it came over the wire."""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from offpath.webhooks import verify
from offpath.webhooks.body import payload
from offpath.webhooks.guard import Policy
from offpath.webhooks.policy import Sent
from offpath.webhooks.sender import Sender
from offpath.webhooks.signing import new_key_pair, new_secret, signatures
from tests.webhooks.wire import Request, server

RECEIVER = Path(__file__).with_name("receiver.mjs")
DATA = [
    "{}",
    '{"id":"019","result":{"n":1.0,"big":12345678901234567890,"text":"é \\u2028 \\ud83d\\ude00 </script>"}}',
    '{"text":"ü😀\u2028","spaces" :  [ 1 ,2 ]}',
    json.dumps("x" * 100_000),
]


async def deliver(
    url: str, secrets: Sequence[str], body: bytes, now: int | None = None, sent: bytes | None = None
) -> Sent:
    """As a delivery does it; `sent`: other bytes than were signed."""
    at = int(time.time()) if now is None else now
    headers = {
        "webhook-id": "msg_2mZ",
        "webhook-timestamp": str(at),
        "webhook-signature": signatures(secrets, "msg_2mZ", at, body),
    }
    return await Sender(Policy.development()).send(url, headers, body if sent is None else sent)


async def received(secrets: Sequence[str], body: bytes, now: int | None = None) -> Request:
    async with server() as receiver:
        assert (await deliver(receiver.url, secrets, body, now)).status == 204
        return receiver.requests[0]


@pytest.mark.parametrize("data", DATA)
async def test_whk_02_pypi_standardwebhooks_believes_us(data: str) -> None:
    secret = new_secret()
    request = await received([secret], payload("operation.succeeded", 1_700_000_000_000_000, data))
    event = standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))
    assert event == {
        "type": "operation.succeeded",
        "timestamp": "2023-11-14T22:13:20.000000Z",
        "data": json.loads(data),
    }
    assert verify(request.body, dict(request.headers), secret) == event


async def test_whk_06_pypi_standardwebhooks_believes_both_secrets_in_a_rotation() -> None:
    old, new = new_secret(), new_secret()
    request = await received([new, old, new_key_pair()[0]], payload("a", 0, "{}"))
    for secret in (old, new):
        assert standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))
    for secret in (new_secret(),):
        with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
            standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))


async def test_whk_02_pypi_standardwebhooks_and_we_doubt_the_same() -> None:
    secret, body = new_secret(), payload("a", 0, "{}")
    stale = await received([secret], body, int(time.time()) - 400)
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(stale.body, dict(stale.headers))
    request = await received([secret], body)
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(request.body + b" ", dict(request.headers))


def test_whk_02_we_believe_what_pypi_standardwebhooks_signs() -> None:
    import datetime

    secret, body, now = new_secret(), '{"type":"é"}', datetime.datetime.now(datetime.UTC)
    signature = standardwebhooks.Webhook(secret).sign("msg_1", now, body)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(now.timestamp())), "Webhook-Signature": signature}
    assert verify(body.encode(), headers, secret) == {"type": "é"}


@pytest.mark.parametrize("data", DATA[:2])
async def test_whk_04_v1a_is_verified_by_cryptography(data: str) -> None:
    private, public = new_key_pair()
    request = await received([new_secret(), private], payload("a", 0, data))
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    _, _, text = request["webhook-signature"].split()[1].partition("v1a,")
    signed = f"{request['webhook-id']}.{request['webhook-timestamp']}.".encode() + request.body
    key.verify(base64.b64decode(text), signed)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(text), signed + b" ")
    assert verify(request.body, dict(request.headers), public)["data"] == json.loads(data)


async def test_whk_02_npm_standardwebhooks_believes_us(node_modules: Path) -> None:
    old, new, body = new_secret(), new_secret(), payload("operation.succeeded", 0, DATA[1])
    node = await asyncio.create_subprocess_exec(
        "node", str(RECEIVER), str(node_modules), old, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert node.stdin is not None
    assert node.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(await node.stdout.readline())}/"
        for data in DATA:
            assert (await deliver(url, [old], payload("a.b", 0, data))).status == 204
        now = int(time.time())
        rows: list[tuple[Any, int]] = [
            (deliver(url, [new, old, new_key_pair()[0]], body), 204),
            (deliver(url, [new], body), 400),
            (deliver(url, [old], body, now - 400), 400),
            (deliver(url, [old], body, now + 400), 400),
            (deliver(url, [old], body, sent=body + b" "), 400),
        ]
        for sending, status in rows:
            assert (await sending).status == status
    finally:
        node.stdin.close()
        await node.wait()
