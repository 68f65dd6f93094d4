"""The other processes of these tests: `python -m tests.stores.child VERB PATH …`. Each line said is one fact."""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence

from offpath.ports import Hint
from offpath.stores.sqlite import SqliteStore
from tests.stores.kit import Hand, ask, new_job, put


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def wait() -> None:
    """For a line from the parent."""
    sys.stdin.readline()


def quiet(hints: Sequence[Hint]) -> None:
    """Nobody listens."""


def opened(path: str) -> SqliteStore:
    return SqliteStore(path, announce=quiet)


def enqueue(path: str) -> None:
    """Four callers enqueue for ever; an id is said when its job is durable. Ends by being killed."""
    store = opened(path)

    def call() -> None:
        while True:
            [said] = put(store, new_job(args='{"text":"' + "x" * 2000 + '"}'))
            say(said.id)

    for _ in range(3):
        threading.Thread(target=call, daemon=True).start()
    call()


def migrate(path: str) -> None:
    store = opened(path)
    say("here")
    wait()
    say(" ".join(store.migrate()))
    store.open()
    put(store, new_job())
    store.close()


def claim(path: str) -> None:
    """Takes jobs until there are none; says their ids."""
    store = opened(path)
    hand = Hand(store)
    say("here")
    wait()
    while jobs := hand.claim(3):
        say(" ".join(job.id for job in jobs))
    hand.lease.close()
    store.close()


def visit(path: str) -> None:
    """Comes, writes, leaves in order."""
    store = opened(path)
    [said] = put(store, new_job())
    say(said.id)
    wait()
    store.close()


def fork_idle(path: str) -> None:
    """The parent forks after start and closes; the child goes on. Nothing that either was told is lost."""
    store = opened(path)
    hand = Hand(store)
    mine = put(store, new_job())[0].id
    assert ask(store, store.verbs.find(mine)) is not None
    to_child, to_parent = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        with _exit():
            first = put(store, new_job())[0].id
            assert ask(store, store.verbs.find(mine)) is not None
            os.write(to_parent[1], b"1")
            os.read(to_child[0], 1)  # the parent has closed its store: it was the last, if it could not see us
            second = put(store, new_job())[0].id
            say(f"{first} {second}")
    os.read(to_parent[0], 1)
    put(store, new_job())
    hand.exchange()
    hand.close()
    store.close()
    os.write(to_child[1], b"1")
    say(f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
    again = opened(path)
    say(f"jobs {ask(again, again.verbs.counts())[0][3]}")
    again.close()


def fork_busy(path: str) -> None:
    """Forks in the middle of other threads' writes: every child can write, and the parent goes on."""
    store = opened(path)
    over = threading.Event()
    acked: list[str] = []

    def call() -> None:
        while not over.is_set():
            acked.extend(said.id for said in put(store, new_job()))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(12):
        if (child := os.fork()) == 0:
            with _exit():
                put(store, new_job())
                ask(store, store.verbs.counts())
                store.close()
        say(f"child {n} {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
    over.set()
    for thread in threads:
        thread.join()
    missing = [id for id in acked if ask(store, store.verbs.find(id)) is None]
    say(f"missing {len(missing)} more {ask(store, store.verbs.counts())[0][3] - len(acked)}")
    store.close()


@contextlib.contextmanager
def _exit() -> Iterator[None]:
    """The end of a forked child: at once, with a code that says whether it went well."""
    code = 1
    try:
        yield
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


VERBS: dict[str, Callable[[str], None]] = {
    verb.__name__: verb for verb in (enqueue, migrate, claim, visit, fork_idle, fork_busy)
}

if __name__ == "__main__":
    VERBS[sys.argv[1]](sys.argv[2])
