"""The receiver's side: what is believed, what is not, and what is seen twice."""

import base64
import hmac
import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from offpath.errors import ConfigurationError
from offpath.webhooks import Deduplicator, VerificationError, verify
from offpath.webhooks import policy as policies
from offpath.webhooks.signing import new_key_pair, new_secret, sign, signatures

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
BODY = b'{"type":"a.b","data":{}}'


def headers(
    body: bytes = BODY, at: int = 1000, id: str = "msg_1", secrets: tuple[str, ...] = (SECRET,)
) -> dict[str, str]:
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": signatures(secrets, id, at, body),
    }


def test_whk_07_the_public_vectors(conformance: Path) -> None:
    vectors = json.loads((conformance / "standard-webhooks" / "vectors.json").read_text())
    base = next(case for case in vectors["sign"] if case["name"].startswith("v1 "))
    assert len(vectors["verify"]) >= 15
    for case in vectors["verify"]:
        found = {
            "webhook-id": base["id"],
            "webhook-timestamp": case.get("timestamp_header", str(base["timestamp"])),
            "webhook-signature": case.get("signature", base["signature"]),
        }
        found.pop(case.get("missing", ""), None)
        body = case.get("body", base["body"]).encode()
        secret = case.get("secret", base["secret"])

        now = case.get("now", base["timestamp"])
        if case["ok"]:
            assert verify(body, found, secret, now=now) == json.loads(body), case["name"]
        else:
            with pytest.raises(ConfigurationError if secret == "whsec_" else VerificationError):
                verify(body, found, secret, now=now)


def test_whk_04_whk_07_a_v1a_signature_is_verified_with_the_public_key(conformance: Path) -> None:
    vectors = json.loads((conformance / "standard-webhooks" / "vectors.json").read_text())
    case = next(case for case in vectors["sign"] if case["name"].startswith("v1a "))
    found = {
        "webhook-id": case["id"],
        "webhook-timestamp": str(case["timestamp"]),
        "webhook-signature": f"v1a,AAAA v1a,*** v1a {case['signature']}",
    }
    body = case["body"].encode()
    assert verify(body, found, case["public_key"], now=case["timestamp"]) == json.loads(body)
    with pytest.raises(VerificationError, match="no signature"):
        verify(body + b" ", found, case["public_key"], now=case["timestamp"])
    with pytest.raises(VerificationError, match="no signature"):
        verify(body, found, new_key_pair()[1], now=case["timestamp"])
    with pytest.raises(ConfigurationError, match="whpk_"):
        verify(body, found, case["secret"], now=case["timestamp"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("webhook-id", bad) for bad in ("", " ", "a.b", "a b", "ä", "a" * 300, "a\n", None, b"msg_1", ["msg_1"])],
        *[
            ("webhook-timestamp", bad)
            for bad in ("", "x", "-1", "+1", " 1000", "1000 ", "1e3", "1000.0", "1_0", "1" * 400, "١٠٠٠", "0x3", None)
        ],
        *[
            ("webhook-signature", bad)
            for bad in (
                "", " ", ",", "v1", "v1,", "v1,,", ",v1", "v1,***", "v1,\ud800", "v1,ä", "v1=abc", "v2,abc", "\x00",
                None, " ".join(["v1,AAAA"] * 5000),
            )
        ],
    ],
)  # fmt: skip
def test_whk_07_every_malformed_header_is_one_exception(name: str, value: Any) -> None:
    with pytest.raises(VerificationError):
        verify(BODY, {**headers(), name: value}, [SECRET, PUBLIC], now=1000)


@settings(max_examples=40)
@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()), st.binary()
)
def test_whk_07_no_header_or_body_raises_anything_else(found: dict[str, str], body: bytes) -> None:
    with pytest.raises(VerificationError):
        verify(body, found, SECRET, now=1000)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda h: {name.title(): value for name, value in h.items()},
        lambda h: {name.upper(): value for name, value in h.items()},
        Headers,
        lambda h: {**h, "Webhook-Other": "x", "host": "y"},
    ],
)
def test_whk_07_header_names_in_any_case(wrap: Any) -> None:
    found: Mapping[str, str] = wrap(headers())
    assert verify(BODY, found, SECRET, now=1000)["type"] == "a.b"


def test_whk_07_a_header_given_twice_is_malformed() -> None:
    twice = Headers(
        raw=[(name.encode(), value.encode()) for name, value in [*headers().items(), ("webhook-id", "other")]]
    )
    with pytest.raises(VerificationError, match="webhook-id"):
        verify(BODY, twice, SECRET, now=1000)


@pytest.mark.parametrize(("now", "ok"), [(700, True), (699, False), (1300, True), (1301, False), (float("nan"), False)])
def test_whk_07_the_clock_may_differ_by_300_s(now: float, ok: bool) -> None:
    if ok:
        verify(BODY, headers(), SECRET, now=now)
    else:
        with pytest.raises(VerificationError, match="too old or too new"):
            verify(BODY, headers(), SECRET, now=now)


def test_whk_07_the_clock_is_this_machines_by_default() -> None:
    with pytest.raises(VerificationError, match="too old"):
        verify(BODY, headers(at=1000), SECRET)
    with pytest.raises(VerificationError, match="too old"):
        verify(BODY, headers(at=1000), SECRET, now=1011, tolerance=10)


@pytest.mark.parametrize("place", [0, 5, 9])
def test_whk_07_every_signature_is_compared_wherever_the_match_is(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant time: by the comparison of the standard library, and never fewer of them."""
    compared: list[Any] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    found = headers()
    signs = ["v1," + base64.b64encode(bytes([n] * 32)).decode() for n in range(10)]
    signs[place] = found["webhook-signature"]
    verify(BODY, {**found, "webhook-signature": " ".join(signs)}, [SECRET, new_secret()], now=1000)
    assert len(compared) == 20


def test_whk_06_whk_07_any_one_of_several_secrets_matches() -> None:
    old, new = new_secret(), new_secret()
    overlap = headers(secrets=(new, old))
    for mine in (old, new, [old], [old, new], (new_secret(), new)):
        assert verify(BODY, overlap, mine, now=1000)
    with pytest.raises(VerificationError):
        verify(BODY, headers(secrets=(new,)), old, now=1000)


@pytest.mark.parametrize("changed", ["id", "timestamp", "body", "order"])
def test_whk_07_all_that_is_signed_is_covered(changed: str) -> None:
    found, body = headers(), BODY
    if changed == "id":
        found["webhook-id"] = "msg_2"
    elif changed == "timestamp":
        found["webhook-timestamp"] = "1001"
    elif changed == "body":
        body = BODY.replace(b":", b": ")
    else:
        found["webhook-id"], found["webhook-timestamp"] = found["webhook-timestamp"], "1000"
    with pytest.raises(VerificationError, match="no signature"):
        verify(body, found, SECRET, now=1000)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b'{"a":Infinity}', b"[" * 100_000])
def test_whk_07_a_signed_body_that_is_no_json(body: bytes) -> None:
    with pytest.raises(VerificationError, match="JSON"):
        verify(body, headers(body), SECRET, now=1000)


@pytest.mark.parametrize(
    "secrets", ["", "whsec_", [], [""], [SECRET, ""], [None], None, 7, "whpk_AAAA", "whsec_*", [b"x"]]
)
def test_whk_07_a_secret_that_is_none_is_refused_before_anything_is_believed(secrets: Any) -> None:
    with pytest.raises(ConfigurationError):
        verify(BODY, headers(), secrets, now=1000)


def test_whk_07_the_body_is_bytes() -> None:
    body: Any = BODY.decode()
    with pytest.raises(ConfigurationError, match="raw bytes"):
        verify(body, headers(), SECRET, now=1000)
    assert verify(bytearray(BODY), headers(), SECRET, now=1000)  # type: ignore[arg-type]  # works, and is not promised


def test_whk_07_a_receiver_needs_the_standard_library_alone() -> None:
    code = (
        "import sys\n"
        "from offpath.webhooks import Deduplicator, VerificationError, verify\n"
        f"assert verify({BODY!r}, {headers()!r}, {SECRET!r}, now=1000)\n"
        "heavy = {'cryptography', 'httpx2', 'httpcore2', 'idna', 'anyio', 'pydantic', 'starlette'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("httpx2", "from offpath.webhooks import Sender"),
        ("cryptography", "from offpath.webhooks import Vault; Vault('x' * 16)"),
        ("cryptography", "from offpath.webhooks import new_key_pair; new_key_pair()"),
        ("cryptography", f"from offpath.webhooks import verify; verify(b'', {{}}, {PUBLIC!r})"),
        ("idna", "from offpath.webhooks import guard; guard.check_url('https://bücher.example', guard.Policy())"),
    ],
)
def test_whk_07_a_missing_extra_names_the_command(module: str, line: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; {line}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "offpath[webhooks]"' in done.stderr.splitlines()[-1]


def test_whk_08_an_id_is_new_once(tmp_path: Path) -> None:
    seen = Deduplicator(tmp_path / "seen.db")
    assert [seen.first(id, now=0) for id in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]
    seen.close()
    again = Deduplicator(tmp_path / "seen.db")
    assert not again.first("a", now=1)
    again.forget("a")
    assert again.first("a", now=1)
    with pytest.raises(ConfigurationError):
        again.first("")
    again.close()


def test_whk_08_an_id_is_remembered_for_as_long_as_we_try() -> None:
    longest = policies.LONGEST * (len(policies.SCHEDULE) - 1)  # every Retry-After at its cap
    seen = Deduplicator(":memory:")
    assert seen.first("a", now=0)
    assert not seen.first("a", now=longest)
    assert seen.first("a", now=longest * 2)
    seen.close()
    short = Deduplicator(":memory:", span=10)
    assert [short.first("a", now=at) for at in (0, 10, 11)] == [True, False, True]
    short.close()


def test_whk_08_threads_and_connections_agree_on_who_was_first(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    here, there = Deduplicator(path), Deduplicator(path)
    with ThreadPoolExecutor(8) as pool:
        firsts = list(pool.map(lambda n: (here, there)[n % 2].first(f"id {n // 8}", now=0), range(160)))
    assert [sum(firsts[n : n + 8]) for n in range(0, 160, 8)] == [1] * 20
    here.close()
    there.close()


def test_whk_08_in_the_receivers_own_transaction() -> None:
    mine = sqlite3.connect(":memory:")
    seen = Deduplicator(mine)
    mine.commit()
    assert seen.first("a", now=0)
    mine.rollback()  # the work failed, and so it is new again
    assert seen.first("a", now=0)
    mine.commit()
    assert not seen.first("a", now=0)
    seen.close()
    assert mine.execute("select count(*) from webhook_seen").fetchone() == (1,)
    mine.close()


def test_whk_07_a_signature_of_ours_is_not_a_signature_of_another_version() -> None:
    v1 = sign(SECRET, "msg_1", 1000, BODY)
    for other in (v1.replace("v1,", "v1a,"), v1.replace("v1,", "v2,"), v1.replace("v1,", ""), v1.lower()):
        with pytest.raises(VerificationError):
            verify(BODY, {**headers(), "webhook-signature": other}, [SECRET, new_key_pair()[1]], now=1000)
