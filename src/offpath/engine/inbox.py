"""Messages become jobs: what they ask for, and that they have been taken, is one transaction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from ..core import inbox
from ..core.call import Call
from ..core.options import CallOptions, TaskOptions
from ..core.retry import Retry
from ..errors import NotFound, SchemaError, StoreUnavailable, Unreadable
from ..observe import signal
from ..ports import NewJob, Received, Store
from ..ports.inbox import Entry, Letter, Taken
from ..settings import Settings
from ..tasks import Context, Reading, Registry, Subscription, readings
from ..tracing import continuing
from . import messages
from .messages import Asked, Misfit, Sorted

HTTP = "http"
OPTIONS = TaskOptions(queue=inbox.QUEUE, retry=Retry(max_attempts=1))
"""Of the task that reads a message again."""


class Desk(Protocol):
    """What is asked of the application."""

    settings: Settings
    registry: Registry

    @property
    def store(self) -> Store: ...

    def new_job(self, call: Call, *, now: int | None = None) -> NewJob: ...


class Written(NamedTuple):
    """What is written for one message."""

    entries: list[Entry]
    misfits: list[Misfit]


class Inbox:
    """The inbox of one application."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def readings(self) -> list[Reading]:
        """What has to be consumed. ConfigurationError for what cannot be shared among workers."""
        settings = self._desk.settings
        return readings(self._desk.registry.subscriptions, settings.topic, settings.group)

    async def take(
        self, kind: str, received: Sequence[Received], reading: Reading | None = None, *, keep: bool = True
    ) -> list[Taken]:
        """Make jobs of messages, in one transaction: what has become of each. After that they may be acknowledged.

        kind     of the broker that brought them
        reading  what they were read for; None: they were sent to us, and all that ask for events by type may have them
        keep     one of which no job can be made is kept, as it is, beside a job that is a dead letter

        When the store refuses them together, each is taken by itself, and only what it refuses then counts as
        unreadable. StoreUnavailable: nothing is known of any of them, take all again.
        """
        try:
            return await self._together(kind, received, reading, keep=keep)
        except (StoreUnavailable, SchemaError):
            raise
        except Exception as error:
            if len(received) > 1:
                return [said for one in received for said in await self.take(kind, [one], reading, keep=keep)]
            return [await self._bury(kind, received[0], reading, error, keep=keep)]

    async def _together(
        self, kind: str, received: Sequence[Received], reading: Reading | None, *, keep: bool
    ) -> list[Taken]:
        wanted = self._sent() if reading is None else reading.subscriptions
        place = _place(reading)
        # Not on the loop: a message may have a megabyte, and there may be many.
        written = await asyncio.to_thread(self._write, kind, received, wanted, place, keep=keep)
        entries = [entry for one in written for entry in one.entries]
        store, settings = self._desk.store, self._desk.settings
        new: list[bool] = []
        if entries:
            new = await store.perform(lambda: store.verbs.take(entries, settings.dedupe))
        fresh = {entry.new.job.id for entry, this in zip(entries, new, strict=True) if this}
        taken = [_taken(one, fresh) for one in written]
        self._tell(kind, place, received, taken)
        return taken

    async def _bury(self, kind: str, one: Received, reading: Reading | None, error: Exception, *, keep: bool) -> Taken:
        """A message that the store will not have as a job, whatever it is about it."""
        why, place = f"{type(error).__name__}: {error}", _place(reading)
        jobs: tuple[str, ...] = ()
        if keep:
            entry = self._letter(kind, one, place, messages.nobodys(one, why), self._desk.store.now())
            store, settings = self._desk.store, self._desk.settings
            [new] = await store.perform(lambda: store.verbs.take([entry], settings.dedupe))
            jobs = (entry.new.job.id,) if new else ()
        signal("inbox.unreadable", broker=kind, source=_shown(place), place=one.place, error=why)
        # Whoever keeps it himself is not told what our database says.
        return Taken("unreadable", why if keep else f"no job can be made of it: {type(error).__name__}", jobs)

    @property
    def _answers(self) -> bool:
        """Whether there is a broker that would carry an answer."""
        return bool(self._desk.settings.broker or self._desk.settings.transport)

    def _sent(self) -> tuple[Subscription, ...]:
        return tuple(each for each in self._desk.registry.subscriptions if each.format == "cloudevent")

    def _write(
        self, kind: str, received: Sequence[Received], wanted: Sequence[Subscription], place: str, *, keep: bool
    ) -> list[Written]:
        now = self._desk.store.now()
        written: list[Written] = []
        for one in received:
            found = messages.sort(kind, one, wanted, self._desk.registry.get, answers=self._answers)
            entries = self._entries(found, now)
            now += len(entries)
            if keep or entries:
                for misfit in found.misfits:
                    entries.append(self._letter(kind, one, place, misfit, now))
                    now += 1
            written.append(Written(entries, found.misfits))
        return written

    def _entries(self, found: Sorted, now: int) -> list[Entry]:
        """A microsecond apart, so that jobs keep the order in which their messages came."""
        return [self._entry(asked, now + n) for n, asked in enumerate(found.asked)]

    def _entry(self, asked: Asked, now: int) -> Entry:
        with continuing(*(asked.trace or (None,))):
            new = self._desk.new_job(asked.call, now=now)
        return Entry(asked.call.task, asked.source, asked.id, new, asked.line)

    def _letter(self, kind: str, one: Received, place: str, misfit: Misfit, now: int) -> Entry:
        """The job that stands for it: it reads the message again, which is why it is a dead letter soon."""
        call = Call(inbox.TASK, 1, "{}", OPTIONS, CallOptions())
        with continuing(None):
            new = self._desk.new_job(call, now=now)
        id, body = new.job.id, one.message.body
        # Its key is how it is found that somebody is to read the letter, before it is thrown away.
        job = new.job._replace(args=json.dumps({"letter": id}), key=id)
        letter = Letter(
            id, id, misfit.task, kind, place, one.place, body[: inbox.MAX_RAW], len(body), sha256(body).hexdigest(),
            messages.rest(one.message), now,
        )  # fmt: skip
        task = f"{inbox.TASK} {misfit.task}" if misfit.task else inbox.TASK
        return Entry(task, misfit.source, misfit.id, new._replace(job=job), None, letter)

    def _tell(self, kind: str, place: str, received: Sequence[Received], taken: Sequence[Taken]) -> None:
        source = _shown(place)
        for one, said in zip(received, taken, strict=True):
            if said.why:
                signal("inbox.unreadable", broker=kind, source=source, place=one.place, error=said.why)
        waiting = [one.message.reply_to for one, said in zip(received, taken, strict=True) if said.outcome == "new"]
        if any(waiting) and not self._answers:
            signal("inbox.unanswered", broker=kind, source=source, messages=sum(map(bool, waiting)))
        jobs, known = sum(len(said.jobs) for said in taken), sum(said.outcome == "known" for said in taken)
        if jobs or known:
            signal("inbox.received", broker=kind, source=source, jobs=jobs, known=known)

    # -- the task that reads a message again --------------------------------------------------------------------------

    async def reread(self, context: Context[Any], letter: str) -> list[str]:
        """Make the jobs that today's code sees in a letter: their ids. Unreadable when it still sees none."""
        store = self._desk.store
        found = await store.read(store.verbs.letter(letter))
        if found is None:
            raise NotFound(f"the message of letter {letter} has been deleted")
        try:
            entries = await asyncio.to_thread(self._again, found)
            why = None
        except Unreadable as error:
            entries, why = [], error
        seconds = self._desk.settings.dedupe
        new = await store.perform(lambda: store.verbs.reread(letter, context.job, entries, seconds))
        if why is not None:
            raise why
        return [entry.new.job.id for entry, this in zip(entries, new, strict=True) if this]

    def _again(self, letter: Letter) -> list[Entry]:
        if letter.size > len(letter.body):
            raise Unreadable(
                f"it had {letter.size:,} bytes (SHA-256 {letter.digest}), of which the first {len(letter.body):,} "
                "were kept"
            )
        address, shape, group = json.loads(letter.source)
        wanted: Sequence[Subscription] = self._sent()
        if shape != HTTP:
            known = (*self.readings(), *self._desk.registry.brought)
            there = [one for one in known if one.source[:3] == (address, shape, group)]
            wanted = there[0].subscriptions if there else ()
        wanted = [each for each in wanted if letter.task in ("", each.task)]
        if not wanted:
            raise Unreadable(f"nothing here consumes {_shown(letter.source)} any more")
        message = messages.whole(letter.body, letter.message)
        one = Received(message, None, letter.place, address)
        found = messages.sort(letter.kind, one, wanted, self._desk.registry.get, answers=self._answers)
        if found.misfits:
            raise Unreadable("; ".join(_said(misfit) for misfit in found.misfits))
        return self._entries(found, self._desk.store.now())


def _taken(one: Written, fresh: set[str]) -> Taken:
    jobs = tuple(entry.new.job.id for entry in one.entries if entry.new.job.id in fresh)
    real = [entry for entry in one.entries if entry.letter is None]
    kept = any(entry.letter is not None and entry.new.job.id in fresh for entry in one.entries)
    why = "; ".join(_said(misfit) for misfit in one.misfits) if one.misfits and (kept or not real) else ""
    if any(entry.new.job.id in fresh for entry in real):
        return Taken("new", why, jobs)
    if real:
        return Taken("known", why, jobs)
    return Taken("unreadable", why, jobs) if one.misfits else Taken("unwanted")


def _said(misfit: Misfit) -> str:
    return f"{misfit.task}: {misfit.why}" if misfit.task else misfit.why


def _place(reading: Reading | None) -> str:
    return json.dumps(["", HTTP, ""] if reading is None else list(reading.source[:3]), ensure_ascii=False)


def _shown(place: str) -> str:
    address, shape, group = json.loads(place)
    return f"{shape} {address}{f' for {group}' if group else ''}" if address else shape
