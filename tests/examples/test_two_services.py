"""Two services that talk: what the accounts service tells is part of its commits, and the auth service acts on it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.accounts import serve
from examples.accounts.demo import __main__ as demo
from examples.accounts.settings import Settings
from examples.urls import SettingsError

from .conftest import World, running
from .test_demo import STRANGE

RABBITMQ = pytest.mark.servers("rabbitmq")
ORGANIZATION = {"op": "replace", "path": "/allow-custom-sso"}
CLAIMS = (
    "nothing waited for",
    "is gone (kill -9)",
    "a request does not meet the broker",
    "the event has arrived",
    "each event became one job",
    "and each exactly once, by the ledger",
)


async def published(world: World) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "offpath", "--database", world.database, "jobs", "list", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    return [job for job in json.loads(done.stdout) if job["task"] == "offpath.publish"]


async def switch(world: World, value: bool, **headers: str) -> int:
    answer = await world.call("PATCH", "/org/1", [{**ORGANIZATION, "value": value}], **headers)
    return answer.status_code


async def test_evt_11_what_is_told_is_part_of_the_commit_of_what_happened(tmp_path: Path) -> None:
    """With a broker that is away the whole time, and no worker either."""
    async with running(tmp_path, "--no-worker", ACCOUNTS_BROKER="http://token@127.0.0.1:1/events") as world:
        rename = {"op": "replace", "path": "/name", "value": "other"}
        assert (await world.call("PATCH", "/org/1", [rename])).status_code == 200
        assert await switch(world, True) == 200  # as it was
        assert await switch(world, False, If_Match='"0"') == 412
        assert await switch(world, False, If_Match='"0"', Idempotency_Key='"one"') == 412
        assert await published(world) == []
        assert [await switch(world, value, Idempotency_Key='"two"') for value in (False, False)] == [200, 200]
        assert await switch(world, True) == 200
        assert [job["state"] for job in await published(world)] == ["ready", "ready"]


async def test_evt_11_without_a_broker_nobody_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, "--no-worker") as world:
        assert await switch(world, False) == 200
        assert await published(world) == []


async def test_serve_runs_both_services(tmp_path: Path) -> None:
    async with running(tmp_path, "--with-auth", AUTH_MEMBERS="1000") as world:
        told = next(line for line in world.server.lines if "The auth service runs at" in line)
        links = told.split()[5].rstrip(".") + "/sso-links?organization=1"
        assert (await world.call("GET", links)).json()["linked"] == 1000
        assert await switch(world, False) == 200
        await world.server.line("1000 of 1000")
        assert (await world.call("GET", links)).json() == {
            "organization": 1, "linked": 0, "unlinked": 1000, "twice": 0
        }  # fmt: skip
    assert (tmp_path / "auth.db").exists()


def story(kind: str) -> None:
    """The demo, with a smaller crowd and a shorter lease."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.accounts.demo", "--broker", kind, "--members", "1500"],
        env=os.environ | STRANGE | {"OFFPATH_LEASE": "2"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "NOT SO" not in text
    assert "Traceback" not in text
    for claim in CLAIMS:
        assert claim in text


@pytest.mark.timeout(300)
def test_the_story_holds_over_redis() -> None:
    story("redis")


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind", ["none", pytest.param("rabbitmq", marks=pytest.mark.servers("rabbitmq")), "kafka", "sqs"]
)
def test_the_story_holds_over(kind: str) -> None:
    story(kind)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--broker", "nats"], "invalid choice"),
        (["--broker", "none", "--members", "1"], "a whole number from 1000"),
        (["--members", "2000"], "belongs to --broker"),
        (["--broker", "none", "--postgres"], "leave --postgres out"),
        (["--break", "--postgres"], "leave --broker and --postgres out"),
        (["--auto"], "--auto belongs to --break"),
    ],
)
def test_options_of_the_demo(
    arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", *arguments])
    with pytest.raises(SystemExit) as ended:
        demo.main()
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_settings_of_what_is_told() -> None:
    read = Settings.read
    assert (read({}).broker, read({}).publish_updates) == (None, False)
    assert read({"ACCOUNTS_USER_UPDATES": "publish", "ACCOUNTS_BROKER": "redis://h"}).publish_updates
    assert (read({}).heartbeat, read({"ACCOUNTS_HEARTBEAT": "2"}).heartbeat) == (0, 2)
    for wrong in ("-1", "soon", "86401"):
        with pytest.raises(SettingsError, match="ACCOUNTS_HEARTBEAT must be"):
            read({"ACCOUNTS_HEARTBEAT": wrong})
    with pytest.raises(SettingsError, match="must be enqueue or publish"):
        read({"ACCOUNTS_USER_UPDATES": "send"})
    for broker in ({}, {"ACCOUNTS_BROKER": "https://t@h/events"}):
        with pytest.raises(SettingsError, match="needs a broker with queues"):
            read({"ACCOUNTS_USER_UPDATES": "publish", **broker})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("sqlite:///accounts.db", "sqlite:///auth.db"),
        ("sqlite:////a/b/accounts.db", "sqlite:////a/b/auth.db"),
        ("sqlite:////a/auth.db", "sqlite:////a/auth-service.db"),
        ("postgresql://u:p@h:5432/accounts", "postgresql://u:p@h:5432/accounts_auth"),
        ("postgresql://h/accounts?sslmode=disable", "postgresql://h/accounts_auth?sslmode=disable"),
    ],
)
def test_the_auth_services_database_is_beside_ours(ours: str, theirs: str) -> None:
    assert serve.neighbour(ours) == theirs
