"""Rows and verbs of webhooks: endpoints, deliveries, attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from .rows import OperationRow
from .steps import Verb


class EndpointRow(NamedTuple):
    """Who wants to hear of what. Times are µs.

    events         JSON array of event types
    secrets        sealed, see `webhooks/vault.py`; so are `headers`, what else its owner wants sent
    reason         why it is disabled
    failing_since  the first failure after the last success
    not_before     the receiver has asked for a pause until then
    width          deliveries that one worker may have under way to it at once
    """

    id: str
    tenant: str
    owner: str
    url: str
    description: str
    events: str
    secrets: str
    headers: str | None
    enabled: bool
    reason: str | None
    failing_since: int | None
    not_before: int | None
    width: int
    created_at: int
    updated_at: int


class DeliveryState(IntEnum):
    """The number is what the database stores."""

    PENDING = 0
    DELIVERED = 1
    FAILED = 2
    CANCELED = 3


class DeliveryRow(NamedTuple):
    """One event on its way to one endpoint; `endpoint` None: to the callback URL of its operation.

    message   the webhook-id: the same for all attempts, and when it is sent again
    job       that sends it now, or did last
    body      JSON text of the data of an event that is not an operation's
    attempts  made so far; `round` of them before it was last sent again
    next_at   no attempt before, µs
    """

    id: str
    message: str
    job: str
    endpoint: str | None
    operation: str | None
    event: str
    sequence: int
    body: str | None
    state: DeliveryState
    attempts: int
    round: int
    next_at: int | None
    created_at: int


class AttemptRow(NamedTuple):
    """What became of one attempt, with what its delivery knows. `latency` is in µs."""

    id: str
    delivery: str
    number: int
    at: int
    status: int | None
    latency: int
    error: str | None
    snippet: str
    message: str
    event: str
    operation: str | None
    state: DeliveryState


class NewDelivery(NamedTuple):
    """An event to be sent; `id` is also its first job's."""

    id: str
    endpoint: str | None
    operation: str | None
    event: str
    sequence: int
    body: str | None


class NewAttempt(NamedTuple):
    id: str
    at: int
    status: int | None
    latency: int
    error: str | None
    snippet: str


class Work(NamedTuple):
    """All that sending a delivery needs to know. `operation` is None when it is none's, or has been erased; `signer`
    has the sealed secrets that sign for a callback URL, if they have been made."""

    delivery: DeliveryRow
    endpoint: EndpointRow | None
    operation: OperationRow | None
    signer: str | None


class Again(NamedTuple):
    """Which deliveries of an endpoint to send again, of those that have ended: this one, those of this operation, or
    those since a moment (µs) that were not delivered."""

    delivery: str | None = None
    operation: str | None = None
    since: int | None = None


Change = Callable[[EndpointRow, int], EndpointRow]
"""(as it is, now) → as it shall be. May be called more than once."""
Decide = Callable[[DeliveryRow, EndpointRow | None, int], tuple[DeliveryRow, EndpointRow | None]]
"""(delivery, its endpoint, now) → both as they shall be after an attempt. May be called more than once."""


class WebhookVerbs(Protocol):
    """A part of `Verbs`. An id that is none, or somebody else's, is answered like one that is not there."""

    def add_endpoint(self, row: EndpointRow, most: int) -> Verb[bool]:
        """False, and nothing is stored, when its owner has `most` of them."""
        ...

    def endpoint(self, id: str, tenant: str, owner: str) -> Verb[EndpointRow | None]: ...
    def endpoints(self, tenant: str, owner: str, after: str | None, limit: int) -> Verb[list[EndpointRow]]:
        """Newest first; `after` is the last id of the page before."""
        ...

    def any_endpoint(self, id: str) -> Verb[EndpointRow | None]:
        """Whoever's it is."""
        ...

    def all_endpoints(
        self, tenant: str | None, enabled: bool | None, after: str | None, limit: int
    ) -> Verb[list[EndpointRow]]:
        """Everybody's, or those of one tenant; newest first; `after` is the last id of the page before."""
        ...

    def change_endpoint(self, id: str, tenant: str, owner: str, change: Change) -> Verb[EndpointRow | None]:
        """As it stands after that. When that disables it, its queued deliveries are stopped and its owner is told."""
        ...

    def drop_endpoint(self, id: str, tenant: str, owner: str) -> Verb[bool]:
        """With its deliveries and their attempts."""
        ...

    def send(self, deliveries: Sequence[NewDelivery]) -> Verb[None]:
        """Deliveries and the jobs that send them."""
        ...

    def send_again(self, id: str, tenant: str, owner: str, which: Again, limit: int) -> Verb[list[str] | None]:
        """The ids of the deliveries sent again, at most `limit`, the oldest first; None: no such endpoint. Conflict
        when it is disabled."""
        ...

    def work(self, delivery: str) -> Verb[Work | None]: ...
    def record(self, delivery: str, attempt: NewAttempt, decide: Decide) -> Verb[DeliveryRow | None]:
        """Note an attempt and what follows from it; the delivery as it stands then."""
        ...

    def close_delivery(self, delivery: str, state: DeliveryState) -> Verb[None]:
        """End a pending one without an attempt."""
        ...

    def attempts(
        self, endpoint: str | None, operation: str | None, after: str | None, limit: int
    ) -> Verb[list[AttemptRow]]:
        """Of an endpoint, or of an operation's callback; newest first."""
        ...

    def signer(self, tenant: str, fresh: str) -> Verb[str]:
        """The sealed default secrets of a tenant; `fresh` from now on when it has none."""
        ...

    def show_signer(self, tenant: str, change: Callable[[str | None, int], str], again: bool) -> Verb[str | None]:
        """Mark them as shown, and give them as `change` (of what there is, and now) has made them. None: they have
        been shown before, and it is not to be done `again`."""
        ...
