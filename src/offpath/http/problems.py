"""Every error an HTTP client can meet: the table of problem types (RFC 9457) and their rendering. Pure.

`docs/reference/problems.md` is generated from `TYPES`; a type's URI is `base + slug` and never changes its meaning.
Plain status codes that say all there is to say (a 404 for an unknown path, 405, 413, 415, …) are `about:blank`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

BASE = "https://offpath.dev/problems/"
MEDIA_TYPE = "application/problem+json"


class ProblemType(NamedTuple):
    """title and status never vary for a type; `doc` says what happened and what the client can do."""

    title: str
    status: int
    doc: str


TYPES: Mapping[str, ProblemType] = {
    # answers to a request
    "not-found": ProblemType("No such operation", 404, "There is no operation with this id, or it is not yours."),
    "gone": ProblemType("The operation has expired", 410, "Its retention is over; result and input are erased."),
    "unauthenticated": ProblemType("Who is asking?", 401, "The application could not tell who the caller is."),
    "forbidden": ProblemType("Not permitted", 403, "It takes a permission that you do not have; nothing was done."),
    "foreign-origin": ProblemType(
        "A cookie from another origin",
        403,
        "A browser sent this with its cookies for a page that is not trusted. Send an Authorization header.",
    ),
    "token-in-url": ProblemType(
        "A token in the URL",
        400,
        "URLs end up in logs. Send it as an Authorization header; a client that cannot POSTs to the `ticket` of the "
        "operation's events first.",
    ),
    "ticket-refused": ProblemType(
        "The ticket opens nothing",
        401,
        "It has been used, its time is up, or it is for another operation. Its owner POSTs for a new one.",
    ),
    "invalid-parameter": ProblemType(
        "A query parameter is not valid", 400, "Unknown, given twice, or out of its range; `detail` names it."
    ),
    "invalid-cursor": ProblemType(
        "The cursor is not valid", 400, "It was altered, belongs to someone else, or the filters changed: start again."
    ),
    "invalid-arguments": ProblemType(
        "The request is not valid", 422, "`errors` lists what is wrong and where. Nothing was started."
    ),
    "malformed-body": ProblemType("The body cannot be read", 400, "It is not the JSON this route takes."),
    "not-finished": ProblemType(
        "The operation has not ended", 409, "Only what has ended can be deleted. To stop it, POST to its `cancel` link."
    ),
    "no-result": ProblemType(
        "The operation ended without a result", 409, "It failed or was canceled; `operation_error` says why."
    ),
    "held": ProblemType(
        "Another operation holds this", 409, "One with the same key is under way. Try again when it has ended."
    ),
    "malformed-precondition": ProblemType(
        "A precondition cannot be read", 400, "`If-Match` and `If-None-Match` take `*` or a list of quoted entity tags."
    ),
    "precondition-failed": ProblemType(
        "The version is another one", 412, "It changed since the client read it. Nothing was done: read it again."
    ),
    "precondition-required": ProblemType(
        "Say which version you mean", 428, "`If-Match` with the entity tag of the version to be changed is required."
    ),
    "malformed-patch": ProblemType("The patch cannot be read", 400, "It is not a patch of the media type it came as."),
    "patch-conflict": ProblemType(
        "The patch does not apply", 409, "A `test` failed, or a target is not there. Nothing was changed."
    ),
    "patch-too-large": ProblemType(
        "The patch asks for too much", 422, "Too many operations, too deep, or a result too large. Nothing was changed."
    ),
    "invalid-document": ProblemType(
        "The patched document is not valid", 422, "`errors` lists what is wrong and where. Nothing was changed."
    ),
    "idempotency-key-invalid": ProblemType(
        "The Idempotency-Key is not valid", 400, "A text of 1 to 255 characters, in double quotes; `detail` says more."
    ),
    "idempotency-key-required": ProblemType(
        "An Idempotency-Key is required", 400, "Send one, a new UUID say, and the same one when you send this again."
    ),
    "idempotency-key-in-use": ProblemType(
        "A request with this key is under way", 409, "Send it again after `Retry-After` seconds to get its answer."
    ),
    "idempotency-key-reused": ProblemType(
        "This key was used for another request", 422, "A new request needs a new key; the same request has one body."
    ),
    "no-endpoint": ProblemType(
        "No such endpoint", 404, "There is no webhook endpoint with this id, or it is not yours."
    ),
    "endpoint-disabled": ProblemType(
        "The endpoint is disabled", 409, "Nothing is sent to it. Enable it first; `detail` may say why it was disabled."
    ),
    "too-many-endpoints": ProblemType(
        "Too many endpoints", 429, "You have as many webhook endpoints as you may have: delete one first."
    ),
    "secret-shown": ProblemType(
        "The secret has been shown", 409, "It is shown once. Send `rotate: true` for a new one, if it is ours to make."
    ),
    "no-job": ProblemType("No such job", 404, "There is no job with this id, or it has been forgotten."),
    "job-live": ProblemType(
        "The job has not ended", 409, "Only what has ended is run again or deleted; to stop it, POST to its `cancel`."
    ),
    "job-conflict": ProblemType("This job cannot be changed so", 409, "Nothing was done; `detail` says why."),
    "not-watched": ProblemType(
        "Nobody can follow this job", 404, "It was not started over HTTP, so that it keeps no log of its events."
    ),
    "no-queue-name": ProblemType("No queue can have that name", 404, "A name is printable text, 1 to 255 characters."),
    "no-schedule": ProblemType("No such schedule", 404, "There is no schedule of this name, or it has been removed."),
    "no-webhooks": ProblemType(
        "Nothing can be sent from here",
        409,
        "This application sends no webhooks (`Webhooks`), so that its endpoints can be looked at only.",
    ),
    "unavailable": ProblemType(
        "Not available now", 503, "Nothing was stored. Send the request again after `Retry-After` seconds."
    ),
    "too-many-streams": ProblemType(
        "Too many open streams", 503, "Poll instead, or connect again after `Retry-After` seconds."
    ),
    "too-many-waiting": ProblemType(
        "Too many of your requests wait here",
        429,
        "Streams and held polls of a caller are counted. Close some first.",
    ),
    "polled-too-fast": ProblemType(
        "You ask too often", 429, "The operation is as it was. Ask again after `Retry-After` seconds, or hold the poll."
    ),
    "too-many-live": ProblemType(
        "Too many of your operations are under way", 429, "Nothing was stored. Start more when some have ended."
    ),
    "quota-exceeded": ProblemType(
        "Your share of the queue is full", 429, "Nothing was stored. Send it again after `Retry-After` seconds."
    ),
    "overloaded": ProblemType(
        "The queue is full", 503, "Nothing was stored. Send the request again after `Retry-After` seconds."
    ),
    "uncommitted": ProblemType(
        "The request could not be completed", 500, "A programming error on the server; nothing was started."
    ),
    "internal-error": ProblemType("Internal server error", 500, "Unforeseen. `instance` finds it in the server's log."),
    # an operation's own end
    "job-failed": ProblemType("The operation failed", 500, "Its work raised an error, as often as it may."),
    "timeout": ProblemType(
        "The operation took too long", 504, "An attempt ran longer than it may, as often as it may."
    ),
    "deadline-exceeded": ProblemType("Deadline exceeded", 504, "It could not start (again) before its deadline."),
    "undecodable": ProblemType("The input does not fit any more", 500, "The work changed after this was accepted."),
    "result-not-storable": ProblemType(
        "The result cannot be stored", 500, "The work was done; its result was not JSON."
    ),
    "revoked": ProblemType(
        "Whoever started it may no more", 403, "The right to it was withdrawn before the work began; nothing was done."
    ),
    "quarantined": ProblemType("The operation was quarantined", 500, "Workers died while they ran it."),
    "lost": ProblemType("The operation was lost", 500, "Its worker died; the work must not be repeated."),
    "canceled": ProblemType("The operation was canceled", 409, "Someone asked for it; `reason` says why."),
}

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_KINDS = {
    "raised": "job-failed",
    "timeout": "timeout",
    "deadline": "deadline-exceeded",
    "undecodable": "undecodable",
    "result": "result-not-storable",
    "died": "job-failed",
    "memory": "job-failed",
    "revoked": "revoked",
    "quarantined": "quarantined",
    "lost": "lost",
    "canceled": "canceled",
}


class Problems:
    """Renders problems under one base URI."""

    def __init__(self, base: str = BASE) -> None:
        self.base = base if base.endswith(("/", "#", ":")) else base + "/"

    def problem(self, slug: str, detail: str | None = None, **more: Any) -> dict[str, Any]:
        """The document of a type of the table; None members are left out."""
        kind = TYPES[slug]
        return _document(self.base + slug, kind.title, kind.status, detail, more)

    def of_operation(self, stored: str | None, *, id: str, attempts: int, state: str) -> dict[str, Any]:
        """An operation's `error`: what a client may read of the stored error (JSON text, see `core/outcome.py`)."""
        data = _load(stored) or {"kind": "canceled" if state == "canceled" else "raised"}
        more: dict[str, Any] = {"instance": f"urn:uuid:{id}", "attempts": attempts}
        if data.get("kind") == "canceled":
            more["reason"] = data.get("reason")
            more["requested_at"] = data.get("requested_at")
            del more["attempts"]
        if (last := _load(data.get("last_error"))) is not None:
            more["last_error"] = self.public(last)
        return {**self.public(data), **{k: v for k, v in more.items() if v is not None}}

    def public(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The public part of one stored error: its own words only if it was marked public, else the table's."""
        slug = _KINDS.get(str(data.get("kind")), "job-failed")
        kind = TYPES[slug]
        if not data.get("public") or slug == "canceled":
            return _document(self.base + slug, kind.title, kind.status, None, {})
        status = data.get("status")
        status = status if isinstance(status, int) and 400 <= status <= 599 else kind.status
        uri = str(data.get("type") or "")
        if not _ABSOLUTE.match(uri):
            uri = self.base + (uri if uri in TYPES else slug)
        return _document(uri, str(data.get("title") or kind.title), status, data.get("detail"), {})

    def invalid(self, errors: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """422 with `errors[]`: (JSON Pointer as a URI fragment, what is wrong)."""
        listed = [{"detail": detail, "pointer": pointer} for pointer, detail in errors]
        return self.problem("invalid-arguments", errors[0][1] if len(errors) == 1 else None, errors=listed)


def plain(status: int, detail: str | None = None) -> dict[str, Any]:
    """A status code that says all there is to say."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return _document("about:blank", title, status, None if detail == title else detail, {})


def pointer(*path: str | int) -> str:
    """A JSON Pointer (RFC 6901) in its URI fragment form."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "#" + "".join("/" + _escape(part) for part in parts)


def dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def reference() -> str:
    """The text of docs/reference/problems.md."""
    lines = [
        "# Problem types",
        "",
        "Every error is an RFC 9457 document (`application/problem+json`); its `type` is one of these under",
        f"`{BASE}` (or the `problem_base` the application chose), or `about:blank` for a plain status code.",
        "Generated from `src/offpath/http/problems.py`.",
        "",
        "| type | status | title | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{slug}` | {kind.status} | {kind.title} | {kind.doc} |" for slug, kind in TYPES.items()]
    return "\n".join(lines) + "\n"


def _document(uri: str, title: str, status: int, detail: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {"type": uri, "title": title, "status": status}
    if detail:
        document["detail"] = str(detail)
    document.update((name, value) for name, value in more.items() if value is not None)
    return document


def _load(text: Any) -> dict[str, Any] | None:
    if not text:
        return None
    data = json.loads(text) if isinstance(text, str) else text
    return data if isinstance(data, dict) else None


def _escape(part: str) -> str:
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or chr(byte) in "-._~!$&'()*+,;=:@" else f"%{byte:02X}"
        for byte in part.encode("utf-8", "backslashreplace")
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
