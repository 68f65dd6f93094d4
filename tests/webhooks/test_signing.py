"""Secrets and signatures, against the public vectors, and secrets as they are stored."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from offpath.errors import ConfigurationError
from offpath.webhooks.signing import check_secret, new_key_pair, new_secret, public_key, sign, signatures
from offpath.webhooks.vault import Vault
from offpath.webhooks.verify import verify


@pytest.fixture
def vectors(conformance: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((conformance / "standard-webhooks" / "vectors.json").read_text())
    return loaded


def test_whk_02_whk_04_the_public_vectors_are_signed_alike(vectors: dict[str, Any]) -> None:
    assert {case["name"].split()[0] for case in vectors["sign"]} == {"v1", "v1a"}
    for case in vectors["sign"]:
        made = sign(case["secret"], case["id"], case["timestamp"], case["body"].encode())
        assert made == case["signature"], case["name"]
        if "public_key" in case:
            assert public_key(case["secret"]) == case["public_key"]


def test_whk_03_a_new_secret_is_24_to_64_random_bytes() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        prefix, data = secret[:6], base64.b64decode(secret[6:], validate=True)
        assert (prefix, 24 <= len(data) <= 64) == ("whsec_", True)
        assert check_secret(secret) == secret


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(24)).decode() + "\n",
        "whsec_***",
        "whsec_ÄÖÜ=",
        "whsec",
        base64.b64encode(bytes(32)).decode(),
        "whpk_" + base64.b64encode(bytes(32)).decode(),
        "whsk_" + base64.b64encode(bytes(32)).decode(),
        "whsk_" + base64.b64encode(bytes(64)).decode(),  # the halves do not belong together
        None,
        b"whsec_AAAA",
        7,
    ],
)
def test_whk_03_what_is_no_secret_is_refused_and_not_repeated(secret: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_secret(secret)
    assert str(secret)[6:] not in str(caught.value) or len(str(secret)) < 8
    if isinstance(secret, str):
        with pytest.raises(ConfigurationError):
            sign(secret, "id", 1, b"")


def test_whk_03_secrets_are_sealed_for_the_database() -> None:
    old, new = Vault("an old key of some length"), Vault(b"a new key of some length")
    secret = new_secret()
    sealed = old.seal(secret)
    assert secret not in sealed
    assert secret.removeprefix("whsec_") not in base64.urlsafe_b64decode(sealed).decode("latin-1")
    assert old.seal(secret) != sealed
    assert old.open(sealed) == secret
    both = Vault([b"a new key of some length", "an old key of some length"])
    assert both.open(sealed) == secret
    assert new.open(both.seal(secret)) == secret
    with pytest.raises(ConfigurationError) as caught:
        new.open(sealed)
    assert secret not in str(caught.value)
    for bad in (sealed[:-4] + "AAA=", "", "é", "not sealed"):
        with pytest.raises(ConfigurationError):
            old.open(bad)


@pytest.mark.parametrize("key", ["", "fifteen bytes..", b"short", [], ["long enough for a key", "short"]])
def test_whk_03_a_vault_refuses_a_weak_key(key: Any) -> None:
    with pytest.raises(ConfigurationError):
        Vault(key)


def test_whk_04_a_key_pair_signs_what_anybody_can_verify() -> None:
    private, public = new_key_pair()
    assert (private[:5], public[:5], check_secret(private)) == ("whsk_", "whpk_", private)
    body = b'{"type":"a"}'
    headers = {"webhook-id": "m", "webhook-timestamp": "100", "webhook-signature": sign(private, "m", 100, body)}
    assert headers["webhook-signature"].startswith("v1a,")
    assert verify(body, headers, public, now=100) == {"type": "a"}


@pytest.mark.parametrize("id", ["", "a.b", "a b", "a\n", "ä", "a" * 257])
def test_whk_05_an_id_that_would_blur_what_is_signed_is_refused(id: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook-id"):
        sign(new_secret(), id, 1, b"")


@pytest.mark.parametrize("timestamp", [-1, 1.5, True, "1", None])
def test_whk_01_a_timestamp_is_whole_seconds(timestamp: Any) -> None:
    with pytest.raises(ConfigurationError, match="timestamp"):
        sign(new_secret(), "m", timestamp, b"")


def test_whk_06_one_signature_for_each_secret_newest_first() -> None:
    new, old, key = new_secret(), new_secret(), new_key_pair()[0]
    made = signatures([new, old, key], "m", 1, b"{}")
    assert made.split(" ") == [sign(new, "m", 1, b"{}"), sign(old, "m", 1, b"{}"), sign(key, "m", 1, b"{}")]
    for none in ([], "", new):
        with pytest.raises(ConfigurationError):
            signatures(none, "m", 1, b"{}")
