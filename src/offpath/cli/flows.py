"""`offpath flows show`: a flow as a tree. A job with several parents stands below each; what is below it only once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict

from ..errors import NotFound
from ..tasks import FlowInfo, found
from . import filters, layout, printing
from .target import opened

Children = Iterator[tuple[int, tuple[str, str]]]


def show(options: argparse.Namespace) -> int:
    """The flow with this id, or the one that the job with this id is part of."""
    with opened(options) as jobs:
        options.id = filters.one(jobs, options.id)
        there = found(options.id, jobs.desk.find(options.id).result())
        row = there.job or there.finished
        flow = row.flow if row is not None else None
        if flow is None:
            raise NotFound(f"job {options.id} is part of no flow")
        info = jobs.flow_sync(flow)
    if options.json:
        printing.as_json(asdict(info) | {"done": info.done})
        return 0
    width = printing.terminal_width(sys.stdout)
    for text in tree(info):
        print(layout.cut(text, width))
    return 0


def tree(info: FlowInfo) -> list[str]:
    """The lines: the flow, below it the parts that wait for nothing, below each those that wait for it."""
    parts = {part.id: part for part in info.parts}
    below: dict[str, list[tuple[str, str]]] = {}
    waits = set()
    for edge in info.edges:
        if edge.child == info.id:
            continue
        how = ("race" if edge.race else "") or ("" if edge.policy == "cancel" else edge.policy)
        below.setdefault(edge.parent, []).append((edge.child, how))
        waits.add(edge.child)
    drawn: set[str] = set()

    def label(id: str, how: str) -> str:
        part = parts.get(id)
        task = "forgotten" if part is None or part.task is None else part.task
        state = "forgotten" if part is None else part.state
        attempt = f", attempt {part.attempt}" if part is not None and part.attempt > 1 else ""
        return printing.line(f"{task}  {state}{attempt}  {id}" + (f"  [{how}]" if how else ""))

    # By hand, not by recursion: a chain may be longer than Python's stack.
    out = [printing.line(f"flow {info.id}  {info.state}, {info.done} of {len(info.parts)} done")]
    roots = [(part.id, "") for part in info.parts if part.id not in waits]
    stack: list[tuple[str, Children, int]] = [("", enumerate(roots), len(roots))]
    while stack:
        indent, children, count = stack[-1]
        at, (id, how) = next(children, (-1, ("", "")))
        if at < 0:
            stack.pop()
            continue
        end = at == count - 1
        again = id in drawn and bool(below.get(id))
        out.append(f"{indent}{'└─' if end else '├─'} {label(id, how)}{' (see above)' if again else ''}")
        if not again:
            drawn.add(id)
            deeper = below.get(id, [])
            stack.append((indent + ("   " if end else "│  "), enumerate(deeper), len(deeper)))
    return out
