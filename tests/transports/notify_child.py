"""The other processes of test_notify.py: `python -m tests.transports.notify_child VERB URL`. Each line is one fact."""

import os
import sys
import threading
from collections.abc import Callable

from offpath.ports import Hint
from offpath.transports.notify import NotifyTransport

CAUGHT_UP = Hint("event")  # the last hint that says: anything may have changed, and from now on all is heard


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def listen(url: str) -> None:
    """Says every hint it hears, until its input ends."""
    transport = NotifyTransport(url)
    transport.subscribe(lambda hint: say(f"{hint.kind} {','.join(hint.names)}"))
    sys.stdin.read()
    transport.close()


def announce(url: str) -> None:
    """One "work" hint for each line it is told."""
    transport = NotifyTransport(url)
    for line in sys.stdin:
        transport.announce([Hint("work", (line.strip(),))])
    transport.close()


def fork(url: str) -> None:
    """A parent that listens forks: the child sends and listens for itself, and the parent goes on as before."""
    transport = NotifyTransport(url)
    ready, heard = threading.Event(), threading.Event()

    def hear(hint: Hint) -> None:
        if hint == CAUGHT_UP:
            ready.set()
        if hint.names == ("child",):
            heard.set()

    transport.subscribe(hear)
    ready.wait(60)
    go = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            mine, listening = threading.Event(), threading.Event()
            transport.subscribe(lambda hint: listening.set() if hint == CAUGHT_UP else None)
            transport.subscribe(lambda hint: mine.set() if hint.names == ("parent",) else None)
            transport.announce([Hint("work", ("child",))])
            listening.wait(60)
            os.write(go[1], b"1")
            code = 0 if mine.wait(60) else 2
            transport.close()
        finally:
            os._exit(code)
    say(f"parent heard {heard.wait(60)}")
    os.read(go[0], 1)
    transport.announce([Hint("work", ("parent",))])
    say(f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
    transport.close()
    say(f"threads {sum(thread.name == 'offpath-hints' for thread in threading.enumerate())}")


def orphan(url: str) -> None:
    """A parent that listens leaves a child behind, which uses nothing, and is killed."""
    transport = NotifyTransport(url)
    ready = threading.Event()
    transport.subscribe(lambda hint: ready.set())
    ready.wait(60)
    if os.fork() == 0:
        say("child")
        sys.stdin.read()
        os._exit(0)
    threading.Event().wait()


VERBS: dict[str, Callable[[str], None]] = {verb.__name__: verb for verb in (listen, announce, fork, orphan)}

if __name__ == "__main__":
    VERBS[sys.argv[1]](sys.argv[2])
