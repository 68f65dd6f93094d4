"""Exceptions → problems. What was meant for the client says what it means; everything else says one fixed sentence and
an id under which the log has the rest (RES-08)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ArgumentError, Conflict, NotFound, Problem, StoreUnavailable, UncommittedError
from ..observe import signal
from .messages import Declined, Refused, Replayed, Response, problem_response
from .operations import spread
from .problems import Problems, plain, pointer

OURS = (Refused, Declined, Replayed, ArgumentError, NotFound, Conflict, Problem, StoreUnavailable, UncommittedError)
"""What a user's handler may let through from offpath, and what a client may be told of it."""


class Withheld(Exception):
    """What a 202 said was not committed. No application handles it: its client has been answered."""


def response_to(error: Exception, problems: Problems, route: str, u: float) -> Response:
    """The answer to a request to `route` that ended in `error`; what is our own fault is told to the log here.

    `u` is uniform in [0, 1).
    """
    match error:
        case Refused():
            return problem_response(error.document, *error.headers)
        case Declined():
            return problem_response(problems.problem(error.slug, error.detail, **error.more))
        case Replayed():
            return error.response
        case ArgumentError():
            where = pointer(error.argument) if error.argument else "#"
            return problem_response(problems.invalid([(where, error.reason)]))
        case Problem():
            said = {"title": error.title, "detail": error.detail, "type": error.type, "status": error.status}
            document = problems.public({"kind": "raised", "public": True, **said})
            return problem_response({**document, "status": error.status})
        case StoreUnavailable():
            signal("http.failed", route=route, error=str(error))
            return problem_response(problems.problem("unavailable"), ("Retry-After", str(spread(5, u))))
        case NotFound():
            return problem_response(problems.problem("not-found"))
        case Conflict():
            return problem_response(plain(409))
        case UncommittedError() | Withheld():
            return problem_response(problems.problem("uncommitted"))  # logged where it was raised
        case _:
            instance = f"urn:uuid:{uuid.uuid4()}"
            signal("http.failed", route=route, error=instance, exc_info=error)
            return problem_response(problems.problem("internal-error", instance=instance))


def http_exception(status: int, detail: Any, headers: Mapping[str, str] | None) -> Response:
    """What a framework (404, 405, …) or a user's handler raised as an HTTP error, with its headers."""
    more = tuple((headers or {}).items())
    if status < 400:
        return Response(status, more)
    document = plain(status, detail if isinstance(detail, str) else None)
    if not isinstance(detail, str) and detail is not None:
        document["errors" if isinstance(detail, list) else "context"] = detail
    return problem_response(document, *more)


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def allow_all(headers: Mapping[str, str] | None, serves: Callable[[str], bool]) -> dict[str, str]:
    """The headers of a 405 with an `Allow` that names every method of the path (RFC 9110 section 15.5.6): routers name
    those of the first route they find. `serves`: whether the application has a route for the path and this method."""
    said = {name.title(): value for name, value in (headers or {}).items()}
    named = [method.strip() for method in said.get("Allow", "").split(",") if method.strip()]
    return {**said, "Allow": ", ".join(dict.fromkeys((*named, *filter(serves, METHODS))))}


def validation_error(errors: Sequence[Mapping[str, Any]], problems: Problems, body: Any = None) -> Response:
    """FastAPI's request validation, of `body` (the input, as parsed)."""
    if any(error.get("type") == "json_invalid" for error in errors):
        return problem_response(problems.problem("malformed-body"))
    return problem_response(problems.problem("invalid-arguments", errors=listed(errors, body)))


def listed(errors: Sequence[Mapping[str, Any]], body: Any) -> list[dict[str, str]]:
    """pydantic's errors as `errors[]`: where (`loc`) and what (`msg`); the rejected input itself is not sent back.

    Where pydantic tried several branches of a union, `loc` names them too, and only the input tells a branch from a
    member. What several branches say of one place becomes one error.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for error in errors:
        place, *path = error.get("loc") or ("body",)
        if place == "body":
            where = ("pointer", pointer(*_members(path, body, error.get("type") == "missing")))
        else:
            where = (str(place), str(path[0]) if path else "")
        details = found.setdefault(where, [])
        if (detail := str(error.get("msg", "not valid"))) not in details:
            details.append(detail)
    return [
        {"detail": "; ".join(details)} | ({kind: at} if kind == "pointer" else {"in": kind, "parameter": at})
        for (kind, at), details in found.items()
    ]


def _holds(value: Any, step: str | int) -> bool:
    return step in value if isinstance(value, Mapping) else isinstance(value, list) and step in range(len(value))


def _members(path: Sequence[str | int], value: Any, missing: bool) -> list[str | int]:
    """The steps of `path` that lead somewhere in `value`; the last of a `missing` one leads to what should be there."""
    steps: list[str | int] = []
    for index, step in enumerate(path):
        inside = _holds(value, step)
        if inside:
            value = value[step]
        if inside or (missing and index == len(path) - 1):
            steps.append(step)
    return steps
