"""What the demo prints: a redrawn bar on a terminal, plain lines elsewhere."""

import io

import pytest

from examples.accounts.demo.terminal import Terminal


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_output_has_no_control_codes() -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.title("Chapter")
    terminal.request("GET /x", 200, 0.0123, "ETag: 1")
    for row in range(11):
        terminal.bar("report", row / 10, f"row {row}")
    terminal.bar_done()
    terminal.check(True, "it holds")
    text = out.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert "GET /x  ->  200 in 12.3 ms" in text
    assert [line.split()[1] for line in text.splitlines() if "row" in line] == ["0%", "30%", "60%", "90%", "100%"]
    assert "ok  it holds" in text


def test_a_bar_stays_below_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Tty()
    terminal = Terminal(out)
    terminal.bar("lease", 0.5, "7 s")
    terminal.say("meanwhile")
    terminal.bar_done()
    terminal.say("after")
    lines = out.getvalue().split("\n")
    assert lines[0].endswith("meanwhile")
    assert "lease" in lines[1]
    assert lines[2].strip() == "after"


def test_a_claim_that_does_not_hold_is_kept() -> None:
    terminal = Terminal(io.StringIO())
    terminal.check(True, "one")
    terminal.check(False, "two")
    assert terminal.checks == 2
    assert terminal.failed == ["two"]
