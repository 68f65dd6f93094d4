"""`Secret[...]` (reliability A27): shown to nobody who does not ask, sealed where there are keys, and back again."""

import copy
import json
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, SecretBytes, SecretStr
from typing_extensions import TypedDict

from offpath import Context, Limit, Offpath, Retry, Schedule
from offpath.app.doctor import secrets
from offpath.codec import Arguments, Value, plain
from offpath.errors import ArgumentError, ConfigurationError, ResultError
from offpath.privacy import Secret, Vault
from offpath.privacy.secret import values_in
from offpath.testing import drain

pytestmark = pytest.mark.anyio
KEY, OTHER = "k" * 32, "o" * 32
ONCE = Retry(max_attempts=1)


@dataclass
class Card:
    number: Secret[str]
    name: str = ""


class Model(BaseModel):
    number: Secret[str]
    word: SecretStr | None = None
    raw: SecretBytes | None = None


class Typed(TypedDict):
    number: Secret[str]


def test_it_shows_itself_to_nobody() -> None:
    secret = Secret.of("4242-canary")
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>20}",
        "".join(map(str, [secret])),
        repr([secret]),
        repr(Card(secret)),
    ]
    shown += [Model(number=secret).model_dump_json(), str(Model(number=secret)), str(copy.deepcopy(secret))]
    assert not [text for text in shown if "4242" in text]
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    assert secret == Secret.of("4242-canary") != Secret.of("other")
    assert Secret.of(b"x") != Secret.of("x")
    assert len({secret, Secret.of("4242-canary")}) == 1


PARAMETERS: dict[str, tuple[Any, bool]] = {
    "flat": (Secret[str], True),
    "many": (list[Secret[bytes]], True),
    "card": (Card, True),
    "model": (Model, True),
    "typed": (Typed, True),
    "word": (SecretStr, True),
    "raw": (SecretBytes, True),
    "maybe": (Secret[int] | None, True),
}
GIVEN = {
    "flat": "canary-1",
    "many": [b"\xffcanary-2"],
    "card": Card("canary-3"),  # type: ignore[arg-type,unused-ignore]
    "model": Model(number="canary-4", word=SecretStr("canary-5"), raw=SecretBytes(b"\xfecanary-6")),  # type: ignore[arg-type,unused-ignore]
    "typed": {"number": "canary-7"},
    "word": "canary-8",
    "raw": b"canary-9",
    "maybe": 123456789,
}


@pytest.mark.parametrize("keys", [None, lambda: Vault(KEY)], ids=["plain", "sealed"])
def test_it_comes_back_at_any_depth_pydantics_own_too(keys: Any) -> None:
    arguments = Arguments("pay", PARAMETERS, keys)
    text = arguments.encode(dict(GIVEN))
    assert ("canary" in text) == (keys is None)
    back = arguments.decode(text)
    found = {value for value in values_in(back) if isinstance(value, str)}
    assert found == {"canary-1", "canary-3", "canary-4", "canary-5", "canary-7", "canary-8"}
    assert {b"\xffcanary-2", b"\xfecanary-6", b"canary-9", 123456789} <= set(values_in(back))
    assert back["card"].number.reveal() == "canary-3"
    assert "canary" not in repr(back)


def test_without_pydantic_the_same_is_written() -> None:
    for vault in (None, Vault(KEY)):
        typed = Arguments("pay", {"card": (Secret[str], True), "more": (list[Secret[int]], True)}, lambda v=vault: v)
        bare = plain.record({"card": (Secret[str], True), "more": (list[Secret[int]], True)}, "pay")
        from offpath.privacy.secret import storing

        with storing(vault):
            text = bare.dump({"card": "canary", "more": [5]}).decode()
            assert bare.load(typed.encode({"card": "canary", "more": [5]}))["card"].reveal() == "canary"
        back = typed.decode(text)
        assert (back["card"].reveal(), back["more"][0].reveal()) == ("canary", 5)
        assert bare.secret


def test_what_is_wrong_with_a_value_is_told_without_it() -> None:
    arguments = Arguments("pay", {"card": (Secret[int], True)})
    with pytest.raises(ArgumentError, match="must be int") as caught:
        arguments.encode({"card": "canary-no-number"})
    assert "canary" not in str(caught.value)
    with pytest.raises(ResultError) as refused:
        Value("task pay", Secret[str]).encode(Secret.of(5))
    assert "5" not in str(refused.value)


def test_a_missing_or_wrong_key_says_so_and_a_rotated_one_opens() -> None:
    def known(*keys: str) -> Arguments:
        vault = Vault(keys) if keys else None
        return Arguments("pay", {"card": (Secret[str], True)}, lambda: vault)

    text = known(KEY).encode({"card": "canary"})
    assert known(OTHER, KEY).decode(text)["card"].reveal() == "canary"
    with pytest.raises(ArgumentError, match="no secret_keys to open it"):
        known().decode(text)
    with pytest.raises(ArgumentError, match="none of the keys"):
        known(OTHER).decode(text)
    assert known(KEY).decode('{"card": "as it came from elsewhere"}')["card"].reveal() == "as it came from elsewhere"


def test_settings_take_keys_and_show_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPATH_SECRET_KEYS", f"{KEY}, {OTHER}")
    jobs = Offpath("postgresql://user:canary-pw@h/db", broker="redis://:canary-pw@h")
    assert jobs.settings.secret_keys == (KEY, OTHER)
    assert "canary" not in repr(jobs) + repr(jobs.settings)
    assert KEY not in repr(jobs.settings)
    with pytest.raises(ConfigurationError, match="16 bytes") as caught:
        Offpath("sqlite:///x.db", secret_keys="short-canary")
    assert "canary" not in str(caught.value)


def test_no_limit_is_per_a_secret() -> None:
    jobs = Offpath("sqlite:///x.db")
    with pytest.raises(ConfigurationError, match="which is a Secret"):

        @jobs.task(limits=[Limit(concurrency=1, per="card", name="cards")])
        async def charge(card: Secret[str]) -> None: ...


def test_a_schedule_with_a_sealed_argument_is_the_same_one_in_every_process() -> None:
    marks = set()
    for key in (KEY, KEY, OTHER):
        jobs = Offpath("sqlite:///x.db", secret_keys=key)

        @jobs.task
        async def poll(token: Secret[str]) -> None: ...

        jobs.schedule("poll", Schedule.every(60), poll.call(token="canary"))
        said = jobs.registry.schedules["poll"][1]
        assert "canary" not in said.call
        marks.add(said.mark)
    assert len(marks) == 2  # the third has another key


def test_doctor_tells_of_secrets_that_lie_open() -> None:
    def said(**settings: Any) -> list[str]:
        jobs = Offpath("sqlite:///x.db", **settings)

        @jobs.task
        async def charge(card: Secret[str]) -> None: ...

        return [check.state for check in secrets(jobs)]

    assert (said(), said(secret_keys=KEY)) == (["warning"], ["ok"])


async def test_a_job_whose_key_is_gone_is_a_dead_letter_that_runs_when_it_is_back(url: str) -> None:
    def shop(*keys: str) -> tuple[Offpath, Any, list[str]]:
        jobs, got = Offpath(url, secret_keys=keys), list[str]()

        @jobs.task(retry=ONCE)
        async def charge(ctx: Context, card: Secret[str]) -> Secret[str]:
            async def ask() -> Secret[str]:
                return Secret.of("canary-step")

            got.append(card.reveal() + (await ctx.step("ask", ask)).reveal())
            return card

        return jobs, charge, got

    jobs, charge, _ = shop(KEY)
    jobs.migrate()
    job = await charge.enqueue(card="canary-card")
    jobs.close()

    jobs, _, got = shop(OTHER)
    await drain(jobs)
    info = await (await jobs.get(job.id)).info()
    assert (info.state, got, info.error and info.error["kind"]) == ("failed", [], "undecodable")
    assert info.error is not None
    assert "none of the keys" in info.error["detail"]
    jobs.close()

    jobs, charge, got = shop(OTHER, KEY)
    again = await jobs.retry(job.id)
    await drain(jobs)
    assert got == ["canary-cardcanary-step"]
    result = await again.result()
    assert result.reveal() == "canary-card"
    seen = await jobs.inspect(again.id, arguments=True)
    assert (seen.arguments, seen.result) == ({"card": "Secret(…)"}, "Secret(…)")
    assert (await jobs.inspect(again.id)).arguments == {"card": "Secret(…)"}
    jobs.close()


async def test_a_secret_travels_from_link_to_link_sealed(url: str) -> None:
    jobs, got = Offpath(url, secret_keys=KEY), list[str]()

    @jobs.task
    async def make() -> Secret[str]:
        return Secret.of("canary-link")

    @jobs.task
    async def take(token: Secret[str]) -> None:
        got.append(token.reveal())

    jobs.migrate()
    await make.call().then(take).enqueue()
    await drain(jobs)
    assert got == ["canary-link"]
    jobs.close()


def test_json_of_the_store_never_shows_a_value_in_views() -> None:
    from offpath.core import redact

    text = json.dumps({"a": {"$secret": "canary"}, "b": [{"$sealed": "gAAA"}], "c": "seen"})
    assert json.loads(redact.masked(text)) == {"a": "Secret(…)", "b": ["Secret(…)"], "c": "seen"}
    assert redact.masked('{"c": 1}') == '{"c": 1}'


@pytest.mark.parametrize("card", ["canary\ud800", Secret.of("canary\ud800")])
def test_a_secret_that_cannot_be_stored_is_told_in_words(card: Any) -> None:
    jobs = Offpath("sqlite:///never.db")

    @jobs.task
    def charge(card: Secret[str]) -> None: ...

    with pytest.raises(ArgumentError) as caught:
        charge.bind(card=card)
    assert str(caught.value) == "argument 'card': has a secret that cannot be stored"
