"""CloudEvents by HTTP, from services whose broker is `https://token@this-host/events`.

app = Starlette(routes=[*Inbox(jobs, token=settings.events_token).routes])
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Route

from ...app import Offpath
from ...http.inbox import CAP, Door, paths


class Inbox:
    """`routes` take CloudEvents at `path` and below, from services whose broker is `https://token@this-host/events`,
    and make jobs of them as `@jobs.on` says; see `http.inbox` for the answers.

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
        self.routes = [Route(one, door, include_in_schema=False) for one in paths(path)]
