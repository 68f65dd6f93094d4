"""The other processes of these tests: `python -m tests.transports.child VERB DATABASE`. Each line said is one fact."""

import os
import sys
import threading
from collections.abc import Callable

from offpath.ports import Hint
from offpath.transports.local import LocalTransport


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def listen(database: str) -> None:
    """Says every hint it hears, until its input ends."""
    transport = LocalTransport(database)
    transport.open()
    transport.subscribe(lambda hint: say(f"{hint.kind} {','.join(hint.names)}"))
    say("listening")
    sys.stdin.read()
    transport.close()


def announce(database: str) -> None:
    """One "work" hint for each line it is told."""
    transport = LocalTransport(database)
    transport.open()
    for line in sys.stdin:
        transport.announce([Hint("work", (line.strip(),))])
        say("sent")
    transport.close()


def fork(database: str) -> None:
    """A parent that listens forks: the child sends and listens for itself, and the parent can still stop its thread."""
    transport = LocalTransport(database)
    heard = threading.Event()
    names: list[tuple[str, ...]] = []

    def hear(hint: Hint) -> None:
        names.append(hint.names)
        if ("child",) in names:
            heard.set()

    leave = transport.subscribe(hear)
    go = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            mine = threading.Event()
            transport.subscribe(lambda hint: mine.set() if hint.names == ("parent",) else None)
            transport.announce([Hint("work", ("child",))])
            os.write(go[1], b"1")
            code = 0 if mine.wait(60) else 2
            transport.close()
        finally:
            os._exit(code)
    say(f"parent heard {heard.wait(60)}")
    os.read(go[0], 1)
    transport.announce([Hint("work", ("parent",))])
    say(f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
    if os.fork() == 0:  # holds every descriptor of ours, and stays until we are gone
        sys.stdin.read()
        os._exit(0)
    leave()
    say(f"threads {sum(thread.name == 'offpath-hints' for thread in threading.enumerate())}")


VERBS: dict[str, Callable[[str], None]] = {verb.__name__: verb for verb in (listen, announce, fork)}

if __name__ == "__main__":
    VERBS[sys.argv[1]](sys.argv[2])
