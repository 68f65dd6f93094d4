"""What is done to one job, with its line of the audit log."""

from __future__ import annotations

from ..core.job import State
from ..ports import WHATEVER, Enqueued, Found, Maker, Store, Verb
from .acting import Said, recorded


def stopping(store: Store, id: str, reason: str) -> Maker[Found | None]:
    """Ask it to stop. One that has ended, or has been asked already, is not changed by that."""
    seen: list[bool] = []

    def verb() -> Verb[Found | None]:
        def whole() -> Verb[Found | None]:
            before = yield from store.verbs.find(id)
            seen[:] = [before is not None and before.job is not None and before.job.cancel_at is None]
            return (yield from store.verbs.cancel(id, reason))

        return whole()

    def says(after: Found | None) -> Said | None:
        if after is None or not seen[0]:
            return None
        if after.finished is not None and after.finished.state != State.CANCELED:
            return None  # it has ended by itself meanwhile
        row = after.job or after.finished
        return None if row is None else {"reason": reason, "state": State(row.state).name.lower(), "task": row.task}

    return recorded(store, verb, "job.cancel", id, says)


def again(store: Store, id: str, new: str, max_attempts: int | None, seen: str | None = WHATEVER) -> Maker[Enqueued]:
    """Run it again, as the job `new`. When a live one has its key, nothing is changed."""

    def says(made: Enqueued) -> Said | None:
        return None if made.existing else {"job": made.id, "max_attempts": max_attempts}

    return recorded(store, lambda: store.verbs.retry(id, new, max_attempts, seen), "job.retry", id, says)


def looking(store: Store, id: str) -> Maker[Found | None]:
    """Find it for whoever is to see its values: whose they are looked at by is known, or nobody looks at them."""
    return recorded(store, lambda: store.verbs.find(id), "job.arguments", id, lambda there: {} if there else None)


def erasing(store: Store, id: str) -> Maker[bool]:
    return recorded(store, lambda: store.verbs.delete(id), "job.delete", id, lambda there: {} if there else None)
