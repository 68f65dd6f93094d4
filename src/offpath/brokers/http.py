"""HTTP as a broker: what is published is POSTed to another service, which answers once it has it.

    http://[token@]host[:port]/path                      https:// with TLS

    ?timeout=10          seconds for an answer
    &ca=, &cert=, &key=  files, for TLS

A message goes to the URL's path, with its address behind it (`https://host/events` and the topic `organizations` make
`https://host/events/organizations`; a reply has its address there, too). An address never leads out of that path: one
with a part `.` or `..` is refused. The token is sent as `Authorization: Bearer`.
The other side is `offpath.integrations.fastapi.Inbox` (or starlette's), or anybody who takes CloudEvents over HTTP.
Redirects are not followed. The URL is the operator's own setting, so that it may lead to private addresses; what
messages say never decides which host is called.

**What answers mean.**

    2xx                           it has it: confirmed
    400 409 410 411 413 414 415   it will never take this one: refused, the event is a dead letter. So is any other 4xx
    422 431 451 …                 that is not named below
    401 403 407                   the token: unavailable, and nothing is lost until the settings are put right
    404 405 3xx                   the URL: the same
    408 425 429, 5xx, none        later: unavailable, not before what `Retry-After` says

To a reply's address 403, 404, 405 and 3xx are refusals: whoever asked has named it, no setting of ours.

**Order.** Messages of one key are sent one after the other, others up to `AT_ONCE` at a time. There are no groups: the
message goes to one service; whoever is to have it too is published to by another address.

**Headers.** The message's are sent as they are, with its media type as Content-Type, and `Message-Id`, `Reply-To` and
`Correlation-Id` where it has them. A name or a value that HTTP does not carry is refused.

Source: CloudEvents HTTP Protocol Binding 1.0.2; RFC 9110.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from ..core.checks import shown
from ..errors import BrokerRefused, BrokerUnavailable, ConfigurationError, MissingExtraError
from ..ports import Consumer, Message, Outgoing, Source
from .address import Address, known
from .options import TLS, seconds, tls

try:
    import httpx2
except ImportError as e:
    raise MissingExtraError("an http:// broker", "client") from e

AT_ONCE = 8  # requests
MOST_READ = 2_000  # bytes of an answer
LATER = frozenset({408, 425, 429})
TOKEN = frozenset({401, 403, 407})
PLACE = frozenset({404, 405})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?|")
_OURS = frozenset({"authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"})


def broker(address: Address) -> HttpBroker:
    """Nothing is opened yet. ConfigurationError for an option that is none."""
    known(address, "timeout", *TLS)
    if address.password is not None:
        raise ConfigurationError("an http URL has one token: https://token@host/path")
    if address.user is not None and not _VALUE.fullmatch(address.user):
        raise ConfigurationError("the token of an http URL must be printable ASCII")
    scheme = "https" if address.tls else "http"
    base = f"{scheme}://{address.netloc}{address.path.rstrip('/')}"
    verify = tls(address)
    client = httpx2.AsyncClient(
        verify=True if verify is None else verify,
        timeout=seconds(address, "timeout", 10),
        headers={} if address.user is None else {"authorization": f"Bearer {address.user}"},
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
    )
    return HttpBroker(base, client)


class HttpBroker:
    kind = "http"

    def __init__(self, base: str, client: httpx2.AsyncClient) -> None:
        self._base, self._client = base, client
        self._closed = False
        self._free = asyncio.Semaphore(AT_ONCE)

    async def open(self) -> None:
        """Nothing is asked: not every receiver has something to ask for. The first message shows."""

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        if self._closed:
            raise BrokerUnavailable(f"the connection to {self._base} has been closed")
        lines: dict[object, list[int]] = defaultdict(list)
        for i, one in enumerate(outgoing):
            lines[one.message.key if one.message.key is not None else i].append(i)
        answers: dict[int, BrokerRefused | None] = {}
        trouble: list[BrokerUnavailable] = []
        tasks = [asyncio.create_task(self._line(line, outgoing, answers, trouble)) for line in lines.values()]
        try:
            for task in asyncio.as_completed(tasks):
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if trouble:
            trouble[0].confirmed = tuple(i for i, refused in answers.items() if refused is None)
            raise trouble[0]
        return [answers[i] for i in range(len(outgoing))]

    async def consume(self, source: Source) -> Consumer:
        raise ConfigurationError(
            "HTTP is received by offpath.integrations.fastapi.Inbox: app.include_router(Inbox(jobs, token=…).router)"
        )

    async def close(self) -> None:
        self._closed = True
        await self._client.aclose()

    async def _line(
        self,
        line: list[int],
        outgoing: Sequence[Outgoing],
        answers: dict[int, BrokerRefused | None],
        trouble: list[BrokerUnavailable],
    ) -> None:
        """One after the other. After the first trouble, of whichever line, nothing more is begun; what is on its way
        still has its answer."""
        for i in line:
            async with self._free:
                if trouble:
                    return
                try:
                    answers[i] = await self._post(outgoing[i])
                except BrokerUnavailable as e:
                    trouble.append(e)

    async def _post(self, one: Outgoing) -> BrokerRefused | None:
        parts = [part for part in one.address.split("/") if part]
        if "." in parts or ".." in parts:  # they would be resolved: somewhere else on that host, with our token
            return BrokerRefused(f"{shown(one.address)} cannot be a path under {self._base}")
        url = self._base + "".join(f"/{quote(part, safe='')}" for part in parts)
        headers = _headers(one.message)
        if isinstance(headers, BrokerRefused):
            return headers
        try:
            async with self._client.stream("POST", url, headers=headers, content=one.message.body) as response:
                status, wait = response.status_code, response.headers.get("retry-after")
                said = b"" if status < 300 else await _beginning(response)
        except httpx2.TimeoutException as e:
            late = BrokerUnavailable(f"{self._base}: no answer in time")
            late.alive = isinstance(e, httpx2.ReadTimeout)  # it may be slow at this address alone
            raise late from None
        except httpx2.ConnectError:
            raise BrokerUnavailable(f"{self._base}: nobody answers there") from None
        except (httpx2.TransportError, OSError):
            raise BrokerUnavailable(f"{self._base}: the connection broke") from None
        except httpx2.InvalidURL:
            return BrokerRefused(f"{shown(one.address)} cannot be a path under {self._base}")
        return _verdict(one, url, status, wait, said)


def _verdict(one: Outgoing, url: str, status: int, wait: str | None, said: bytes) -> BrokerRefused | None:
    if 200 <= status < 300:
        return None
    astray = status in PLACE or status < 400
    if status in LATER or status >= 500:
        trouble = BrokerUnavailable(f"{url} answered {status}")
        trouble.retry_after = _seconds(wait)
    elif status in TOKEN and not (one.answer and status == 403):
        trouble = BrokerUnavailable(f"{url} answered {status}: it does not know the token of the broker's URL")
    elif astray and not one.answer:
        trouble = BrokerUnavailable(f"{url} answered {status}: it does not take events; is the broker's URL right?")
    else:
        text = "".join(c if c.isprintable() else " " for c in said.decode("utf-8", "replace")).strip()
        return BrokerRefused(f"{url} answered {status}" + (f": {text[:500]}" if text else ""))
    trouble.alive = True
    raise trouble


def _headers(message: Message) -> dict[str, str] | BrokerRefused:
    """What is sent, or why it cannot be."""
    headers = {name: value for name, value in message.headers.items() if name.lower() not in _OURS}
    ours = (
        ("Content-Type", message.type),
        ("Message-Id", message.id),
        ("Reply-To", message.reply_to),
        ("Correlation-Id", message.correlation),
    )
    headers.update((name, value) for name, value in ours if value is not None)
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return BrokerRefused(f"the header {shown(name)} cannot be sent over HTTP: {shown(value)}")
    return headers


async def _beginning(response: httpx2.Response) -> bytes:
    said = b""
    async for chunk in response.aiter_bytes():
        said += chunk
        if len(said) >= MOST_READ:
            break
    return said[:MOST_READ]


def _seconds(wait: str | None) -> float | None:
    """RFC 9110 §10.2.3: a number of seconds, or a date."""
    if wait is None:
        return None
    if wait.isascii() and wait.isdigit() and len(wait) < 10:
        return float(wait)
    try:
        return max(0.0, parsedate_to_datetime(wait).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
