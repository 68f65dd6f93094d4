"""The rules of the reference application, as plain calls: no database, no server, no offpath."""

from datetime import UTC, date, datetime
from email.headerregistry import Address
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.accounts import decisions
from examples.accounts.decisions import Profile

ADA = Profile(username="ada", email="ada@example.org", phone_number=None)


def test_nothing_changed_means_nothing_follows() -> None:
    assert decisions.change(ADA, {}) is None
    assert decisions.change(ADA, {"username": "ada", "phone_number": None}) is None


def test_only_fields_that_differ_count() -> None:
    done = decisions.change(ADA, {"username": "ada", "phone_number": "+1 555"})
    assert done is not None
    assert done.fields == ("phone_number",)
    assert done.after == Profile(username="ada", email="ada@example.org", phone_number="+1 555")
    assert done.before == ADA


def test_a_field_can_be_removed() -> None:
    done = decisions.change(Profile("ada", "ada@example.org", "+1 555"), {"phone_number": None})
    assert done is not None
    assert done.after.phone_number is None


def test_texts_say_what_changed_and_whom_to_ask() -> None:
    done = decisions.change(ADA, {"username": "countess", "phone_number": "+1 555"})
    assert done is not None
    email, push = decisions.notice(done), decisions.push(1, done)
    for text in (email.text, push.body):
        assert "Your profile was changed: username and phone number." in text
        assert "If this was not you, please contact support" in text
    assert email.to == ("ada@example.org",)
    assert "Hello countess" in email.text
    assert push.user_id == 1


def test_a_new_address_and_the_old_one_hear_of_it() -> None:
    done = decisions.change(ADA, {"email": "new@example.org"})
    assert done is not None
    assert decisions.notice(done).to == ("new@example.org", "ada@example.org")
    assert "e-mail address" in decisions.notice(done).text


def test_welcome_and_confirmation() -> None:
    assert decisions.welcome(ADA).to == ("ada@example.org",)
    email = decisions.confirmation(ADA, 7, [("lamp", 2), ("desk", 1)])
    assert "2 x lamp" in email.text
    assert "1 x desk" in email.text
    assert email.subject == "Your order 7"


@pytest.mark.parametrize(
    ("given", "means"),
    [
        (None, 1),
        (2, 2),
        ("2", 2),
        ("002", 2),
        (0, None),
        (-2, None),
        ("-2", None),
        ("", None),
        ("two", None),
        ("٢", None),
        (2**63, None),
        ("9" * 100, None),
    ],
)
def test_user_id(given: int | str | None, means: int | None) -> None:
    assert decisions.user_id(given, viewer=1) == means


def test_who_may_see_whom() -> None:
    assert decisions.may_see(1, 1, admin=False)
    assert not decisions.may_see(1, 2, admin=False)
    assert decisions.may_see(4, 2, admin=True)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=127), max_size=12), st.text(max_size=12))
def test_every_mailbox_can_be_written_to(local: str, domain: str) -> None:
    """What the API lets in, the mail library takes, and as exactly that one address."""
    for text in (f"{local}@{domain}", f"{local}@example.org"):
        if decisions.is_mailbox(text):
            assert str(Address(addr_spec=text)) == text


@pytest.mark.parametrize(
    ("viewer", "owner", "admin", "may"),
    [(1, 1, False, True), (2, 1, False, False), (4, 1, True, True), (3, None, False, False), (4, None, True, True)],
)
def test_who_may_change_an_organization(viewer: int, owner: int | None, admin: bool, may: bool) -> None:
    assert decisions.may_change_organization(viewer, owner, admin=admin) is may


def test_a_complete_profile_needs_no_reminder() -> None:
    assert decisions.reminder(Profile("a", "a@example.org", "+1")) is None
    letter = decisions.reminder(Profile("a", "a@example.org", None))
    assert letter is not None
    assert letter.to == ("a@example.org",)


def test_a_day_is_as_long_as_its_clock_says() -> None:
    zone = ZoneInfo("Europe/Berlin")
    hours = {
        (end - start).seconds // 3600 + (end - start).days * 24: start
        for start, end in (decisions.day_in(date(2026, *day), zone) for day in ((3, 29), (6, 1), (10, 25)))
    }
    assert hours == {
        23: datetime(2026, 3, 28, 23, tzinfo=UTC),
        24: datetime(2026, 5, 31, 22, tzinfo=UTC),
        25: datetime(2026, 10, 24, 22, tzinfo=UTC),
    }
