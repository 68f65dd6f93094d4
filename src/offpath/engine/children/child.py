"""One child process, as the worker sees it. Everything here happens on the loop, but for one thread that starts the
process and waits for its end: where Linux is told to kill the child with its parent, it means that very thread."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import signal as signals
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from ...errors import OffpathError
from .launch import command
from .wire import Frames, Garbled, Message, frame

CHUNK = 1 << 16  # bytes read in one turn of the loop: a child that logs like mad must not keep it
Hear = Callable[[Message], None]


class Gone(OffpathError):
    """The process has ended; `code` as `subprocess` has it, None when there never was one."""

    def __init__(self, code: int | None, text: str) -> None:
        super().__init__(text)
        self.code = code


class Child:
    """ready   done when it can take attempts; Gone when it cannot, with the reason
    gone    done with its exit code when the process has ended (None: it could not even be started)
    told    it has been told to stop, and takes no further attempt
    runs    attempts so far
    begun   the present one has begun: what happens from now on is its doing
    """

    def __init__(self, boot: Message) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[int | None] = loop.create_future()
        self.ready.add_done_callback(_looked_at)
        self.told = False
        self.runs = 0
        self.begun = False
        self.rss = 0
        self.began = loop.time()
        self._process: subprocess.Popen[bytes] | None = None
        self._over = False
        self._guard = threading.Lock()  # around the one moment in which the process's id stops being its own
        self._answer: asyncio.Future[Message] | None = None
        self._hear: Hear = _nothing
        self._where = contextvars.copy_context()
        self._frames = Frames()
        self._out = bytearray()
        self._why = ""  # what it said itself about why it cannot work
        self._stopped = self._killed = False
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._closed = False
        loop.add_reader(self._ours, self._readable)
        self._thread = threading.Thread(target=self._live, args=(theirs,), name="offpath-child", daemon=True)
        self.say(boot)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    # -- the thread --------------------------------------------------------------------------------------------------

    def _live(self, theirs: socket.socket) -> None:
        try:
            with theirs:
                line = theirs.fileno()
                process = subprocess.Popen(  # noqa: S603
                    command(line), pass_fds=[line], stdin=subprocess.DEVNULL, process_group=0
                )
        except Exception as error:  # no memory, no descriptors, too many processes
            self._tell(self._ended, None, f"{type(error).__name__}: {error}")
            return
        self._process = process
        self._tell(self._started)
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):  # somebody else's waitpid(-1) has reaped it
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            with self._guard:
                if self._stopped:  # nothing of its group stays behind
                    _signal(process.pid, signals.SIGKILL)
                self._over = True
                code = process.wait()
        else:
            code = process.wait()
            self._over = True
        self._tell(self._ended, code, "")

    def _tell(self, call: Callable[..., Any], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call, *args)

    def _started(self) -> None:
        if self._killed:
            self.kill()

    def _ended(self, code: int | None, why: str) -> None:
        self._readable()  # what it said last
        self._close()
        if why:
            self._why = why
        gone = Gone(code, self._why)
        for future in (self.ready, self._answer):
            if future is not None and not future.done():
                future.set_exception(gone)
        if not self.gone.done():
            self.gone.set_result(code)

    # -- talking -----------------------------------------------------------------------------------------------------

    def say(self, message: Message) -> None:
        """Send it; never waits."""
        if self._closed:
            return
        idle = not self._out
        self._out += frame(message)
        if idle:
            self._writable()

    def _writable(self) -> None:
        try:
            while self._out:
                del self._out[: self._ours.send(memoryview(self._out)[:CHUNK].tobytes())]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._ours, self._writable)
            return
        except OSError:  # it has closed its end; its exit will be told
            self._out.clear()
        self._loop.remove_writer(self._ours)

    def _readable(self) -> None:
        ended = self.gone.done() or self._over
        try:
            while not self._closed:
                data = self._ours.recv(CHUNK)
                if not data:
                    self._loop.remove_reader(self._ours)
                    return
                for message in self._frames.feed(data):
                    self._heard(message)
                if not ended:
                    return
        except (BlockingIOError, InterruptedError):
            return
        except Garbled as error:
            self._why = f"it said something that is no frame: {error}"
            self.kill()
        except OSError:
            self._loop.remove_reader(self._ours)

    def _heard(self, message: Message) -> None:
        match message["say"]:
            case "ready":
                if not self.ready.done():
                    self.ready.set_result(None)
            case "unready":
                self._why = message["why"]
            case "end":
                self.rss = message["rss"]
                if message["last"]:
                    self.told = True
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(message)
            case "began":
                self.begun = True
            case _:
                self._where.copy().run(self._hear, message)

    # -- an attempt --------------------------------------------------------------------------------------------------

    async def run(self, message: Message, hear: Hear) -> Message:
        """Have an attempt made; gives the "end" frame. Gone when the process dies of it.

        `hear` is called with what it says meanwhile, in the present context.
        """
        self._answer = self._loop.create_future()
        self._hear, self._where = hear, contextvars.copy_context()
        self.runs += 1
        self.begun = False
        if self.gone.done():
            raise Gone(self.gone.result(), self._why)
        self.say(message)
        try:
            return await self._answer
        finally:
            self._answer, self._hear = None, _nothing

    # -- its end -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """SIGTERM: what it runs gets a CancelledError where it is, and the process ends."""
        if not self._stopped:
            self._stopped = self.told = True
            self._send(signals.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, also to what it has started itself."""
        self._killed = self._stopped = self.told = True
        self._send(signals.SIGKILL)

    def _send(self, number: int) -> None:
        with self._guard:
            if self._process is not None and not self._over:
                _signal(self._process.pid, number)

    def leave(self) -> None:
        """Ask it to close what it holds and to end."""
        self.told = True
        self.say({"say": "leave"})

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._ours)
            self._loop.remove_writer(self._ours)
            self._ours.close()


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _nothing(message: Message) -> None: ...


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Whoever waits for it may have gone; then nobody needs to hear why it failed."""
    if not future.cancelled():
        future.exception()
