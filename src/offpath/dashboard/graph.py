"""The graph of a flow → an SVG drawing, as text: parts in columns, each to the right of all it waits for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape as escaped
from typing import Any, NamedTuple

from .render import visible

MOST = 200  # parts that are drawn
WIDE, HIGH = 184, 40  # of a part
ACROSS, DOWN = 64, 16  # between them
EDGE = 8
NAME = 24  # characters of a name
SIGNS = {
    "succeeded": "✓", "failed": "✕", "canceled": "⊘", "running": "▶", "canceling": "▶", "queued": "○", "waiting": "…",
    "forgotten": "?", "end": "■",
}  # fmt: skip


class Node(NamedTuple):
    id: str
    name: str
    status: str
    x: int
    y: int


class Edge(NamedTuple):
    start: Node
    end: Node
    policy: str
    race: bool


class Drawing(NamedTuple):
    nodes: list[Node]
    edges: list[Edge]
    width: int
    height: int
    left_out: int


def layers(ids: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Columns: 1 + the longest way to it. What turns in a circle (nothing should) ends up in the last ones."""
    parents: dict[str, set[str]] = {id: set() for id in ids}
    for parent, child in pairs:
        if parent in parents and child in parents and parent != child:
            parents[child].add(parent)
    children: dict[str, list[str]] = {id: [] for id in ids}
    for child, above in parents.items():
        for parent in above:
            children[parent].append(child)
    left = {id: len(above) for id, above in parents.items()}
    depth = dict.fromkeys(ids, 0)
    ready = [id for id in ids if not left[id]]
    for id in ready:  # grows while it is walked
        for child in children[id]:
            depth[child] = max(depth[child], depth[id] + 1)
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for id in ids:
        columns[depth[id]].append(id)
    place: dict[str, float] = {}
    for column in columns:  # near the middle of what they wait for, so that fewer lines cross
        column.sort(key=lambda id: _middle([place[one] for one in parents[id] if one in place]))
        place.update((id, index - len(column) / 2) for index, id in enumerate(column))
    return columns


def draw(document: Mapping[str, Any]) -> Drawing:
    """`document`: as `http/graph.py` has it."""
    own = str(document["id"])
    parts = {str(part["id"]): part for part in document["parts"][:MOST]}
    edges = [edge for edge in document["edges"] if edge["parent"] in parts]
    ends = any(edge["child"] == own for edge in edges) and own not in parts
    ids = [*parts, *([own] if ends else [])]
    columns = layers(ids, [(edge["parent"], edge["child"]) for edge in edges])
    tallest = max((len(column) for column in columns), default=0)
    height = max(tallest * (HIGH + DOWN) - DOWN, 0) + 2 * EDGE
    placed: dict[str, Node] = {}
    for x, column in enumerate(columns):
        top = (height - (len(column) * (HIGH + DOWN) - DOWN)) // 2
        for y, id in enumerate(column):
            part = parts.get(id, {"kind": "end", "status": "end"})
            name = part["kind"] or "forgotten"
            placed[id] = Node(id, name, part["status"], EDGE + x * (WIDE + ACROSS), top + y * (HIGH + DOWN))
    drawn = [
        Edge(placed[edge["parent"]], placed[edge["child"]], edge["policy"], edge["race"])
        for edge in edges
        if edge["child"] in placed
    ]
    width = max(len(columns) * (WIDE + ACROSS) - ACROSS, 0) + 2 * EDGE
    return Drawing(list(placed.values()), drawn, width, height, max(len(document["parts"]) - MOST, 0))


def svg(drawing: Drawing, here: str, link: Callable[[str], str]) -> str:
    """here: the part that is being looked at; link: from an id to its page."""
    said = f"{len(drawing.nodes)} parts, {len(drawing.edges)} edges between them."
    out = [
        f'<svg class="graph" width="{drawing.width}" height="{drawing.height}" role="group" '
        f'aria-label="The flow: {said}" '
        f'viewBox="0 0 {drawing.width} {drawing.height}">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    for edge in drawing.edges:
        x1, y1 = edge.start.x + WIDE, edge.start.y + HIGH // 2
        x2, y2 = edge.end.x - 2, edge.end.y + HIGH // 2
        bend = max((x2 - x1) // 2, 24)
        kind = f"edge edge-{escape(edge.policy)}{' race' if edge.race else ''}"
        out.append(
            f'<path class="{kind}" fill="none" marker-end="url(#arrow)" '
            f'd="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'
        )
    for node in drawing.nodes:
        body = _body(node, here)
        if node.status in ("end", "forgotten"):
            out.append(body)
        else:
            label = escape(f"{node.name}: {node.status}")
            out.append(f'<a href="{escape(link(node.id))}" aria-label="{label}">{body}</a>')
    return "".join((*out, "</svg>"))


def _body(node: Node, here: str) -> str:
    name = node.name if len(node.name) <= NAME else node.name[: NAME - 1] + "…"
    kind = f"node is-{escape(node.status)}{' here' if node.id == here else ''}"
    middle = node.y + HIGH // 2
    return (
        f'<g class="{kind}"><title>{escape(f"{node.name} ({node.status})")}</title>'
        f'<rect x="{node.x}" y="{node.y}" width="{WIDE}" height="{HIGH}" rx="8"/>'
        f'<text class="sign" x="{node.x + 14}" y="{middle + 4}" text-anchor="middle">'
        f"{SIGNS.get(node.status, '')}</text>"
        f'<text x="{node.x + 28}" y="{middle + 4}">{escape(name)}</text></g>'
    )


def _middle(places: list[float]) -> float:
    return sum(places) / len(places) if places else 0.0


def escape(text: str) -> str:
    return escaped(visible(text))
