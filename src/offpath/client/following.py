"""The story of one operation: its event stream, resumed as often as it breaks, or polls where there is no stream."""

from __future__ import annotations

import json

from .decisions import Answer, Event, Stream, backoff, between_polls, fold, is_done, link, status_of, stream_of, told
from .decoder import Decoder, Message
from .errors import RequestRefused, Unreachable
from .flows import Kit, Record, refresh
from .steps import Close, Look, Moment, Open, Pause, Read, Story


def events(kit: Kit, record: Record, after: str = "") -> Story:
    """Every event once, to the last; `after`: the id of the last one already seen. `record` keeps up with them.

    A lost connection is opened again with Last-Event-ID. Where no stream is to be had (406, 503, something else than a
    stream, or a proxy that keeps the bytes to itself) it polls: the events are snapshots then, and the end.
    """
    if not record.url:
        yield Event("operation.succeeded", "", record.document)
        return
    url = link(kit.base, record.document, "events", record.url + "/events")
    last, failures, since = after, 0, 0.0
    while True:
        headers = {"accept": "text/event-stream", "accept-encoding": "identity", "cache-control": "no-store"}
        if last:
            headers["last-event-id"] = last
        decoder = Decoder(last)
        answer: Answer | None = None
        lost = Unreachable("the stream ends again and again before an event")
        came = False
        try:
            opened: Answer = yield Open(url, headers, 2 * kit.pace.heartbeat)
            answer, meaning = opened, stream_of(opened)
            while meaning is Stream.READ and (piece := (yield Read())) is not None:
                came = True
                for message in decoder.feed(piece):
                    failures = 0
                    event = event_of(message)
                    record.document = fold(record.document, event)
                    yield event
                    if event.last:
                        return
        except Unreachable as error:
            lost = error
            meaning = Stream.POLL if error.quiet and not came else Stream.AGAIN
        last = decoder.last_id
        yield Close()
        match meaning:
            case Stream.ENDED:
                return
            case Stream.POLL:
                yield from polled(kit, record)
                return
            case Stream.REFUSED if answer is not None:
                raise RequestRefused(answer.status, answer.problem())
            case _:
                pass
        moment: Moment = yield Look()
        failures += 1
        since = moment.clock if failures == 1 else since
        if moment.clock - since > kit.pace.patience:
            raise lost if answer is None or answer.status == 200 else RequestRefused(answer.status, answer.problem())
        pause = None if answer is None else told(answer, moment.wall, kit.pace)
        if pause is None and decoder.retry is not None and failures == 1:
            pause = min(decoder.retry / 1000, kit.pace.longest)
        yield Pause(backoff(failures, moment.u, kit.pace) if pause is None else pause)


def event_of(message: Message) -> Event:
    """Data that is no JSON stays text."""
    try:
        return Event(message.type, message.id, json.loads(message.data))
    except (ValueError, RecursionError):
        return Event(message.type, message.id, message.data)


def polled(kit: Kit, record: Record) -> Story:
    """A snapshot now and after each change, and the end."""
    hold = 0
    while True:
        before: Moment = yield Look()
        answer = yield from refresh(kit, record, hold, changed=bool(hold))
        if is_done(record.document):
            yield Event("operation." + status_of(record.document), "", dict(record.document))
            return
        if answer.status != 304:
            yield Event("operation.snapshot", "", dict(record.document))
        after: Moment = yield Look()
        if pause := between_polls(answer, after.clock - before.clock, after.wall, kit.pace):
            yield Pause(pause)
        hold = kit.pace.hold
