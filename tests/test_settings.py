"""Settings: code beats environment beats defaults, and everything is checked before anything is opened."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from offpath.core.options import DAY
from offpath.core.policy import Retention
from offpath.errors import ConfigurationError
from offpath.settings import NAMES, Given, Settings, settle


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = settle("sqlite:///a.db", {}, {})
    assert settings == Settings(url="sqlite:///a.db")
    assert (settings.lease, settings.renew, settings.poll) == (15.0, 5.0, 1.0)
    assert (settings.concurrency, settings.threads) == (100, 16)
    assert (settings.drain, settings.cancel_grace, settings.max_body) == (25.0, 5.0, 1 << 20)
    assert (settings.processes, settings.recycle_jobs, settings.recycle_age, settings.recycle_memory) == (
        None, 1_000, 3600.0, None
    )  # fmt: skip
    assert settings.kept() == Retention() == Retention(7 * DAY, None, 30 * DAY)


def test_code_beats_the_environment_which_beats_the_default() -> None:
    environment = {"OFFPATH_DATABASE": "sqlite:///env.db", "OFFPATH_POLL": "0.5", "OFFPATH_THREADS": "3"}
    settings = settle("sqlite:///code.db", {"poll": 2}, environment)
    assert (settings.url, settings.poll, settings.threads) == ("sqlite:///code.db", 2.0, 3)
    assert settle(None, {}, environment).url == "sqlite:///env.db"
    assert settle(None, {}, {}).url == ""


def test_every_setting_has_a_variable() -> None:
    values = {"lease": "60", "renew": "20", "recycle_memory": str(1 << 30), "secret_keys": "k" * 16}
    environment = {f"OFFPATH_{name.upper()}": values.get(name, "7") for name in NAMES}
    settings = settle("x", {}, environment)
    texts = {"schema", "transport", "broker", "topic", "group", "source"}
    assert {getattr(settings, name) for name in texts} == {"7"}
    assert (settings.secret_keys, settings.redact) == (("k" * 16,), ("7",))
    for name in NAMES - {"url", "secret_keys", "redact", *texts}:
        assert getattr(settings, name) == float(values.get(name, "7")), name


def test_durations_may_be_timedeltas_and_renewing_follows_the_lease() -> None:
    settings = settle("x", {"lease": timedelta(minutes=1), "retention": timedelta(days=1), "retention_failed": 60})
    assert (settings.lease, settings.renew, settings.retention) == (60.0, 20.0, 86_400.0)
    assert settings.kept() == Retention(DAY, 60_000_000, 30 * DAY)
    assert settle("x", {"retention": None}, {}).kept().finished is None
    assert settle("x", {}, {"OFFPATH_RETENTION": "none"}).kept().finished is None
    sized = settle("x", {"processes": None}, {"OFFPATH_RECYCLE_MEMORY": "1GiB"})
    assert (sized.processes, sized.recycle_memory) == (None, 1 << 30)
    assert settle("x", {}, {"OFFPATH_PROCESSES": "none"}).processes is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"leese": 3}, "no setting 'leese'"),
        ({"url": "x"}, "no setting 'url'"),
        ({"lease": 0}, "lease"),
        ({"lease": "15"}, "lease"),
        ({"lease": float("nan")}, "lease"),
        ({"renew": 8}, "half of the lease"),
        ({"poll": -1}, "poll"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"threads": True}, "threads"),
        ({"retention": -1}, "retention"),
        ({"max_body": 0}, "max_body"),
        ({"processes": 0}, "processes"),
        ({"recycle_jobs": 0}, "recycle_jobs"),
        ({"recycle_age": 0}, "recycle_age"),
        ({"recycle_memory": "much"}, "recycle_memory"),
        ({"recycle_memory": "1MiB"}, "recycle_memory"),
        ({"schema": ""}, "schema"),
        ({"schema": "s" * 64}, "schema"),
        ({"schema": "ä" * 32}, "schema"),
        ({"schema": "a\x00b"}, "schema"),
        ({"schema": 7}, "schema"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        settle("x", given, {})


def test_a_wrong_variable_is_named() -> None:
    for text in ("", "ten", "1e", "\x00"):
        with pytest.raises(ConfigurationError, match="OFFPATH_POLL"):
            settle("x", {}, {"OFFPATH_POLL": text})
    with pytest.raises(ConfigurationError, match="OFFPATH_CONCURRENCY"):
        settle("x", {}, {"OFFPATH_CONCURRENCY": "1.5"})


def test_the_keyword_arguments_are_the_settings() -> None:
    assert set(Given.__annotations__) == NAMES - {"url"}


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settle("x", {}, {}).poll = 3  # type: ignore[misc]
