"""Attempts in processes of their own. A *child* is one such process: started when first needed (spawn, never fork),
used for one attempt after the other, thrown away when it is told to stop, grows old or too large.

    wire.py     what the two say to each other: JSON, with its length in front; no pickle of arguments or results
    logs.py     log records of the child, on their way to the worker's logging
    launch.py   how a child is started, and what it is told about the application
    child.py    one child, as the worker sees it
    pool.py     all of them, and one attempt in one of them
    inside.py   what runs in the child: one attempt after the other
    acting.py   one attempt there
    lines.py    its progress there

Why so, and what was measured: docs/decisions/0027-children.md.
"""

in_child = False
"""True in a child: no worker may be started there, or there would be no end of them."""
