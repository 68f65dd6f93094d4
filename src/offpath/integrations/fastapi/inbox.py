"""CloudEvents by HTTP, from services whose broker is `https://token@this-host/events`.

app.include_router(Inbox(jobs, token=settings.events_token).router)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from fastapi import APIRouter

from ...app import Offpath
from ...http.inbox import CAP, Door, paths


class Inbox:
    """`router` takes CloudEvents at `path` and below, and makes jobs of them as `@jobs.on` says; see `http.inbox` for
    the answers. The routes are in the AsyncAPI document, not in OpenAPI.

    token    what senders show as `Authorization: Bearer`; several while one replaces another
    public   whoever reaches it may send, instead
    cap      bytes of a body (1 MiB)
    """

    def __init__(
        self,
        jobs: Offpath,
        *,
        token: str | Sequence[str] | None = None,
        public: bool = False,
        path: str = "/events",
        cap: int = CAP,
    ) -> None:
        door = Door(jobs, token=token, public=public, cap=cap)
        self.router = APIRouter()
        for one in paths(path):
            self.router.add_route(one, cast(Any, door), include_in_schema=False)
