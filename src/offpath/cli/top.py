"""`offpath top`: how things stand, live. Needs no application: a database will do.

With the extra `cli` it is drawn by rich on the terminal's other screen; without it, and where output goes to a file,
one plain picture follows the other. Keys: q ends, p holds and goes on, r looks at once. A new size of the terminal is
drawn at once; the terminal is put back whatever ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from ..core.checks import number
from ..errors import StoreUnavailable
from . import printing, screen
from .picture import Camera
from .target import opened


def run(options: argparse.Namespace) -> int:
    """Until q, or Ctrl-C (130)."""
    every = number(options.every, 0.2, 3_600, "--every")
    with opened(options) as jobs:
        camera = Camera(jobs)
        if options.once:
            _print(camera.look(), options.json)
            return 0
        console = None if options.json or not sys.stdin.isatty() else printing.rich(sys.stdout)
        if console is None:
            _repeat(camera, every, options.json)
        else:
            _live(console, camera, every)
    return 0


def _print(picture: dict[str, Any], to_json: bool, height: int | None = None) -> None:
    if to_json:
        printing.as_json(picture)
        return
    for text in screen.lines(picture, printing.terminal_width(sys.stdout), height):
        print(text)
    sys.stdout.flush()


def _repeat(camera: Camera, every: float, to_json: bool) -> None:
    """Plain pictures, one after the other; on a terminal each takes the place of the one before."""
    clears = sys.stdout.isatty() and not to_json and os.environ.get("TERM") != "dumb"
    with _keys() as keys:
        held = False
        while True:
            if not held:
                picture = _look(camera)
                if picture is not None:
                    if clears:
                        print("\x1b[H\x1b[2J", end="")
                    _print(picture, to_json, shutil.get_terminal_size().lines if clears else None)
            key = keys.wait(every)
            if key == "q":
                return
            held = held != (key == "p")


def _live(console: Any, camera: Camera, every: float) -> None:
    from rich.live import Live

    picture, held = _look(camera), False
    with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        due = time.monotonic() + every
        while True:
            if picture is not None:
                live.update(
                    screen.drawn(picture, console.size.width, console.size.height - 1, paused=held), refresh=True
                )
            key = keys.wait(max(0.0, due - time.monotonic()) if not held else every)
            if key == "q":
                return
            if key == "p":
                held = not held
            if key == "r" or (not held and time.monotonic() >= due):
                picture = _look(camera) or picture
                due = time.monotonic() + every


def _look(camera: Camera) -> dict[str, Any] | None:
    """None: the database is away; it is tried again."""
    try:
        return camera.look()
    except StoreUnavailable as error:
        if not sys.stdout.isatty():
            printing.say(str(error))
        return None


class _Keys:
    """`resized`: a pipe that is written to when the terminal has another size."""

    def __init__(self, keyboard: int | None, resized: int | None) -> None:
        self._keyboard = keyboard
        self._resized = resized
        self._pressed = ""  # and not looked at yet

    def wait(self, seconds: float) -> str:
        """The key that is pressed within so many seconds; "" when none is, or the terminal has another size now."""
        if self._pressed:
            key, self._pressed = self._pressed[0], self._pressed[1:]
            return key
        watched = [one for one in (self._keyboard, self._resized) if one is not None]
        if not watched:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._resized is not None and self._resized in ready:
            os.read(self._resized, 100)
        if self._keyboard is not None and self._keyboard in ready:
            pressed = os.read(self._keyboard, 32)
            if not pressed:  # the terminal is gone
                return "q"
            if not pressed.startswith(b"\x1b"):  # an arrow, say
                self._pressed = pressed.decode("ascii", "replace").lower()
                return self.wait(0)
        return ""


@contextlib.contextmanager
def _keys() -> Iterator[_Keys]:
    """Keys one by one, without their echo; as it was before, at the end. SIGTERM and SIGHUP end it like Ctrl-C, so that
    the terminal is put back then too."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield _Keys(None, None)
        return
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    resized, told = os.pipe()
    os.set_blocking(told, False)

    def hear(number: int, frame: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(told, b"x")

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    handlers = {signal.SIGWINCH: hear, signal.SIGTERM: end, signal.SIGHUP: end}
    old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        tty.setcbreak(keyboard)
        yield _Keys(keyboard, resized)
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(resized)
        os.close(told)
