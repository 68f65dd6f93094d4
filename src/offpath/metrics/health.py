"""Alive, and ready? Two questions with different cures: what is not alive is started again, what is not ready is given
no work until it is. Pure.

That the database is away makes nobody less alive: starting again would not bring it back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

from ..observe.pulse import Pulse

MEDIA, PROBLEM = "application/health+json", "application/problem+json"  # draft-inadarei-api-health-check-06, RFC 9457
STUCK = 30.0  # s without a turn of the loop; a handler that blocks it for less is only told of in the log


class Verdict(NamedTuple):
    """`why` is empty exactly when all is well."""

    why: str

    @property
    def status(self) -> int:
        return 503 if self.why else 200

    @property
    def kind(self) -> str:
        return PROBLEM if self.why else MEDIA

    @property
    def body(self) -> bytes:
        return problem(503, self.why) if self.why else b'{"status":"pass"}'


WELL = Verdict("")


def problem(status: int, detail: str) -> bytes:
    """As every refusal here: RFC 9457."""
    said = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps(said).encode()


def alive(pulses: Sequence[Pulse]) -> Verdict:
    """Does every worker here still turn? (A process without one has shown that it does by being asked.)"""
    for one in pulses:
        if one.lag > STUCK:
            return Verdict(f"the event loop has not turned for {one.lag:.0f} s")
        if one.age > 2 * one.lease and one.age != float("inf") and not one.trouble and not one.draining:
            return Verdict(f"the lease has not been renewed for {one.age:.0f} s")
    return WELL


def ready(pulses: Sequence[Pulse], store: str, *, worker: bool = False) -> Verdict:
    """May it be given work? `store`: why the database is not well, "" when it is; `worker`: there has to be one."""
    if store:
        return Verdict(store)
    if worker and not pulses:
        return Verdict("no worker has started yet")
    for one in pulses:
        if one.draining:
            return Verdict("the worker is draining")
        if not one.ready:
            return Verdict(
                f"the lease has not been renewed for {one.age:.0f} s"
                if one.age != float("inf")
                else "the worker has not registered yet"
            )
    return WELL
