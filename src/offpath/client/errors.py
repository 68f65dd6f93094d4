"""What the client raises, in one tree; the root is the library's own, so `except OffpathError` has them all.

OffpathError
├── ClientError
│   ├── Unreachable          no answer, for as long as the client's `patience`
│   ├── RequestRefused       the server said no: `status`, `problem`
│   ├── UnexpectedAnswer     what came is no operation, or its result is not of the type asked for
│   ├── ForeignLink          a link leads to another origin; it is not followed, and no credentials go there
│   └── OperationEnded       the operation ended without a result: `problem`, `operation`
│       ├── OperationFailed
│       └── OperationCanceled
└── ResultTimeout            of `offpath.errors`: not finished within `timeout`; the operation goes on
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import OffpathError


class ClientError(OffpathError):
    """Something between this client and its server."""


class Unreachable(ClientError):
    """No answer: the connection was refused, was lost, or was silent for too long.

    `quiet` is True when the connection stood and nothing came over it.
    """

    def __init__(self, detail: str, *, quiet: bool = False) -> None:
        super().__init__(detail)
        self.quiet = quiet


class RequestRefused(ClientError):
    """The server's answer is 4xx or 5xx. `problem` is its RFC 9457 document, or one made of the status."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {words(problem)}")
        self.status = status
        self.problem = dict(problem)


class UnexpectedAnswer(ClientError):
    """The server's answer is well, but not what this client can use."""


class ForeignLink(ClientError):
    """A link that the server gave leads to another scheme, host or port than `base_url`."""

    def __init__(self, url: str, origin: str) -> None:
        super().__init__(
            f"{url} is not on {origin}: links are followed only there, since credentials must not leave for another "
            "host. Give the client the server's public address as base_url, or set base_url on the server."
        )
        self.url = url


class OperationEnded(ClientError):
    """The operation ended without a result. `problem` is its `error` (RFC 9457), `operation` the whole resource."""

    def __init__(self, operation: Mapping[str, Any]) -> None:
        error = operation.get("error")
        self.problem: dict[str, Any] = dict(error) if isinstance(error, Mapping) else {}
        self.operation = dict(operation)
        super().__init__(f"operation {operation.get('id')} {operation.get('status')}: {words(self.problem)}")


class OperationFailed(OperationEnded):
    """The operation's work failed, as often as it may."""


class OperationCanceled(OperationEnded):
    """The operation was canceled; `problem["reason"]` says why, if a reason was given."""


def words(problem: Mapping[str, Any]) -> str:
    """A problem as one line for people."""
    title, detail = problem.get("title"), problem.get("detail") or problem.get("reason")
    return ": ".join(str(part) for part in (title, detail) if part) or "no reason given"
