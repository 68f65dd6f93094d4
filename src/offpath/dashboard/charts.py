"""Points → an SVG line chart, as text. Pure; no style attributes, so it passes a strict Content-Security-Policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

NOW = 3  # points that are as good as now: the last is not over yet
WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 12, 28
TICKS = 4


class Line(NamedTuple):
    """values: one for each time, None where there is none; look: which of the styles `line-1` to `line-4`."""

    name: str
    values: Sequence[float | None]
    look: int


CLOCK = (60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400)


def scale(top: float, seconds: bool = False) -> tuple[float, float]:
    """(step, end) of an axis from 0 that holds `top`: 1, 2 or 5 times a power of ten, TICKS steps or so; of seconds,
    what a clock shows: 5 min, not 333 s."""
    if not math.isfinite(top) or top <= 0:
        return 1.0, float(TICKS)
    rough = top / TICKS
    if seconds and 20 < rough <= CLOCK[-1]:
        whole = next(float(one) for one in CLOCK if one >= rough)
        return whole, whole * math.ceil(top / whole - 1e-9)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough * (1 - 1e-9))
    return step, step * math.ceil(top / step - 1e-9)


def chart(name: str, title: str, lines: Sequence[Line], times: Sequence[str], show: Callable[[float], str],
          seconds: bool = False) -> str:  # fmt: skip
    """name: of its ids in the page; times: ISO 8601; show: a value in words, for axis and description; seconds: the
    values are durations."""
    values = [value for line in lines for value in line.values if value is not None]
    step, top = scale(max(values, default=0.0), seconds)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{escape(name)}-title {escape(name)}-desc" preserveAspectRatio="none">',
        f'<title id="{escape(name)}-title">{escape(title)}</title>',
        f'<desc id="{escape(name)}-desc">{escape(describe(lines, times, show))}</desc>',
    ]
    for tick in range(round(top / step) + 1):
        y = _y(tick * step, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5}" text-anchor="end">{escape(show(tick * step))}</text>'
        )
    for index in _marks(len(times)):
        x = _x(index, len(times))
        anchor = "start" if index == 0 else "end" if index == len(times) - 1 else "middle"
        parts.append(
            f'<text class="tick" x="{x}" y="{HEIGHT - 8}" text-anchor="{anchor}">{_clock(times, index)}</text>'
        )
    for line in lines:
        parts.append(f'<path class="line line-{line.look}" fill="none" d="{path(line.values, top)}"/>')
        for index, value in enumerate(line.values):
            if value is not None and _alone(line.values, index):
                x, y = _x(index, len(line.values)), _y(value, top)
                parts.append(f'<circle class="dot dot-{line.look}" cx="{x}" cy="{y}" r="2.5"/>')
    return "".join((*parts, "</svg>"))


def path(values: Sequence[float | None], top: float) -> str:
    """The `d` of a line that breaks where there is no value."""
    steps: list[str] = []
    pen = False
    for index, value in enumerate(values):
        if value is None:
            pen = False
            continue
        steps.append(f"{'L' if pen else 'M'}{_x(index, len(values))} {_y(value, top)}")
        pen = True
    return "".join(steps)


def describe(lines: Sequence[Line], times: Sequence[str], show: Callable[[float], str]) -> str:
    """For whoever does not see it."""
    if not times:
        return "Nothing has been recorded yet."
    said = [f"From {_clock(times, 0)} to {_clock(times, len(times) - 1)} UTC."]
    for line in lines:
        there = [value for value in line.values if value is not None]
        if there:
            last = latest(line.values)
            said.append(f"{line.name}: last {'none' if last is None else show(last)}, highest {show(max(there))}.")
        else:
            said.append(f"{line.name}: nothing.")
    return " ".join(said)


def latest(values: Sequence[float | None]) -> float | None:
    """What is measured now: None where the newest points have nothing, however much there was before."""
    return next((value for value in reversed(values[-NOW:]) if value is not None), None)


def _alone(values: Sequence[float | None], index: int) -> bool:
    before = values[index - 1] if index else None
    after = values[index + 1] if index + 1 < len(values) else None
    return before is None and after is None


def _marks(count: int) -> list[int]:
    if count < 2:
        return list(range(count))
    return sorted({round(one * (count - 1) / TICKS) for one in range(TICKS + 1)})


def _x(index: int, count: int) -> float:
    inner = WIDTH - LEFT - RIGHT
    return round(LEFT + (inner * index / (count - 1) if count > 1 else inner / 2), 1)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, top) / top, 1)


def _clock(times: Sequence[str], index: int) -> str:
    """The time of day, or the day where they are far apart."""
    try:
        first, last = _moment(times[0]), _moment(times[-1])
        form = "%d %b" if (last - first).total_seconds() > 172_800 else "%H:%M"
        return _moment(times[index]).strftime(form)
    except ValueError:
        return ""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
