"""The other processes of test_suite.py: `python -m tests.transports.suite_child VERB KIND URL LINE`. Each line said is
one fact."""

import os
import sys
import threading
from collections.abc import Callable

from offpath.ports import Hint, Transport
from offpath.transports import carrier
from offpath.transports import line as lines
from tests.transports.ear import WAIT, listening
from tests.transports.kinds import KINDS

CAUGHT_UP = Hint("queue")
last: Transport  # is still there when the interpreter ends


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def talk(kind: str, url: str, line: str) -> None:
    """Says every hint it hears that has names, and sends a "work" hint for each line it is told."""
    transport = KINDS[kind].make(url, line)
    transport.open()
    ear = listening(transport) if KINDS[kind].distant else None
    transport.subscribe(lambda hint: say(f"{hint.kind} {','.join(hint.names)}") if hint.names else None)
    say("listening")
    for told in sys.stdin:
        transport.announce([Hint("work", (told.strip(),))])
    transport.close()
    del ear


def blurt(kind: str, url: str, line: str) -> None:
    """Says one thing and ends, without a farewell."""
    lines.LAST = carrier.PATIENCE = WAIT  # on a busy machine the connection may take longer than a user would wait
    global last
    last = KINDS[kind].make(url, line)
    last.announce([Hint("work", ("blurted",))])


def fork(kind: str, url: str, line: str) -> None:
    """A parent that listens forks: the child sends and listens for itself, and the parent goes on as before."""
    make, distant = KINDS[kind].make, KINDS[kind].distant
    transport = make(url, line)
    heard, ready = threading.Event(), threading.Event()

    def hear(hint: Hint) -> None:
        if hint == CAUGHT_UP:
            ready.set()
        if hint.names == ("child",):
            heard.set()

    transport.subscribe(hear)
    if distant:
        ready.wait(WAIT)
    go = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            mine, listens = threading.Event(), threading.Event()
            transport.subscribe(lambda hint: listens.set() if hint == CAUGHT_UP else None)
            transport.subscribe(lambda hint: mine.set() if hint.names == ("parent",) else None)
            if distant:
                listens.wait(WAIT)
            transport.announce([Hint("work", ("child",))])
            os.write(go[1], b"1")
            code = 0 if mine.wait(WAIT) else 2
            transport.close()
        finally:
            os._exit(code)
    say(f"parent heard {heard.wait(WAIT)}")
    os.read(go[0], 1)
    transport.announce([Hint("work", ("parent",))])
    say(f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
    transport.announce([Hint("work", ("still here",))])
    transport.close()
    say(f"threads {sum(thread.name == 'offpath-hints' for thread in threading.enumerate())}")


VERBS: dict[str, Callable[[str, str, str], None]] = {verb.__name__: verb for verb in (talk, blurt, fork)}

if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])
