"""What runs jobs. `worker.py` is the table of contents: read it first.

worker    one process's worker: the duty list, and a new life under a new id when the old one was judged dead
crew      its slots and what surrounds them, which outlive such an id
pump      settle + claim, one exchange after the other
slots     resident coroutines that take jobs from a deque and run them
            slot: one of them · wheel: their deadlines · endings: what it means to stop when told, and when not
attempt   one job in full dress
            plans: what its task asks for · inject: what it is given · threads · progress · hooks
failures  exception → outcome
leases    the sign of life, from its own thread · watch: is the loop alive?
upkeep    what every worker does for all of them · census: which queues there are, and what waits in them
wake      what stirs the pump: hints, due jobs, polls
shutdown  how it ends
clock     time and chance
"""
