"""Brokers' URLs: what they mean, and that no password is in what is said of a wrong one."""

import pytest

from offpath.brokers.address import Address, bare, known, parse
from offpath.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("redis://h/2", Address("redis", False, "h", "h", None, None, None, "/2", {})),
        ("valkeys://u:p%40@h:1?a=1", Address("redis", True, "h:1", "h", 1, "u", "p@", "", {"a": "1"})),
        (
            "amqp://guest:guest@h:5672/%2F",
            Address("rabbitmq", False, "h:5672", "h", 5672, "guest", "guest", "/%2F", {}),
        ),
        ("kafka://a:9092,b:9092", Address("kafka", False, "a:9092,b:9092", "a", None, None, None, "", {})),
        ("sqs://eu-central-1", Address("sqs", False, "eu-central-1", "eu-central-1", None, None, None, "", {})),
        ("https://token@h/events", Address("http", True, "h", "h", None, "token", None, "/events", {})),
    ],
)
def test_each_kind_of_url(url: str, meant: Address) -> None:
    assert parse(url) == meant
    assert "p@" not in repr(parse(url))


@pytest.mark.parametrize(
    "url",
    [
        "redis:/user:secret@host",
        "redis:user:secret@host",
        "user:secret@host",
        "redis://user:secret@host:port",
        "kafkas://host#x?ssl.key.password=secret",
        "amqps://host?password=secret#x",
        "rediss//user:secret@host",
        "redis://us@er:sec@secret@",
    ],
)
def test_what_is_wrong_is_said_without_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        parse(url)
    assert "secret" not in str(wrong.value)
    assert "secret" not in bare(url)


def test_an_option_that_is_given_twice_is_not_silently_the_last_one() -> None:
    with pytest.raises(ConfigurationError, match="says 'timeout' twice"):
        parse("redis://:secret@h?timeout=1&maxlen=5&timeout=2")


def test_an_option_that_nobody_knows() -> None:
    with pytest.raises(ConfigurationError, match="redis URLs know wait, not 'hurry'"):
        known(parse("redis://h?hurry=1"), "wait")
