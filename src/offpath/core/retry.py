"""Whether an attempt that failed is followed by another, and after how long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from ..errors import ConfigurationError
from .checks import number, shown, whole

Seconds = float | timedelta
MAX_SECONDS = 10**10  # 317 years
MAX_ATTEMPTS = 10_000


def seconds(value: object, what: str) -> float:
    """A duration as seconds; ConfigurationError when it is not a finite number of 0 or more."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        raise ConfigurationError(f"{what} must be a duration of 0 seconds or more, not {shown(value)}")
    return float(value)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before the next attempt, in seconds; make one with `exponential`, `linear` or `fixed`.

    kind     how it grows with n, the failures so far (1, 2, …):
             exponential first · grow^(n-1), linear first + grow · (n-1), fixed first
    first    the delay after the first failure
    grow     the factor (exponential, 1 or more) or the step (linear, seconds)
    cap      no delay is longer than this, jitter included
    jitter   0.2 spreads a delay over ±20 %, so that jobs that failed together do not return together
    """

    kind: Literal["exponential", "linear", "fixed"]
    first: float
    grow: float = 0.0
    cap: float = 300.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in ("exponential", "linear", "fixed"):
            raise ConfigurationError(f"Backoff kind must be exponential, linear or fixed, not {shown(self.kind)}")
        # Plain floats from here on, whatever spelling was given.
        for name in ("first", "cap"):
            object.__setattr__(self, name, seconds(getattr(self, name), f"Backoff {name}"))
        object.__setattr__(self, "jitter", number(self.jitter, 0, 1, "Backoff jitter"))
        low, what = (1, "Backoff factor") if self.kind == "exponential" else (0, "Backoff step")
        object.__setattr__(self, "grow", number(self.grow, low, MAX_SECONDS, what))

    @classmethod
    def exponential(cls, first: Seconds = 1, factor: float = 2, cap: Seconds = 300, jitter: float = 0.2) -> Backoff:
        return cls("exponential", seconds(first, "first"), factor, seconds(cap, "cap"), jitter)

    @classmethod
    def linear(cls, first: Seconds = 1, step: Seconds = 1, cap: Seconds = 300, jitter: float = 0.2) -> Backoff:
        return cls("linear", seconds(first, "first"), seconds(step, "step"), seconds(cap, "cap"), jitter)

    @classmethod
    def fixed(cls, delay: Seconds = 1, jitter: float = 0.0) -> Backoff:
        first = seconds(delay, "delay")
        return cls("fixed", first, 0.0, min(2 * first, MAX_SECONDS), jitter)  # no cap but what the jitter can reach

    def delay(self, failures: int, u: float) -> float:
        """Seconds to wait after `failures` failed attempts (1 or more); `u` is a uniform random number in [0, 1)."""
        n = min(max(0, failures - 1), MAX_ATTEMPTS)
        if self.kind == "exponential":
            try:
                raw = self.first * self.grow**n
            except OverflowError:
                raw = self.cap if self.first else 0.0
        else:
            raw = self.first + self.grow * n
        middle = min(raw, self.cap)
        low, high = middle * (1 - self.jitter), min(middle * (1 + self.jitter), self.cap)
        return min(low + (high - low) * u, high)  # rounding must not lift it over the cap

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "first": self.first, "grow": self.grow, "cap": self.cap, "jitter": self.jitter}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Backoff:
        return cls(data["kind"], data["first"], data["grow"], data["cap"], data["jitter"])


DEFAULT_MAX_ATTEMPTS = 3
DEFAULT_BACKOFF = Backoff.exponential()


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed attempt is followed by another.

    max_attempts   how often the job may fail before it ends `failed` (1 = no retry)
    backoff        how long to wait in between
    retry_on       only these exceptions are retried (default: every Exception)
    give_up_on     these end the job at once, even when `retry_on` would take them
    """

    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    backoff: Backoff = DEFAULT_BACKOFF
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        check_max_attempts(self.max_attempts)
        check_backoff(self.backoff)
        for name in ("retry_on", "give_up_on"):
            value: object = getattr(self, name)
            if not isinstance(value, type | Iterable):
                raise ConfigurationError(f"Retry {name} takes exception classes, not {shown(value)}")
            kinds = (value,) if isinstance(value, type) else tuple(value)
            for kind in kinds:
                if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                    raise ConfigurationError(f"Retry {name} takes exception classes, not {shown(kind)}")
            object.__setattr__(self, name, kinds)

    def allows(self, error: BaseException) -> bool:
        """True when this exception may be retried; how often is `max_attempts`' question."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)


def check_max_attempts(value: object) -> int:
    return whole(value, 1, MAX_ATTEMPTS, "max_attempts")


def check_backoff(value: object) -> Backoff:
    if not isinstance(value, Backoff):
        raise ConfigurationError(f"backoff must be a Backoff, for instance Backoff.fixed(5), not {shown(value)}")
    return value
