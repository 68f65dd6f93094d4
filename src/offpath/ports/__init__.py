"""The protocols between the rooms: what a store is, what a transport is, and the values that cross.

steps       what a verb is made of          rows       what is written and read
verbs       what one may ask of a store     store      what a store is       transport   what a transport is
"""

from .rows import (
    Enqueued,
    EventRow,
    Exchanged,
    Found,
    JobFilter,
    NewJob,
    NewOperation,
    OperationFilter,
    OperationRow,
    Pressure,
    Remembered,
    Reservation,
    Reserved,
    Round,
    Ticket,
    Verdict,
    Want,
)
from .steps import Hint, Maker, Now, Pending, R, Statement, Step, Verb, locked_here
from .store import Lease, Store
from .transport import Announce, Transport
from .verbs import Verbs

__all__ = [
    "Announce",
    "Enqueued",
    "EventRow",
    "Exchanged",
    "Found",
    "Hint",
    "JobFilter",
    "Lease",
    "Maker",
    "NewJob",
    "NewOperation",
    "Now",
    "OperationFilter",
    "OperationRow",
    "Pending",
    "Pressure",
    "R",
    "Remembered",
    "Reservation",
    "Reserved",
    "Round",
    "Statement",
    "Step",
    "Store",
    "Ticket",
    "Transport",
    "Verb",
    "Verbs",
    "Verdict",
    "Want",
    "locked_here",
]
