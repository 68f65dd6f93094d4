"""What changed, and what follows from it: values in, values out.

Nothing here knows a database, a clock, a mail server or offpath, so every rule of the service can be read and tested
in one place. The routes and tasks do what these functions say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

SUPPORT = "support@example.org"

_ATOM = r"[!#-'*+\-/0-9=?A-Z^-~]+"  # ASCII from ! to ~ without ,;:<>"()[]@. and the backslash
_DOTTED = rf"{_ATOM}(?:\.{_ATOM})*"
MAILBOX = re.compile(f"{_DOTTED}@{_DOTTED}")

LABELS = {"username": "username", "email": "e-mail address", "phone_number": "phone number"}


@dataclass(frozen=True)
class Profile:
    """The part of a user that people can change."""

    username: str
    email: str
    phone_number: str | None


@dataclass(frozen=True)
class Email:
    """One message; `to` may name several mailboxes."""

    to: tuple[str, ...]
    subject: str
    text: str


@dataclass(frozen=True)
class Push:
    """One message to the user's device, whichever that is when it is sent."""

    user_id: int
    title: str
    body: str


@dataclass(frozen=True)
class Change:
    """A profile before and after, and the names of the fields that differ (never none)."""

    before: Profile
    after: Profile
    fields: tuple[str, ...]


def change(before: Profile, wanted: Mapping[str, Any]) -> Change | None:
    """Compare a profile with the fields somebody sent; None when nothing would be different."""
    after = replace(before, **wanted)
    fields = tuple(name for name in LABELS if getattr(before, name) != getattr(after, name))
    return Change(before, after, fields) if fields else None


def notice(done: Change) -> Email:
    """The e-mail that follows from a change. It goes to the old address too when that is what changed:
    whoever took over an account must not be the only one to hear of it.
    """
    to = dict.fromkeys((done.after.email, done.before.email))
    return Email(
        to=tuple(to),
        subject="Your profile was changed",
        text=f"Hello {done.after.username},\n\n{_what_changed(done)}\n\n{_if_it_was_not_you()}\n",
    )


def push(user_id: int, done: Change) -> Push:
    """The push message that follows from a change."""
    return Push(user_id=user_id, title="Profile changed", body=f"{_what_changed(done)} {_if_it_was_not_you()}")


def welcome(profile: Profile) -> Email:
    return Email(
        to=(profile.email,),
        subject="Welcome",
        text=f"Hello {profile.username},\n\nyour account is ready. Questions? {SUPPORT}\n",
    )


def reminder(profile: Profile) -> Email | None:
    """A day after sign-up; None when nothing is missing."""
    if profile.phone_number is not None:
        return None
    return Email(
        to=(profile.email,),
        subject="Complete your profile",
        text=f"Hello {profile.username},\n\nyour profile has no phone number yet. Questions? {SUPPORT}\n",
    )


def day_in(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """When a day begins and ends, by the clock of a zone: 23, 24 or 25 hours."""
    start, end = (datetime.combine(one, time(), tzinfo=zone) for one in (day, day + timedelta(days=1)))
    return start.astimezone(UTC), end.astimezone(UTC)


def confirmation(profile: Profile, order: int, items: Sequence[tuple[str, int]]) -> Email:
    """`items`: product name and quantity of each line of the order."""
    lines = "\n".join(f"  {quantity} x {product}" for product, quantity in items)
    return Email(
        to=(profile.email,),
        subject=f"Your order {order}",
        text=f"Hello {profile.username},\n\nthank you for your order {order}:\n\n{lines}\n",
    )


def is_mailbox(text: str) -> bool:
    """Is this exactly one `local@domain`, safe to hand to a mail server?

    Printable ASCII without blanks and without the characters that separate, quote or comment in a header (RFC 5322
    "specials"): with them, `a,b@c.org` would be two people.
    """
    return MAILBOX.fullmatch(text) is not None


def may_see(viewer: int, user: int, *, admin: bool) -> bool:
    """A user may read and change themselves, an administrator anyone."""
    return admin or viewer == user


def user_id(given: int | str | None, viewer: int) -> int | None:
    """Which user a request means: none given is the caller; a number, or a text that is one; None: nobody."""
    if given is None:
        return viewer
    if isinstance(given, str):
        given = int(given) if given.isascii() and given.isdigit() and len(given) <= 18 else 0
    return given if 0 < given < 2**63 else None


def may_change_organization(viewer: int, owner: int | None, *, admin: bool) -> bool:
    """Its owner and an administrator may; being a member is not enough."""
    return admin or viewer == owner


def _what_changed(done: Change) -> str:
    names = [LABELS[field] for field in done.fields]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"Your profile was changed: {listed}."


def _if_it_was_not_you() -> str:
    return f"If this was not you, please contact support: {SUPPORT}"
