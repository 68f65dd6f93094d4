"""Printing for people: colours, one live line with a bar, and plain lines when nobody looks at a terminal."""

import os
import sys
import textwrap
import time
from typing import TextIO

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
PLAIN_STEP = 0.25  # of a bar, between two plain lines that tell of it


class Terminal:
    """`checks` and `failed` count what was claimed with `check`; the program's exit code follows from them."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.live = out.isatty() and os.environ.get("TERM") != "dumb"
        self.colours = self.live and "NO_COLOR" not in os.environ
        self.checks = 0
        self.failed: list[str] = []
        self._bar = ""  # what the live line shows now
        self._plain = -1.0  # the share that was last told of in a plain line
        self._start = time.monotonic()

    def title(self, text: str) -> None:
        self._print("")
        self._print(self._paint(f"{self._clock()}  {text}", BOLD, CYAN))

    def say(self, text: str = "") -> None:
        for line in text.split("\n"):
            self._print(f"        {line}".rstrip())

    def quote(self, text: str) -> None:
        """Something as it was received."""
        for line in text.rstrip().splitlines():
            for piece in textwrap.wrap(line, 100) or [""]:
                self._print(self._paint(f"        | {piece}".rstrip(), DIM))

    def request(self, what: str, status: int, seconds: float, *notes: str) -> None:
        """A request and its answer time."""
        colour = GREEN if status < 400 else YELLOW
        answer = self._paint(f"{status}", colour) + f" in {self._paint(f'{seconds * 1000:.1f} ms', BOLD)}"
        self._print(f"        {what}  ->  {answer}")
        for note in notes:
            self._print(self._paint(f"            {note}", DIM))

    def check(self, holds: bool, sentence: str) -> bool:
        """Say that something holds, after having looked. What does not makes the whole program fail."""
        self.checks += 1
        if holds:
            self._print(f"      {self._paint('ok', GREEN)}  {sentence}")
        else:
            self.failed.append(sentence)
            self._print(f"  {self._paint('NOT SO', RED, BOLD)}  {sentence}")
        return holds

    def bar(self, label: str, share: float, note: str) -> None:
        """Progress of something a person waits for: one line that is redrawn, or a plain line now and then."""
        share = min(1.0, max(0.0, share))
        if self.live:
            full = round(30 * share)
            self._bar = f"        {label} [{self._paint('█' * full, GREEN)}{'·' * (30 - full)}] {note}"
            self._write(f"\r\x1b[2K{self._bar}")
        elif share - self._plain >= PLAIN_STEP or share == 1.0 != self._plain or share < self._plain:
            self._plain = share
            self._print(f"        {label} {share:4.0%} {note}")

    def bar_done(self) -> None:
        """The bar stays as it is now; what follows goes below it."""
        if self.live and self._bar:
            self._write("\n")
        self._bar = ""
        self._plain = -1.0

    def _print(self, line: str) -> None:
        """A whole line; a live bar is taken away before and drawn again after it."""
        if self.live and self._bar:
            self._write(f"\r\x1b[2K{line}\n{self._bar}")
        else:
            self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        try:
            self.out.write(text)
            self.out.flush()
        except BrokenPipeError:  # whoever read along has read enough; the exit code is still worth having
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.fileno())

    def _clock(self) -> str:
        return f"{time.monotonic() - self._start:5.1f} s"

    def _paint(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.colours else text
