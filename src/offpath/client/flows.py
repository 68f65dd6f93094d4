"""What the client does, request by request: start, look, wait for the end, cancel, delete, list. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

from ..errors import ResultTimeout
from . import decisions
from .decisions import Answer, Pace, ask_again, backoff, between_polls, is_done, link, status_of, told
from .errors import OperationCanceled, OperationFailed, RequestRefused, UnexpectedAnswer, Unreachable
from .steps import Flow, Look, Moment, Pause, Send

JSON = {"accept": "application/json"}


class Kit(NamedTuple):
    """What every flow of one client knows.

    base        its base_url
    operations  the path of the collection below it
    timeout     how long to wait for an answer, s
    """

    base: str
    operations: str
    pace: Pace
    timeout: float


@dataclass(slots=True)
class Record:
    """One operation as this client knows it. `url` is "" when a start was answered with the result itself, which is
    then in `reply`."""

    url: str
    document: dict[str, Any]
    etag: str = ""
    reply: Answer | None = field(default=None, repr=False)


class Value(NamedTuple):
    """A result: a JSON value, or the bytes of another media type."""

    data: Any
    raw: bool = False


def ask(
    kit: Kit,
    request: Send,
    again: Callable[[Answer], bool] = ask_again,
    until: float | None = None,
) -> Flow[Answer]:
    """Send, and send again after a lost connection or an answer that `again` wants repeated; gives the first other one.

    When patience ends: the last answer, or Unreachable. ResultTimeout rather than a pause beyond `until` (a clock).
    """
    failures, since = 0, 0.0
    while True:
        answer: Answer | None = None
        lost: Unreachable | None = None
        try:
            answer = yield request
        except Unreachable as error:
            lost = error
        if answer is not None and not again(answer):
            return answer
        moment: Moment = yield Look()
        failures += 1
        since = moment.clock if failures == 1 else since
        asked = None if answer is None else told(answer, moment.wall, kit.pace)
        pause = backoff(failures, moment.u, kit.pace) if asked is None else asked
        if moment.clock + pause - since > kit.pace.patience:
            if answer is None:
                raise lost or Unreachable("no answer")
            return answer
        if until is not None and moment.clock + pause > until:
            raise ResultTimeout("not finished in time, and the server could not be asked any more")
        yield Pause(pause)


def granted(answer: Answer) -> Answer:
    """The answer, or RequestRefused unless it is 2xx."""
    if not 200 <= answer.status < 300:
        raise RequestRefused(answer.status, answer.problem())
    return answer


# ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def start(
    kit: Kit, method: str, url: str, headers: Mapping[str, str], body: bytes, key: str, wait: float | None
) -> Flow[Record]:
    """Begin an operation. With a `key` the request is repeated, with the same key, when its answer was lost or says
    that it may be; without one never. `wait`: s that the server may take to answer with the result itself."""
    prefer = "respond-async" if wait is None else f"respond-async, wait={int(wait)}"
    sent = {**JSON, "prefer": prefer, **headers}
    if key:
        sent["idempotency-key"] = f'"{key}"'  # an sf-string (RFC 9651), as the draft wants it
    request = Send(method, decisions.resolve(kit.base, url), sent, body, kit.timeout + (wait or 0))
    answer: Answer
    if key:
        answer = granted((yield from ask(kit, request, decisions.start_again)))
    else:
        answer = granted((yield request))
    if answer.status != 202:
        return _at_once(answer)
    said = answer.json()
    document: dict[str, Any] = said if isinstance(said, dict) else {}
    where = link(kit.base, document, "self", "") or next(
        (
            answer.headers[name]
            for name in ("operation-location", "content-location", "location")
            if name in answer.headers
        ),
        "",
    )
    if not where:
        raise UnexpectedAnswer("202 without a Location: there is no operation to follow")
    where = decisions.follow(kit.base, where)
    return Record(
        where, document or {"id": where.rsplit("/", 1)[-1], "status": "queued"}, answer.headers.get("etag", "")
    )


def _at_once(answer: Answer) -> Record:
    """The work was done within `wait`: the plain result, dressed as an operation that has succeeded."""
    document: dict[str, Any] = {"id": "", "status": "succeeded", "done": True}
    if answer.status == 204 or answer.kind() == "application/json":
        document["result"] = answer.json()
    return Record("", document, reply=answer)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def refresh(
    kit: Kit,
    record: Record,
    hold: int = 0,
    *,
    changed: bool = False,
    until: float | None = None,
    left: float | None = None,
) -> Flow[Answer]:
    """Look at the operation. `hold`: s that the answer may be held back until it has ended, or, with `changed`, until
    it differs from what we know. `left`: s before the caller has had enough."""
    if not record.url:
        return Answer(200, {})
    headers = {**JSON}
    if hold:
        headers["prefer"] = f"wait={hold}"
    if changed and record.etag:
        headers["if-none-match"] = record.etag
    timeout = hold + kit.timeout
    request = Send("GET", record.url, headers, b"", timeout if left is None else min(timeout, left + 1))
    answer = yield from ask(kit, request, until=until)
    match answer.status:
        case 304:
            return answer
        case 303:  # the server sends whoever asks on to the result: so there is one
            record.document = {**record.document, "status": "succeeded", "done": True}
            record.document.pop("result", None)
            return answer
        case _:
            _learn(record, granted(answer))
            return answer


def _learn(record: Record, answer: Answer) -> None:
    said = answer.json()
    if not isinstance(said, dict):
        raise UnexpectedAnswer(f"{record.url} answered {answer.status} with what is no operation")
    record.document, record.etag = said, answer.headers.get("etag", "")


def result(kit: Kit, record: Record, timeout: float | None) -> Flow[Value]:
    """Wait for the end, by polls that the server holds; OperationFailed, OperationCanceled or ResultTimeout when there
    is no result.

    Why not the event stream: docs/decisions/0022-clients.md.
    """
    begun: Moment = yield Look()
    until = None if timeout is None else begun.clock + timeout
    while not is_done(record.document):
        before: Moment = yield Look()
        left = None if until is None else max(0.0, until - before.clock)
        hold = kit.pace.hold if left is None else min(kit.pace.hold, int(left))
        answer = yield from refresh(kit, record, hold, until=until, left=left)
        if is_done(record.document):
            break
        after: Moment = yield Look()
        pause = between_polls(answer, after.clock - before.clock, after.wall, kit.pace)
        if until is not None:
            if after.clock >= until:
                raise ResultTimeout(f"operation {record.document.get('id')} was not finished within {timeout:g} s")
            pause = min(pause, until - after.clock)
        if pause:
            yield Pause(pause)
    return (yield from outcome(kit, record))


def outcome(kit: Kit, record: Record) -> Flow[Value]:
    """Of an operation that has ended: its result, from the resource or from where it is kept."""
    document = record.document
    status = status_of(document)
    if status == "canceled":
        raise OperationCanceled(document)
    if status == "failed" or "error" in document:
        raise OperationFailed(document)
    if "result" in document:
        return Value(document["result"])
    answer = record.reply
    if answer is None:
        url = link(kit.base, document, "result", record.url + "/result")
        answer = granted((yield from ask(kit, Send("GET", url, {"accept": "*/*"}, b"", kit.timeout))))
    if answer.status == 202:
        raise UnexpectedAnswer(f"operation {document.get('id')} has ended, and its result says it has not")
    if answer.status == 204:
        return Value(None)
    kind = answer.kind()
    if kind == "application/json" or kind.endswith("+json"):
        return Value(answer.json())
    return Value(answer.body, raw=True)


# ── acting ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def cancel(kit: Kit, record: Record, reason: str | None) -> Flow[None]:
    """Ask it to stop; of one that has ended nothing changes. Asked again as often as needed: it is idempotent."""
    if not record.url:
        return
    body = b"" if reason is None else json.dumps({"reason": reason}).encode()
    headers = JSON if reason is None else {**JSON, "content-type": "application/json"}
    url = link(kit.base, record.document, "cancel", record.url + "/cancel")
    _learn(record, granted((yield from ask(kit, Send("POST", url, headers, body, kit.timeout)))))


def delete(kit: Kit, record: Record) -> Flow[None]:
    """Erase it. That what we knew to have ended is gone already is well: the answer to our first asking may be lost."""
    if not record.url:
        raise UnexpectedAnswer("answered at once: there is no operation to delete")
    answer = yield from ask(kit, Send("DELETE", record.url, JSON, b"", kit.timeout))
    if not (answer.status in (404, 410) and is_done(record.document)):
        granted(answer)


def page(kit: Kit, query: tuple[tuple[str, str], ...], cursor: str) -> Flow[tuple[list[Record], str]]:
    """One page of the caller's operations, and the cursor of the next; "" after the last."""
    asked = urlencode([*query, ("cursor", cursor)] if cursor else query)
    url = decisions.resolve(kit.base, kit.operations.strip("/"))
    answer = granted((yield from ask(kit, Send("GET", f"{url}?{asked}" if asked else url, JSON, b"", kit.timeout))))
    said = answer.json()
    if not isinstance(said, dict) or not isinstance(said.get("items"), list):
        raise UnexpectedAnswer(f"{url} answered with what is no list of operations")
    records = [
        Record(link(kit.base, item, "self", f"{url}/{item.get('id')}"), item)
        for item in said["items"]
        if isinstance(item, dict)
    ]
    return records, str(said.get("next_cursor") or "")
