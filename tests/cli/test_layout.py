"""Tables in narrow terminals: what an operator needs is whole, and nothing vanishes without a sign."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offpath.cli import layout, printing, screen
from offpath.cli.listing import COLUMNS
from offpath.cli.workers import COLUMNS as WORKERS

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
ERROR = "shop.errors.CardDeclined: the bank said no, and said it at some length"


def row(at: datetime, **more: Any) -> dict[str, Any]:
    said = at.isoformat().replace("+00:00", "Z")
    return dict.fromkeys(COLUMNS) | {
        "id": ID, "task": "shop.mail.send_email", "state": "failed", "queue": "default", "attempt": 3, "at": said,
        "error": ERROR,
    } | more  # fmt: skip


@pytest.mark.parametrize("width", [250, 140, 120, 100, 80, 60, 50])
@pytest.mark.parametrize("days", [0, 3, 400])
def test_ids_and_times_are_whole_and_nothing_vanishes(width: int, days: int) -> None:
    at = datetime.now(UTC) - timedelta(days=days)
    lines = printing.aligned([row(at)], COLUMNS, width)
    text = "\n".join(lines)
    assert max(map(layout.wide, lines)) <= width
    assert ID in text
    assert f"{at:%H:%M:%S}Z" in text
    for whole in ("failed", "default"):
        assert whole in text
    for name in ("shop.mail.send_email", ERROR):
        assert name in text or any(name[:n] + "…" in text for n in range(3, len(name))), name
    assert (f"{at:%m-%d}" in text) == (days > 0)


def test_what_finds_no_room_stands_below_its_row() -> None:
    worker = dict.fromkeys(WORKERS, "x") | {
        "id": ID, "label": "web-1.internal.example.com:42424", "state": "alive", "running": 3, "concurrency": 100,
        "queues": "critical, mail", "tasks": "send@1, bad@1",
    }  # fmt: skip
    head, first, below = printing.aligned([worker], WORKERS, 80)
    assert first.startswith(ID)
    assert "queues critical, mail, tasks send@1, bad@1" in below
    assert "tasks" not in head
    plain = printing.aligned([worker], WORKERS)
    assert len(plain) == 2, "a pipe has a line for each row"
    assert plain[0].split() == list(WORKERS)


@pytest.mark.parametrize("width", [100, 80, 60])
def test_a_column_of_ids_and_names_has_room_for_the_ids(width: int) -> None:
    """As `audit list` has: of a job, of a queue, or of nothing."""
    columns = ("at", "actor", "action", "target", "data")
    at = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    acts = [
        dict(zip(columns, (at, "cli:operator@host", "jobs.retry.ended", target, data), strict=True))
        for target, data in ((ID, {"done": 5, "skipped": 1}), ("q" * 60, {"reason": "a deploy" * 9}), ("", ""))
    ]
    lines = printing.aligned(acts, columns, width)
    assert ID in "\n".join(lines)
    assert max(map(layout.wide, lines)) <= width


def test_on_a_page_of_fixed_height_the_texts_are_cut_and_the_id_only_for_their_sake() -> None:
    failed = [{"failed at": datetime.now(UTC).isoformat(), "task": "shop.mail.send_email", "queue": "default",
               "error": ERROR, "id": ID}]  # fmt: skip
    for width in (100, 80):
        line = printing.aligned(failed, screen.FAILED, width, below=False)[1]
        assert line.endswith(ID)
        assert "…" in line
        assert len(line) <= width
    for width in (70, 60):
        line = printing.aligned(failed, screen.FAILED, width, below=False)[1]
        assert len(line) <= width
        assert line.endswith(f"{ID[:18]}…"), "of which commands take the beginning"
        assert ERROR[:7] in line
    line = printing.aligned(failed, screen.FAILED, 40, below=False)[1]
    assert (len(line), line[-1]) == (40, "…"), "and where even that is too much, one sees it"


def test_rich_shows_the_same_lines() -> None:
    rows = [row(datetime.now(UTC)), row(datetime.now(UTC), task="短信.发送", error="x" * 300)]
    for width in (200, 100, 60):
        assert printing.drawn(rows, COLUMNS, width).plain.split("\n") == printing.aligned(rows, COLUMNS, width)


def test_wide_characters_take_two_columns() -> None:
    lines = printing.aligned([{"a": "短信", "b": 1}, {"a": "text", "b": 2}], ("a", "b"), 80)
    assert [layout.wide(line) for line in lines[1:]] == [7, 7]
    assert layout.cut("短信短信", 4) == "短…"
    assert layout.cut("e\u0301" * 3, 3) == "e\u0301" * 3
    assert (layout.cut("abc", 0), layout.cut("abc", None)) == ("", "abc")


def test_what_is_no_moment_stays_as_it_is() -> None:
    assert layout.moment("2026-11-28T04:33:10.123Z", "2026-11-28") == "04:33:10Z"
    assert layout.moment("2026-01-02T04:33:10+00:00", "2026-11-28") == "01-02 04:33:10Z"
    assert layout.moment("2025-12-31T04:33:10Z", "2026-11-28") == "2025-12-31 04:33:10Z"
    assert layout.moment("2026-11-28T04:33:10+02:00", "2026-11-28") == "2026-11-28T04:33:10+02:00"
    assert layout.moment("04:33", "2026-11-28") == "04:33"
