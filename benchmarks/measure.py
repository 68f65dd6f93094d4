"""Running one side of a comparison in a process of its own, and what came of several rounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from statistics import median
from typing import Any

TOO_LONG = 300.0  # s; no side takes that long: it waits for a job that will not come


@dataclass
class Sample:
    """One run of one side: its own figures, and what the operating system says of its process."""

    value: float
    cpu: float
    rss: float
    more: dict[str, float] = field(default_factory=dict)  # beside the value
    columns: dict[str, float] = field(default_factory=dict)  # of their own, after RSS
    series: list[float] = field(default_factory=list)  # how the value came about; only in JSON and when asked


@dataclass
class Row:
    """One line of the table: the samples of each side, ours first. `unit` decides which way is better.

    A row that compares us with ourselves says in `base` with what: the others are shown as a share of that.
    """

    name: str
    unit: str
    jobs: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    base: str = "offpath"
    key: str = ""  # what `--only` calls it

    def add(self, side: str, sample: Sample) -> None:
        self.samples.setdefault(side, []).append(sample)

    def median(self, side: str) -> float:
        return median(sample.value for sample in self.samples[side])

    def ratio(self, side: str) -> float:
        """How many times better we are than `side`: of medians of the same run. With another base: the share of it."""
        if self.base != "offpath":
            return self.median(side) / self.median(self.base)
        ours = self.median("offpath")
        theirs = self.median(side)
        return ours / theirs if self.unit == "/s" else theirs / ours


def child(module: str, *args: str) -> Sample:
    """Run `python -m module args` to its end; its last line is JSON with at least `value`."""
    return ran(sys.executable, "-m", module, *args)


def ran(*command: str, pass_fds: tuple[int, ...] = ()) -> Sample:
    """The same for any program."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": "0"}, pass_fds=pass_fds
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(TOO_LONG, process.kill)
        watchdog.start()
        output = process.stdout.read()
        watchdog.cancel()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    said: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    value = said.pop("value")
    # The child's own figures where it has them: they leave out imports and preparation.
    cpu = said.pop("cpu", usage.ru_utime + usage.ru_stime)
    rss = said.pop("rss", usage.ru_maxrss / 1024)  # which is ours if it was more: a child starts in our memory
    series = said.pop("series", [])
    return Sample(value, cpu, rss, said, series=series)


def per_job(sample: Sample, n: int) -> Sample:
    sample.cpu /= n
    return sample


def table(rows: list[Row]) -> str:
    """Markdown: median (min-max) per side, the ratio, CPU seconds per 1,000 jobs, RSS, then what else was measured."""
    names = list(dict.fromkeys(name for row in rows for samples in row.samples.values() for name in samples[0].columns))
    lines = [
        "| " + " | ".join(["what", "side", "median (min-max)", "offpath is", "CPU s/1k jobs", "RSS MB", *names]) + " |",
        "|---" * (6 + len(names)) + "|",
    ]
    for row in rows:
        for side, samples in row.samples.items():
            values = sorted(sample.value for sample in samples)
            digits = 0 if row.unit == "/s" else 1
            low, high = f"{values[0]:,.{digits}f}", f"{values[-1]:,.{digits}f}"
            show = f"{median(values):,.{digits}f} ({low}-{high}) {row.unit}"
            ratio = "" if side == row.base else f"{row.ratio(side):.2f}x"
            if ratio and row.base != "offpath":
                ratio += f" of {row.base}"
            cpu = median(sample.cpu for sample in samples) / row.jobs * 1000
            rss = median(sample.rss for sample in samples)
            more = "".join(
                f", {name} {median(sample.more[name] for sample in samples):,.1f}" for name in samples[0].more
            )
            columns = "".join(f" {_column(samples, name)} |" for name in names)
            lines.append(f"| {row.name} | {side} | {show}{more} | {ratio} | {cpu:.3f} | {rss:.0f} |{columns}")
    return "\n".join(lines)


def _column(samples: list[Sample], name: str) -> str:
    if name not in samples[0].columns:
        return ""
    value = median(sample.columns[name] for sample in samples)
    return f"{value:,.3f}" if value < 10 and value != round(value) else f"{value:,.0f}"


def as_json(rows: list[Row]) -> str:
    return json.dumps(
        [
            {
                "name": row.name,
                "unit": row.unit,
                "jobs": row.jobs,
                "base": row.base,
                "sides": {
                    side: {
                        "median": row.median(side),
                        "ratio": None if side == row.base else row.ratio(side),
                        "runs": [_run(sample) for sample in samples],
                    }
                    for side, samples in row.samples.items()
                },
            }
            for row in rows
        ],
        indent=2,
    )


def _run(s: Sample) -> dict[str, float | list[float]]:
    run: dict[str, float | list[float]] = {"value": s.value, "cpu_s": s.cpu, "rss_mb": s.rss, **s.more, **s.columns}
    return run | {"series": s.series} if s.series else run
