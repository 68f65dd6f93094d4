"""What the end of one attempt means for its delivery and its endpoint. Pure: now and randomness are arguments.

Source: Standard Webhooks, "Delivery success" and "Retry schedule"; wire.md WHK-09 to WHK-13 and WHK-16.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from ..core.checks import shown
from ..core.options import DAY, SECOND
from ..core.retry import seconds
from ..errors import ConfigurationError

MINUTE, HOUR = 60.0, 3600.0
SCHEDULE: tuple[float, ...] = (
    0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR,
)  # fmt: skip
"""Seconds before each attempt, counted from the end of the one before it."""
JITTER = 0.2  # a delay is spread over ±20 %
LONGEST = 24 * HOUR  # s; no Retry-After moves an attempt further away
BREATH = MINUTE  # for the whole endpoint after a 429 that does not say how long
PATIENCE = 5 * DAY  # µs of attempts without a success, and the endpoint is disabled
AGAIN = frozenset({408, 425, 429})  # 4xx that say "later" (RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4)
OVERLOADED = frozenset({502, 504})
_DIGITS = re.compile(r"[0-9]+")

Kind = Literal["blocked", "refused", "dns", "connect", "tls", "timeout", "protocol"]
"""What kept an answer away, the first word of `Sent.error`:

    blocked   its name leads to an address that may not be called          dns      the name has no address
    refused   the URL or a header may not be used at all                   connect  nobody listens, or the line broke
    timeout   the deadline passed                                          tls      no proof of who it is
    protocol  what came back is not HTTP
"""


class Sent(NamedTuple):
    """What became of one attempt.

    status       of the response; None when there was none
    latency      seconds, from the look-up of the name to the end of reading
    error        "kind: in words" (see `Kind`), fit to be shown to the endpoint's owner; None when all went well. A
                 status with an error: the response began, and its body could not be read to the end
    retry_after  seconds, when the response said so
    snippet      at most 1 KiB of the response's text, secrets cut; for the endpoint's owner only
    """

    status: int | None
    latency: float
    error: str | None = None
    retry_after: float | None = None
    snippet: str = ""

    @property
    def kind(self) -> str | None:
        return None if self.error is None else self.error.partition(":")[0]


class Verdict(NamedTuple):
    """What becomes of the delivery.

    kind        delivered · retry (at `at`) · give_up · disable (the delivery ends, and the endpoint is switched off)
    at          µs: when the next attempt is due
    reason      in words, for give_up and disable
    not_before  µs: nothing is sent to this endpoint before (it said Retry-After, or 429)
    """

    kind: Literal["delivered", "retry", "give_up", "disable"]
    at: int | None = None
    reason: str = ""
    not_before: int | None = None


def next_attempt(
    attempt: int,
    sent: Sent,
    now: int,
    u: float,
    schedule: Sequence[float] = SCHEDULE,
    failing_since: int | None = None,
) -> Verdict:
    """The verdict on attempt number `attempt` (1, 2, …) that has just ended.

    now            µs
    u              a uniform random number in [0, 1)
    schedule       seconds before each attempt (`check_schedule`)
    failing_since  µs: when the first attempt at this endpoint after its last success failed; None: not failing
    """
    rest = sent.retry_after if sent.retry_after is not None or sent.status != 429 else BREATH
    slow = None if rest is None else now + round(min(rest, LONGEST) * SECOND)
    if delivered(sent):
        return Verdict("delivered", not_before=slow)
    if sent.status == 410:
        return Verdict("disable", reason="the endpoint answered 410 Gone")
    if failing_since is not None and now - failing_since >= PATIENCE:
        return Verdict("disable", reason="no success for 5 days")
    if not _worth_repeating(sent):
        said = f"the endpoint answered {sent.status}" if sent.status is not None else f"{sent.error}"
        return Verdict("give_up", reason=f"{said}, which another attempt would not change", not_before=slow)
    if attempt >= len(schedule):
        return Verdict("give_up", reason=f"{attempt} attempts failed", not_before=slow)
    delay = schedule[attempt] * (1 - JITTER + 2 * JITTER * u)
    if sent.retry_after is not None:
        delay = min(max(delay, sent.retry_after), LONGEST)
    return Verdict("retry", at=now + round(delay * SECOND), not_before=slow)


def delivered(sent: Sent) -> bool:
    """Only 2xx. Its status has been read by then: a body that never ends takes nothing back."""
    return sent.status is not None and 200 <= sent.status < 300


def _worth_repeating(sent: Sent) -> bool:
    if sent.status is None:
        return sent.kind != "refused"
    return sent.status >= 500 or sent.status in AGAIN


def congested(sent: Sent) -> bool:
    """Whether the endpoint showed that it is given too much at once."""
    return sent.status in OVERLOADED or sent.kind == "timeout"


def concurrency(current: int, most: int, sent: Sent) -> int:
    """How many deliveries an endpoint may get at once from now on: halved when congested, all of `most` on success."""
    if congested(sent):
        return max(1, current // 2)
    return most if delivered(sent) else min(current, most)


def failing(since: int | None, sent: Sent, now: int) -> int | None:
    """`failing_since` after this attempt: None after a success, else the time of the first failure."""
    if delivered(sent):
        return None
    return now if since is None else since


def check_schedule(value: object) -> tuple[float, ...]:
    """Seconds (or timedeltas) before each attempt; 1 to 100 of them."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not 1 <= len(value) <= 100:
        raise ConfigurationError(f"a schedule is a list of 1 to 100 durations, not {shown(value)}")
    return tuple(seconds(delay, "a delay of the schedule") for delay in value)


def retry_after(text: str, now: int) -> float | None:
    """Retry-After in both forms (RFC 9110 §10.2.3) as seconds from `now` (µs); None when it is neither."""
    text = text.strip()
    if _DIGITS.fullmatch(text):
        return float(text[:12])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, at.timestamp() - now / SECOND)
