"""Small checks of what a user gave: the value comes back, or a ConfigurationError says what was expected instead."""

from __future__ import annotations

from ..errors import ConfigurationError


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


def shown(value: object) -> str:
    """`repr`, cut to 60 characters. Some values cannot be shown (an int of 5,000 digits): their type, then."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:59] + "…"
