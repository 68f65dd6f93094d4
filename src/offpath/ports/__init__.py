"""The protocols between the rooms: what a store is, what a transport is, and the values that cross.

steps       what a verb is made of          rows       what is written and read
memory      what a job remembers and tells while it runs
verbs       what one may ask of a store     store      what a store is
transport   what a transport is             broker     what a broker is
"""

from ..core.selection import JobFilter
from .broker import Broker, Consumer, Message, Outgoing, Received, Source
from .limits import Look, Seen
from .memory import StepRow, StepVerbs
from .queues import Page
from .rows import (
    WHATEVER,
    Enqueued,
    EventRow,
    Exchanged,
    Found,
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
    "WHATEVER",
    "Announce",
    "Broker",
    "Consumer",
    "Enqueued",
    "EventRow",
    "Exchanged",
    "Found",
    "Hint",
    "JobFilter",
    "Lease",
    "Look",
    "Maker",
    "Message",
    "NewJob",
    "NewOperation",
    "Now",
    "OperationFilter",
    "OperationRow",
    "Outgoing",
    "Page",
    "Pending",
    "Pressure",
    "R",
    "Received",
    "Remembered",
    "Reservation",
    "Reserved",
    "Round",
    "Seen",
    "Source",
    "Statement",
    "Step",
    "StepRow",
    "StepVerbs",
    "Store",
    "Ticket",
    "Transport",
    "Verb",
    "Verbs",
    "Verdict",
    "Want",
    "locked_here",
]
