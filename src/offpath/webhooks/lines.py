"""How many deliveries go to one endpoint at once, in one worker: whoever finds its line full comes again later.

One slow receiver must not keep others waiting (WHK-19). A delivery that finds no place takes none of the worker's
either: it is put back with a delay of its own, so that those of one endpoint come again one after the other.
"""

from __future__ import annotations

from collections import OrderedDict

SHORTEST = 0.05  # s
LONGEST = 60.0
KNOWN = 1_000  # idle lines that are remembered
FIRST = 0.05  # s; how long a delivery takes, until one has been seen


class _Line:
    __slots__ = ("busy", "last", "pace", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.busy: list[float] = []  # when each of those under way began
        self.pace = FIRST  # seconds that one delivery takes, a moving mean
        self.last = 0.0  # when the last one that was put back is to come again


class Lines:
    """By endpoint (or host). On one loop; times are seconds of any clock that only goes forward."""

    def __init__(self, width: int) -> None:
        """`width`: of a line that nobody has measured yet."""
        self._width = width
        self._lines: OrderedDict[str, _Line] = OrderedDict()

    def enter(self, name: str, now: float) -> float | None:
        """None: there is a place, to be given back with `leave`. Else: come again after so many seconds."""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(self._width)
            while len(self._lines) > KNOWN and not next(iter(self._lines.values())).busy:
                self._lines.popitem(last=False)
        self._lines.move_to_end(name)
        if len(line.busy) < line.width:
            line.busy.append(now)
            return None
        line.last = max(now, line.last) + max(line.pace, now - line.busy[0]) / line.width
        return min(max(line.last - now, SHORTEST), LONGEST)

    def leave(self, name: str, took: float | None = None) -> None:
        """`took`: seconds of an attempt, None when there was none."""
        line = self._lines[name]
        line.busy.pop(0)
        if took is not None:
            line.pace += (took - line.pace) / 4

    def widen(self, name: str, width: int) -> None:
        """What the store says of this endpoint."""
        if (line := self._lines.get(name)) is not None:
            line.width = max(1, width)
