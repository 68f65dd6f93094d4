"""What surrounds the slots: `crew.Crew` is it."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..core.change import Change
from ..core.job import Job
from ..core.outcome import Outcome
from .clock import Clock
from .plans import Plan, Plans
from .slot import Slot

if TYPE_CHECKING:
    from .batches import Member


class Host(Protocol):
    """What a lane needs of the worker."""

    clock: Clock
    plans: Plans
    running: dict[str, Slot]  # by job id; all lanes
    mates: dict[str, Slot]  # by job id: the others of a batch, whose first job is in `running`
    asked: dict[str, tuple[int, str]]  # cancel requests of jobs that have not started
    loud: bool  # somebody listens to signals of level DEBUG
    recorded: bool  # attempts have spans
    concurrency: int  # attempts at once, all lanes together
    held: dict[str, Job]  # jobs that wait for an earlier attempt of theirs to end here

    def fenced(self) -> bool: ...
    def settle(
        self, job: Job, plan: Plan, outcome: Outcome, started: float, fault: BaseException | None
    ) -> Coroutine[Any, Any, None] | None:
        """Hand the outcome to the pump. What comes back waits for the store's verdict and runs the hooks; it never
        raises."""
        ...

    def settled(
        self, job: Job, plan: Plan, outcome: Outcome, change: Change, started: float
    ) -> Coroutine[Any, Any, None] | None:
        """The attempt's own transaction has brought its change into the store. What comes back runs the hooks."""
        ...

    async def attempt(self, slot: Slot, plan: Plan, job: Job, given: dict[str, Any]) -> Outcome | None:
        """One job in full dress; gives what it says, None for nothing at all. See `Slot.carried` too."""
        ...

    async def together(self, slot: Slot, plan: Plan, members: list[Member]) -> None:
        """Many jobs in one call; what became of each is left with it."""
        ...

    async def in_thread(self, slot: Slot, plan: Plan, given: dict[str, Any]) -> str | None:
        """The same of a plain function that wants nothing else."""
        ...

    def unknown(self, job: Job) -> None: ...
    def broke(self, jobs: Sequence[Job], error: Exception) -> None:
        """The worker itself has failed at these jobs, or between two."""
        ...

    def gathered(self) -> None:
        """Jobs have left a deque without taking a slot: there is room for others."""
        ...

    def ended(self, job: str) -> None:
        """No attempt of this held job runs here any more."""
        ...
