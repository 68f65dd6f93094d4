"""Small checks of what a user gave: the value comes back, or a ConfigurationError says what was expected instead."""

from __future__ import annotations

from ..errors import ConfigurationError

MAX_NAME = 255  # characters


def whole(value: object, low: int, high: int, what: str) -> int:
    """A whole number from `low` to `high`; True and False are not numbers here."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(f"{what} must be a whole number from {low} to {high}, not {shown(value)}")
    return value


def number(value: object, low: float, high: float, what: str) -> float:
    """A finite number from `low` to `high`, as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigurationError(f"{what} must be a number from {low:g} to {high:g}, not {shown(value)}")
    return float(value)


def flag(value: object, what: str) -> bool:
    """True or False, and nothing that merely behaves so."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{what} must be True or False, not {shown(value)}")
    return value


def check_name(value: object, what: str, most: int = MAX_NAME) -> str:
    """A name, key or owner: text of 1 to 255 characters without control characters or lone surrogates."""
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise ConfigurationError(f"{what} must be text of 1 to {most} characters, not {shown(value)}")
    if any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in value):
        raise ConfigurationError(f"{what} must not contain control characters or surrogates: {shown(value)}")
    return value


def check_segment(value: object, what: str, most: int = MAX_NAME) -> str:
    """A name that is a segment of a URL, too: every client takes `.` and `..` out of a path, however they are written
    (RFC 3986 section 5.2.4), and would ask for something else."""
    if value in (".", ".."):
        raise ConfigurationError(f"{what} cannot be {value!r}: no URL leads there")
    return check_name(value, what, most)


def shown(value: object) -> str:
    """`repr`, cut to 60 characters. Some values cannot be shown (an int of 5,000 digits): their type, then."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:59] + "…"
