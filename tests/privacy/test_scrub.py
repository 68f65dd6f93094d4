"""What is cut out of texts that leave (reliability A27): credentials by their look, secrets by their value."""

import json
import logging
import sys
import time
from typing import Any

import pytest

from offpath.core import redact
from offpath.core.redact import Scrubber
from offpath.errors import ConfigurationError
from offpath.privacy import LogFilter, Secret, scrub
from offpath.privacy.known import forget, learn, scrub_line

LEAKS = [
    "could not reach postgresql://app:canary@db.example/shop",
    "redis://:canary@cache:6379/0 refused",
    "https://canary@hooks.example/x",
    "Authorization: Bearer canary.canary",
    '{"authorization": "Basic Y2FuYXJ5canary"}',
    "sent with bearer canary123",
    "signed by whsec_canaryMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "key whpk_canary12345",
    "token eyJhbGciOiJIUzI1NiJ9canary.eyJzdWIiOiIxIn0.c2lncanary",
    "aws AKIACANARYCANARYCANA",
    "password=canary&x=1",
    "{'api_key': 'canary', 'x': 1}",
    "client_secret: canary",
    'says {\\"access_token\\": \\"canary\\"}',
    "-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128\n\ncanary\ncanary\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\ncanary and the end is cut",
    "Set-Cookie: session=canary; Path=/",
]


@pytest.mark.parametrize("text", LEAKS)
def test_what_looks_like_a_credential_is_cut(text: str) -> None:
    kept = redact.scrubbed(text)
    assert "canary" not in kept.lower()
    assert redact.CUT in kept
    assert redact.scrubbed(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "no such host db.example",
        "https://example.org/a?b=c",
        "token",
        "KeyError: 'secretary'",
        "at a@example.org",
        "5 < 6",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redact.scrubbed(text) == text


HOSTILE = [
    "://" + "a" * 200_000,
    "://a:" * 50_000,
    "-----BEGIN PRIVATE KEY-----" * 9_000,
    "-----BEGIN RSA PRIVATE KEY-----\n" + "-" * 200_000,
    "eyJ" * 80_000,
    "eyJaaaaaa-" * 25_000,
    "eyJaaaaaa." * 25_000,
    "bearer " * 35_000,
    "password" * 30_000,
    "password=" * 28_000,
    "token  :  " * 25_000,
    "authorization:" * 18_000,
    '\\"' * 120_000,
    "secret_" * 36_000,
    "wh" * 120_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:16] for text in HOSTILE])
def test_no_text_takes_more_than_linear_time(text: str) -> None:
    """A quarter of it takes about a quarter of the time: measured against itself, since the machine may be busy."""

    def took(part: str) -> float:
        best = 1e9
        for _ in range(3):
            begin = time.process_time()
            redact.scrubbed(part)
            best = min(best, time.process_time() - begin)
        return best

    assert took(text) < 12 * took(text[: len(text) // 4]) + 0.05


def test_a_known_value_is_cut_however_it_is_spelt_and_only_while_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    value = 'can"ary\\ü\n'
    attempt = "job", 1
    learn(attempt, {"card": Secret.of(value), "raw": [Secret.of(b"\x00canary-raw")], "pin": Secret.of("9876")})
    try:
        texts = [value, json.dumps(value), repr(value), json.dumps(value, ensure_ascii=False), repr(b"\x00canary-raw")]
        assert not [text for text in texts if "ary" in scrub(f"error: {text}")]
        assert scrub("pin 9876, 198765") == f"pin {redact.CUT}, 198765"
        assert "ary" not in scrub_line(json.dumps({"message": f"x {value}"}), attempt)
        assert "ary" in scrub_line(json.dumps({"message": f"x {value}"}), ("another", 1))
    finally:
        forget(attempt)
    monkeypatch.setattr("offpath.privacy.known.MOST", 0)
    learn("another", Secret.of("another"))
    forget("another")
    assert scrub("pin 9876") == "pin 9876"


def test_a_line_stays_json_and_a_number_that_is_a_secret_goes() -> None:
    attempt = "job", 2
    learn(attempt, Secret.of(31337_424242))
    try:
        line = '{"current":1,"message":"31337424242","total":31337424242,"x":"https://u:p@h/"}'
        said = json.loads(scrub_line(line, attempt))
    finally:
        forget(attempt)
    assert said == {"current": 1, "message": redact.CUT, "total": redact.CUT, "x": f"https://{redact.CUT}@h/"}


def test_an_applications_own_patterns_are_checked_and_used() -> None:
    assert Scrubber([r"acct-\d+"]).text("of acct-123") == f"of {redact.CUT}"
    for wrong in ("(", "a*", ""):
        with pytest.raises(ConfigurationError):
            redact.compiled(wrong)


def test_the_filter_takes_message_traceback_and_extras() -> None:
    try:
        raise ValueError("postgresql://u:canary@h/db")
    except ValueError:
        record = logging.LogRecord("shop", 40, __file__, 1, "token=%s", ("canary",), sys.exc_info())
    record.body = "password=canary"
    assert LogFilter().filter(record)
    assert "canary" not in logging.Formatter("%(message)s %(body)s").format(record)


class Odd:
    def __init__(self, said: str) -> None:
        self.said = said

    def __str__(self) -> str:
        return self.said


def test_an_extra_keeps_its_shape_and_loses_what_is_secret() -> None:
    card, pin = "4000-1234-5678", 918273645
    around: dict[str, Any] = {"card": card}
    around["again"] = around
    given: dict[str, Any] = {
        "flat": f"of {card}",
        "listed": [card, 1, None],
        "paired": ({card}, 2.5),
        "mapped": {card: {"pin": pin, "n": 7}},
        "thing": Odd(card),
        "pin": pin,
        "raw": card.encode(),
        "password": "correct horse",
        "settings": {"api_key": "canary", "retries": 3},
        "around": around,
    }
    plain = {"n": 918273646, "yes": True, "none": None, "list": [1, {"a": (2.5,)}], "odd": object(), "key": "k"}
    record = logging.makeLogRecord({"msg": "x", **given, **plain})
    attempt = "job", 3
    learn(attempt, [Secret.of(card), Secret.of(pin)])
    try:
        assert LogFilter().filter(record)
    finally:
        forget(attempt)
    said = vars(record)
    assert all(said[name] is value for name, value in plain.items())
    assert said["flat"] == f"of {redact.CUT}"
    assert said["listed"] == [redact.CUT, 1, None]
    assert said["paired"] == [[redact.CUT], 2.5]
    assert said["mapped"] == {redact.CUT: {"pin": redact.CUT, "n": 7}}
    assert said["thing"] == said["pin"] == said["password"] == redact.CUT
    assert said["raw"] == f"b'{redact.CUT}'"
    assert said["settings"] == {"api_key": redact.CUT, "retries": 3}
    assert card not in repr(said["around"])


def test_what_cannot_be_shown_does_not_stop_a_record() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("not now")

    broken = Broken()
    record = logging.makeLogRecord({"msg": "x", "thing": broken, "deep": [broken, "token=canary"]})
    assert LogFilter().filter(record)
    assert vars(record)["thing"] is broken
