"""The sign of life of one worker: a row, renewed from a thread of its own on a connection of its own.

A handler that blocks the event loop must not let the lease run out, hence the thread. Two clocks never meet here: what
the row says is the store's time; what this process believes is measured from the moment of *sending*, with a clock that
goes on while the machine sleeps, and it believes less than the row says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import StoreError
from ..observe import signal
from ..ports import Lease, Store
from .clock import Clock
from .outage import Outage

START_WORK = 2 / 3  # of a lease without an answer: stop starting work
JUDGE = 1 / 10  # of a lease between two looks at the others
PROVEN = 1.5  # renewal intervals of unbroken renewals before a worker may judge (docs/decisions/0006)
HASTE = 1 / 15  # of a lease between two tries while the store does not answer


class Listener(NamedTuple):
    """What the keeper tells the worker; called from the keeper's thread."""

    confirmed: Callable[[], None]  # the lease stands after it was in doubt
    lost: Callable[[], None]  # a verdict has been written: this id is dead for good
    lapsed: Callable[[Sequence[str]], None]  # other workers with a verdict, whose jobs are to be expired


class Keeper:
    """Registers `worker`, renews it until `leave()`, and judges others while its own renewals are unbroken."""

    def __init__(
        self,
        store: Store,
        worker: str,
        tasks: str,
        label: str,
        seconds: tuple[float, float],
        clock: Clock,
        tell: Listener,
        forfeit: Callable[[], bool],
    ) -> None:
        """`seconds` = (lease, renew); `forfeit()` says that this process can no longer do its work."""
        self.worker = worker
        self._store, self._tasks, self._label = store, tasks, label
        self._lease, self._renew = seconds
        self._clock, self._tell, self._forfeit = clock, tell, forfeit
        self._confirmed = float("-inf")  # when the last answered renewal was sent
        self._unbroken = 0.0  # since when every renewal has been answered in time
        self._doubt = True
        self._late = False
        self.trouble = ""  # why the last try was not answered
        self._outage = Outage()
        self._judged: frozenset[str] = frozenset()  # whose verdict has been told already
        self._registered = self._dead = self._given_up = False
        self._renew_at = self._judge_at = 0.0
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"offpath-lease-{worker[:8]}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Stop renewing and resign; returns at once, `join` waits. Call it when the last job has been settled."""
        self._leaving.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread, at most `timeout` seconds; False when it is still talking to the store."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def confirm(self, sent: float) -> None:
        """An exchange that was sent at `sent` (`Clock.awake`) has renewed the lease on the way. Any thread."""
        if sent > self._confirmed:
            self._confirmed = sent
        if self._doubt and not self.fenced():
            self._doubt = self._late = False
            self._tell.confirmed()

    def fenced(self) -> bool:
        """True when no new work may start: the last answered renewal was sent too long ago. Any thread."""
        if self._clock.awake() - self._confirmed < self._lease * START_WORK and not self._dead:
            return False
        self._doubt = True
        return True

    def _run(self) -> None:
        lease: Lease | None = None
        while not self._leaving.is_set():
            try:
                if lease is None:
                    lease = self._store.lease()
                wait = self._step(lease)
            except Exception as error:  # mostly StoreError; the thread must live, whatever it is
                wait = self._unanswered(error)
            if self._dead:
                break
            self._leaving.wait(wait)
        if lease is not None:
            self._close(lease)

    def _step(self, lease: Lease) -> float:
        """Do what is due; returns how long nothing will be, in seconds."""
        now = self._clock.awake()
        if not self._registered:
            lease.register(self.worker, self._lease, self._tasks, self._label)
            self._registered = True
            self._answered(now)
        elif now >= self._renew_at and not self._forfeited():
            if not lease.renew(self.worker, self._lease):
                self._dead = True
                self._tell.lost()
                return 0.0
            self._answered(now)
        if now >= self._judge_at:
            self._judge_at = now + self._clock.spread(self._lease * JUDGE)
            # After a stall of the store everyone's lease has run out; whoever came back first would judge all others.
            # One renewal interval later every worker that lives has renewed.
            if now - self._unbroken >= self._renew * PROVEN and (lapsed := lease.judge()):
                if dead := [worker for worker in lapsed if worker not in self._judged]:
                    signal("upkeep.judged", dead=",".join(dead))
                self._judged = frozenset(lapsed)
                self._tell.lapsed(lapsed)
        return max(0.0, min(self._renew_at, self._judge_at) - self._clock.awake())

    @property
    def fenced_now(self) -> bool:
        """`fenced`, only looked at: nothing follows from it."""
        return self._dead or self.age >= self._lease * START_WORK

    @property
    def age(self) -> float:
        """Seconds since the last answered renewal was sent. Any thread."""
        return self._clock.awake() - self._confirmed

    def _answered(self, sent: float) -> None:
        self.trouble = ""
        self._outage.over()
        if self._unbroken > sent or sent - self._confirmed > self._lease * START_WORK:
            self._unbroken = sent
        self._renew_at = sent + self._clock.spread(self._renew, 0.1)
        self.confirm(sent)

    def _unanswered(self, error: Exception) -> float:
        self._unbroken = float("inf")
        if self.fenced() and not self._late:
            self._late = True
            since = self._clock.awake() - self._confirmed
            signal("worker.late", worker=self.worker, seconds=since)
        self.trouble = str(error) if isinstance(error, StoreError) else repr(error)
        if self._outage.worth_telling(error, self._clock.awake()):
            signal("store.unavailable", error=self.trouble)
        return self._clock.spread(self._lease * HASTE)

    def _forfeited(self) -> bool:
        """A process whose loop is stuck for good must not keep its jobs for ever: let the lease run out."""
        if not self._forfeit():
            self._given_up = False
            return False
        if not self._given_up:
            self._given_up = True
            signal("worker.forfeited", worker=self.worker)
        self._renew_at = self._clock.awake() + self._lease * HASTE
        return True

    def _close(self, lease: Lease) -> None:
        try:
            if self._registered and not self._dead:
                lease.resign(self.worker)
        except StoreError as error:  # it lapses by itself
            signal("store.unavailable", error=str(error))
        finally:
            lease.close()
