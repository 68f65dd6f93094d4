"""One request to somebody else's server: to a judged address, within one deadline, believing nothing that comes back.

Only the transport of httpx2 is used, not its client: so there are no redirects, proxies, cookies, netrc, decompression
or lines in a log to be switched off.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from typing import Any

from ..core.checks import number
from ..errors import ConfigurationError, MissingExtraError
from .guard import Address, Blocked, Policy, Resolver, Target, check_url, resolve
from .headers import merged
from .policy import Sent, retry_after
from .snippet import snippet

try:
    import httpx2
except ImportError as e:
    raise MissingExtraError("sending webhooks", "webhooks") from e

__all__ = ["Sender", "Sent"]

MOST_READ = 16 * 1024  # bytes of a response body
ADDRESSES = 4  # of one name that are tried


@dataclass(slots=True)
class _Answer:
    """What has come back so far; a deadline may stop us at any point."""

    status: int | None = None
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    body: bytearray = field(default_factory=bytearray)


class Sender:
    """Sends webhooks; holds no connection, and may be shared by threads and event loops.

    policy     what may be called; every URL and address is checked against it at each attempt
    timeout    seconds for the whole of an attempt: look-up, connect, TLS, send, headers, body (15 to 30 in production)
    tls        a context of yours, for an authority of your own; it must verify certificates and names
    resolver   (name, port) → addresses; default: the system's
    """

    def __init__(
        self,
        policy: Policy | None = None,
        timeout: float = 15.0,
        *,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.policy = Policy() if policy is None else policy
        self.timeout = number(timeout, 0.01, 60, "timeout")
        if tls is not None and not (tls.check_hostname and tls.verify_mode is ssl.CERT_REQUIRED):
            raise ConfigurationError("tls must be a context that verifies certificates and host names")
        self._tls = tls
        self.resolver = resolver

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, extra: Mapping[str, str] | None = None
    ) -> Sent:
        """POST these bytes. Whatever the other side does is said in the answer, never raised.

        headers   ours: webhook-id, webhook-timestamp, webhook-signature, traceparent
        extra     the endpoint owner's: they replace none of ours (`headers.check_headers`)
        """
        answer, started = _Answer(), time.perf_counter()
        error = await self._attempt("POST", url, {"content-type": "application/json", **headers}, extra, body, answer)
        latency = time.perf_counter() - started
        said = answer.headers.get("retry-after")
        shown = ""
        if answer.body and "content-encoding" not in answer.headers:
            shown = snippet(bytes(answer.body), [*headers.values(), *(extra or {}).values()])
        wait = None if said is None else retry_after(said, time.time_ns() // 1000)
        return Sent(answer.status, latency, error, wait, shown)

    async def ask(self, url: str, origin: str) -> bool:
        """Whether this URL wants webhooks from `origin` (a host name of ours): the handshake of CloudEvents WebHook §4.

        False for everything but a 2xx whose WebHook-Allowed-Origin is that origin or `*`.
        """
        answer = _Answer()
        asking = {"webhook-request-origin": origin}
        error = await self._attempt("OPTIONS", url, asking, None, None, answer)
        if error is not None or answer.status is None or not 200 <= answer.status < 300:
            return False
        allowed = answer.headers.get("webhook-allowed-origin", "").strip()
        return allowed == "*" or allowed.lower() == origin.lower()

    async def _attempt(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        extra: Mapping[str, str] | None,
        body: bytes | None,
        answer: _Answer,
    ) -> str | None:
        """One exchange, told in `answer`; what went wrong, as `Sent.error` has it."""
        try:
            target = check_url(url, self.policy)
            fields = merged(target.authority, headers, extra or {})
        except (Blocked, ConfigurationError) as e:
            return f"refused: {e}"
        tls = self._tls or _authorities()  # read before the clock starts: it is nobody's answering late
        try:
            async with asyncio.timeout(self.timeout):
                try:
                    addresses = await resolve(target, self.policy, self.resolver)
                except OSError:
                    return "dns: the name has no address"
                await self._call(method, target, addresses, tls, fields, body, answer)
        except TimeoutError:
            return f"timeout: not answered in full within {self.timeout:g} s"
        except Blocked as e:
            return f"blocked: {e}"
        except (httpx2.TransportError, httpx2.InvalidURL, OSError) as e:
            return _described(e)
        return None

    async def _call(
        self,
        method: str,
        target: Target,
        addresses: list[Address],
        tls: ssl.SSLContext,
        fields: dict[str, str],
        body: bytes | None,
        answer: _Answer,
    ) -> None:
        """Ask the first of these addresses that can be connected to."""
        tried = addresses[:ADDRESSES]
        for address in tried:
            line = _Line(address)
            request = httpx2.Request(
                method,
                httpx2.URL(scheme=target.scheme, host=str(address), port=target.port),
                headers=fields,
                content=body,
                extensions={
                    "sni_hostname": target.host,  # what the certificate is verified against, too
                    "target": target.path.encode("ascii"),
                    "timeout": {"connect": self.timeout / (len(tried) + 1) if len(tried) > 1 else None},
                    "trace": line.trace,
                },
            )
            try:
                return await _exchange(request, tls, answer)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if address == tried[-1]:
                    raise  # else nothing has been sent yet: the next one
            finally:
                await line.close()


@cache
def _authorities() -> ssl.SSLContext:
    """Those of the operating system; read once, for it takes a while."""
    return httpx2.create_ssl_context(trust_env=False)


async def _exchange(request: httpx2.Request, tls: ssl.SSLContext, answer: _Answer) -> None:
    async with httpx2.AsyncHTTPTransport(
        verify=tls, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)
    ) as transport:
        response = await transport.handle_async_request(request)
        try:
            answer.status, answer.headers = response.status_code, response.headers
            async with aclosing(response.aiter_raw()) as chunks:
                async for chunk in chunks:
                    answer.body += chunk[: MOST_READ - len(answer.body)]
                    if len(answer.body) >= MOST_READ:
                        break
        finally:
            await response.aclose()


class _Line:
    """The connection of one request, as httpx2's `trace` tells of it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._stream: Any = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """The other end of the socket is the address that was judged; asked before TLS and before a byte is sent."""
        if event != "connection.connect_tcp.complete":
            return
        self._stream = info["return_value"]
        peer = self._stream.get_extra_info("server_addr")
        if peer is None or ip_address(peer[0]) != self._address:
            raise Blocked("the connection went to another address than the one that was checked")

    async def close(self) -> None:
        """Also where httpcore2 leaves it open: a TLS handshake that was cancelled."""
        if self._stream is not None:
            await self._stream.aclose()


def _described(error: BaseException) -> str:
    """A transport's error in our words. Theirs may quote what an inner service sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"tls: the certificate is not valid ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "tls: no secure connection could be agreed on"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.TimeoutException):
        return "timeout: no connection in time"
    if isinstance(error, httpx2.ConnectError):
        return "connect: nobody listens there"
    if isinstance(error, httpx2.ProtocolError):
        return "protocol: the answer is not valid HTTP"
    return "connect: the connection broke"
