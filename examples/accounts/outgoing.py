"""HTTP calls to other services: the push gateway, and whoever wants to know about updated users."""

from typing import Any

import httpx2

from offpath import trace_headers

TIMEOUT = 10.0  # seconds to connect, and again for each read


def client() -> httpx2.AsyncClient:
    """One client for many calls: it keeps connections open. Whoever makes it closes it."""
    return httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False)


async def post(http: httpx2.AsyncClient, url: str, body: dict[str, Any], *, key: str) -> None:
    """POST JSON; anything but 2xx raises (httpx2.HTTPError).

    `key` goes out as Idempotency-Key. A caller who may come twice passes the same one, so that the receiver can tell
    a repeat from a second message. `traceparent` goes out too, where we are in a trace: the receiver's log and ours
    then tell one story.
    """
    headers = {"Idempotency-Key": f'"{key}"', **trace_headers()}
    answer = await http.post(url, json=body, headers=headers)
    answer.raise_for_status()
