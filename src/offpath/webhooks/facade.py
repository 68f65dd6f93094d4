"""`Webhooks`: what an application says of the webhooks it sends, in the module that web process and worker import.

jobs = Offpath("postgresql://…")
webhooks = Webhooks(jobs, key=os.environ["WEBHOOK_KEY"], operations_url="https://api.example.com/operations")
operations = Operations(jobs, caller=current_user, webhooks=webhooks)   # its routes too
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

from ..app import Offpath
from ..core import deliveries
from ..core.checks import whole
from ..core.retry import Backoff, Retry, Seconds, seconds
from ..errors import ArgumentError, ConfigurationError
from ..http.operations import INLINE, Shape
from ..http.problems import BASE, Problems
from ..http.routes import Route
from ..ports import Store
from .deliveries import Courier, Terms, Undelivered
from .guard import Blocked, Policy, check_url, resolve
from .known import made
from .lines import Lines
from .policy import SCHEDULE, check_schedule
from .sender import Sender
from .signing import PRIVATE, SECRET, check_secret, public_key
from .vault import Vault

ANY = "*"
LOOK_UP = 5.0  # s for the addresses of a URL that somebody registers


class Webhooks:
    """Registers the task that sends webhooks, on queue `offpath.webhooks`: every worker of the application runs it.

    key             seals secrets in the database: text or bytes of 16 or more; several: the first seals, all open
    operations_url  absolute URL of the collection of operations, for links in what is sent
    callbacks       which callback URLs requests may name (WHK-27): False (the default) none; hosts, as in
                    ["hooks.example.com", "*.example.org"]; ["*"] any; "handshake" those that consent to an OPTIONS
                    request (CloudEvents WebHook §4)
    allow_private   receivers on this machine or in its network, and plain http. Only in development
    sender          one of your own instead: with its policy, time limit, authority or resolver
    schedule        seconds before each attempt, 1 to 100 of them (default: 0, 5 s, 5 min, … 24 h, about 3 days)
    overlap         how long a secret goes on signing after its rotation (24 h)
    endpoints       how many one caller may have (20)
    width           deliveries that one worker has under way to one endpoint at once (4)
    signing_key     `whsk_…`, or several, newest first: every webhook is signed with them too (v1a); their public halves
                    are at /webhooks/keys
    default_secret  of callbacks: `whsec_…`, or a function of the tenant (None: one of ours); default: made for each
                    tenant on first use, and shown once
    problem_base    what problem types begin with, as given to `Operations`

    ConfigurationError for what cannot be; MissingExtraError without the extra `webhooks`.
    """

    def __init__(
        self,
        jobs: Offpath,
        *,
        key: str | bytes | Sequence[str | bytes],
        operations_url: str,
        callbacks: Sequence[str] | Literal["handshake", False] = False,
        allow_private: bool = False,
        sender: Sender | None = None,
        schedule: Sequence[Seconds] = SCHEDULE,
        overlap: Seconds = timedelta(hours=24),
        endpoints: int = 20,
        width: int = 4,
        signing_key: str | Sequence[str] = (),
        default_secret: str | Callable[[str], str | None] | None = None,
        problem_base: str = BASE,
    ) -> None:
        parts = urlsplit(operations_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError("operations_url is the absolute URL of your operations, without a query")
        if sender is not None and allow_private:
            raise ConfigurationError("give sender= or allow_private=, not both: a sender has a policy of its own")
        self.jobs = jobs
        self.vault = Vault(key)
        self.sender = sender or Sender(Policy.development() if allow_private else Policy())
        self.overlap = seconds(overlap, "overlap")
        self.most = whole(endpoints, 1, 100_000, "endpoints")
        self.width = whole(width, 1, 1_000, "width")
        self.origin = parts.hostname
        self.handshake = callbacks == "handshake"
        keys = (signing_key,) if isinstance(signing_key, str) else tuple(signing_key)
        for one in keys:
            if not check_secret(one).startswith(PRIVATE):
                raise ConfigurationError(f"signing_key is a {PRIVATE}… key")
        self.terms = Terms(
            check_schedule(schedule), self.width, keys, _secret_of(default_secret), self._allowed(callbacks)
        )
        shape = Shape(operations_url.rstrip("/"), Problems(problem_base), INLINE)
        self._courier = Courier(
            jobs, self.sender, self.vault, shape, self.terms, random.random, os.urandom, Lines(self.width)
        )
        self._register()
        made[jobs] = self

    def _allowed(self, callbacks: object) -> Policy | None:
        if callbacks is False:
            return None
        policy = self.sender.policy
        if callbacks == "handshake":
            return policy
        if isinstance(callbacks, str) or not isinstance(callbacks, Sequence):
            raise ConfigurationError('callbacks is False, a list of hosts (["*"]: any), or "handshake"')
        return policy if ANY in callbacks else replace(policy, hosts=frozenset(callbacks))

    def _register(self) -> None:
        """An attempt that our own side spoils (the database is away) is repeated soon; the schedule is not touched."""
        patient = Retry(max_attempts=20, backoff=Backoff.exponential(first=1, cap=300), give_up_on=(Undelivered,))

        @self.jobs.task(
            name=deliveries.TASK,
            queue=deliveries.QUEUE,
            retry=patient,
            timeout=self.sender.timeout + 45,
            keep_result=False,
        )
        async def deliver(delivery: str, endpoint: str | None) -> None:
            await self._courier.deliver(delivery, endpoint)

        self.task = deliver

    @property
    def store(self) -> Store:
        return self.jobs.store

    @property
    def public_keys(self) -> list[str]:
        """The `whpk_…` of every signing key, newest first."""
        return [public_key(key) for key in self.terms.keys]

    @property
    def routes(self) -> tuple[Route, ...]:
        """The rows that `Operations(…, webhooks=…)` mounts."""
        from .routes import routes

        return routes(self)

    async def check(self, url: str, policy: Policy | None = None) -> None:
        """Whether a URL may be registered: its form, and every address its name has now. Blocked."""
        policy = policy or self.sender.policy
        target = check_url(url, policy)
        try:
            async with asyncio.timeout(LOOK_UP):
                await resolve(target, policy, self.sender.resolver)
        except OSError:  # a TimeoutError is one
            raise Blocked("the name has no address") from None

    async def admit(self, url: str) -> None:
        """Whether a request may name this callback URL. ArgumentError."""
        if self.terms.callbacks is None:
            raise ArgumentError("callback", "callback URLs are not taken here")
        try:
            await self.check(url, self.terms.callbacks)
        except Blocked as error:
            raise ArgumentError("callback", str(error)) from None
        if self.handshake and not await self.sender.ask(url, self.origin):
            raise ArgumentError("callback", f"it does not consent to webhooks from {self.origin}")


def _secret_of(given: str | Callable[[str], str | None] | None) -> Callable[[str], str | None]:
    if isinstance(given, str):
        if not check_secret(given).startswith(SECRET):
            raise ConfigurationError(f"default_secret is a {SECRET}… secret")
        return lambda tenant: given
    return given or (lambda tenant: None)
