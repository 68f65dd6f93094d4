"""What the database says: one look at a time, kept for some seconds, and never waited for long."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..core.alerts import Rule, lateness
from ..core.backlog import backlog_seconds, rate, window
from ..core.options import SECOND
from ..core.stats import MOST
from ..core.workers import info, running
from ..errors import OffpathError, SchemaError, StoreUnavailable
from ..observe.meters import Labels
from ..ports import Store, Verb
from ..ports.stats import Depth

KEPT, SHORTLY = 5.0, 1.0  # s between two looks, at least
SHARE = 20  # times as long as the last look took: looking is not what the database is for
PATIENCE = 3.0  # s that a page waits for a look; Prometheus gives up after ten
WAIT = 60.0  # s that a look waits for its answer
COUNTED = 100_000  # jobs of one state in one queue; more are not told apart from that

Figure = tuple[str, Labels, float]


class Seen(NamedTuple):
    """`figures` of the last look that went well; `up` when the last one did, with `error` saying why not."""

    figures: list[Figure]
    up: bool
    took: float
    error: str


class Look:
    """`store` is asked for when somebody looks: nothing is opened before that. Any thread.

    known     names of queues that have figures also when they are empty
    rules     of alerts: they say from when on a schedule is late
    counting  False: only whether it is there
    """

    def __init__(
        self,
        store: Callable[[], Store],
        known: Callable[[], Iterable[str]] = tuple,
        *,
        rules: Callable[[], Iterable[Rule]] = tuple,
        patience: float = PATIENCE,
        counting: bool = True,
    ) -> None:
        self._store, self._known, self._rules = store, known, rules
        self._patience, self._counting = patience, counting
        self._guard = threading.Lock()
        self._seen = Seen([], False, 0.0, "nobody has looked yet")
        self._due = 0.0
        self._looking: threading.Thread | None = None

    def now(self) -> Seen:
        """As it is, or was some seconds ago. Waits for a look, at most `patience` seconds; one that takes longer goes
        on alone, and until it ends the database does not count as up. Never raises."""
        with self._guard:
            looking = self._looking
            if looking is None:
                if time.monotonic() < self._due:
                    return self._seen
                looking = self._looking = threading.Thread(target=self._look, name="offpath-look", daemon=True)
                looking.start()
        looking.join(self._patience)
        if looking.is_alive():
            return Seen([], False, self._patience, f"the database has not answered for {self._patience:g} s")
        return self._seen

    def _look(self) -> None:
        began = time.monotonic()
        try:
            store = self._store()
            store.open()
            if self._counting:
                figures = store.read(_ask(store, self._known(), lateness(self._rules()))).result(WAIT)
            else:
                store.read(store.verbs.paused()).result(WAIT)
                figures = []
            seen = Seen(figures, True, time.monotonic() - began, "")
        except Exception as error:  # whatever it is: a page is given all the same
            seen = Seen([], False, time.monotonic() - began, _why(error))
        with self._guard:
            self._seen, self._looking = seen, None
            self._due = time.monotonic() + max(KEPT if self._counting else SHORTLY, SHARE * seen.took)


def _why(error: Exception) -> str:
    """In words for everyone: no address and no name of theirs."""
    if isinstance(error, SchemaError):
        return "the tables in the database do not fit this version: `offpath migrate --check` says why"
    if isinstance(error, StoreUnavailable | TimeoutError):
        return "the database cannot be reached"
    if isinstance(error, OffpathError):
        return "the database refuses"
    return f"looking at the database: {type(error).__name__}"


def _ask(store: Store, known: Iterable[str], late: int) -> Verb[list[Figure]]:
    """One look; each of its verbs is quick, however many jobs there are. `late`: µs after its time that a schedule is
    called so."""
    verbs = store.verbs
    now, workers = yield from verbs.workers()
    held = running(workers)
    paused = {row.name for row in (yield from verbs.paused())}
    queues = sorted({*known, *held, *paused, *(yield from verbs.filled())})
    depths = yield from verbs.depths(queues, COUNTED)
    recent = yield from verbs.recent(window(now))
    totals = yield from verbs.totals(MOST, late)
    raised = yield from verbs.raised()
    limited = yield from verbs.limited_queues()
    waiting, since = yield from verbs.backlog()
    ages = {depth.queue: None if depth.oldest is None else max(0, now - depth.oldest) / SECOND for depth in depths}
    figures = [figure for depth in depths for figure in _queue(depth, ages, held, paused, recent, now)]
    figures += [("offpath_queue_limited", (queue,), int(queue in limited)) for queue in queues]
    figures.append(("offpath_dead_letters", (), totals.outstanding))
    figures += [("offpath_alerts_ringing", (one.name,), 1) for one in raised]
    figures.append(("offpath_outbox_waiting", (), waiting))
    figures.append(("offpath_outbox_oldest_seconds", (), 0 if since is None else max(0, now - since) / SECOND))
    states = Counter(info(row, now).state for row in workers)
    figures += [("offpath_workers", (word,), states[word]) for word in ("alive", "late", "lost")]
    count, resting, behind = totals.schedules
    words = (("active", count - resting - behind), ("paused", resting), ("late", behind))
    figures += [("offpath_schedules", (word,), many) for word, many in words]
    enabled, disabled = totals.endpoints
    figures.append(("offpath_webhook_endpoints", ("enabled",), enabled))
    figures.append(("offpath_webhook_endpoints", ("disabled",), disabled))
    return figures


def _queue(
    depth: Depth,
    ages: Mapping[str, float | None],
    held: Mapping[str, int],
    paused: Collection[str],
    recent: Mapping[str, tuple[int, int]],
    now: int,
) -> Iterator[Figure]:
    name, age, resting = depth.queue, ages[depth.queue], depth.queue in paused
    yield "offpath_jobs", (name, "ready"), depth.ready
    yield "offpath_jobs", (name, "scheduled"), depth.scheduled
    yield "offpath_jobs", (name, "waiting"), depth.waiting
    yield "offpath_jobs", (name, "running"), held.get(name, 0)
    yield "offpath_queue_oldest_seconds", (name,), age or 0.0
    count, first = recent.get(name, (0, None))
    speed = rate(count, first, now)
    yield "offpath_queue_backlog_seconds", (name,), backlog_seconds(depth.ready, speed, age, paused=resting)
    yield "offpath_queue_paused", (name,), int(resting)
