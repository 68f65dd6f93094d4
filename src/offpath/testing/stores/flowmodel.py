"""Flows, worked out anew from the states of all parts after every step: slow, and nothing like what a store does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...core.flow import Graph, Policy, Way

LIVE = ("waiting", "ready", "running")


class Said(NamedTuple):
    """Of one thing that is waited for: "open", "met" or "lost"; the value, or the part whose failure it is."""

    word: str
    value: Any = None
    cause: str | None = None


class Node:
    """A part. `cause`: whose failure it ended with; None: nobody's. `mute`: nothing follows from its end."""

    def __init__(self, ways: list[tuple[str, Way]], takes: str | None, *, spread: bool, handler: bool) -> None:
        self.ways, self.takes, self.spread, self.handler = ways, takes, spread, handler
        self.state = "waiting" if ways else "ready"
        self.args: dict[str, Any] = {}
        self.result: Any = None
        self.cause: str | None = None
        self.asked = self.mute = False
        self.at = 0  # at which of the things that happened it ended without success, or was not needed any more
        self.became: list[str] | None = None  # what a spread part has become


class FlowModel:
    def __init__(self, graph: Graph, ids: list[str]) -> None:
        self.nodes: dict[str, Node] = {}
        for part, id in zip(graph.parts, ids, strict=True):
            ways = [(ids[way.parent], way) for way in part.ways]
            self.nodes[id] = Node(ways, part.takes, spread=part.spread, handler=part.handler)
        self.ways = [(ids[way.parent], way) for way in graph.ways]
        self.state = "waiting"
        self.asked = False
        self.broken: str | None = None
        self.canceled: set[str] = set()  # parts that were canceled by themselves
        self.result: Any = None
        self.won: set[tuple[str, str]] = set()
        self.beaten: list[list[str]] = []  # the runners of races that have just been won
        self.origin: dict[str, str] = {}  # of what a spread part has become
        self.at = 0
        self.spreads: list[tuple[str, int]] = []  # parts that have just become so many; the machine names them

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def succeed(self, id: str, result: Any) -> None:
        self.nodes[id].state, self.nodes[id].result = "succeeded", result

    def fail(self, id: str) -> None:
        self._lose(self.nodes[id], "failed", id)

    def cancel_part(self, id: str) -> None:
        node = self.nodes[id]
        if node.state == "running":
            node.asked = True
        elif node.state in LIVE:
            self.end_canceled(id)

    def end_canceled(self, id: str) -> None:
        node = self.nodes[id]
        if node.mute:
            node.state = "canceled"
        else:
            self._lose(node, "canceled", id)
            self.canceled.add(id)

    def _lose(self, node: Node, state: str, cause: str) -> None:
        node.state, node.cause, node.at = state, cause, self.at

    def cancel(self) -> None:
        if self.state == "waiting" and not self.asked:
            self.asked = True
            self._stop(lambda node: not node.handler or node.state != "waiting")

    def became(self, id: str, ids: list[str]) -> None:
        """A spread part has ended; these are in its place, in order."""
        old = self.nodes[id]
        old.became = ids
        for new, args in zip(ids, old.result, strict=True):
            self.nodes[new] = Node([], None, spread=False, handler=False)
            self.nodes[new].args = args
            self.origin[new] = id
        old.result = []

    # ── what follows ─────────────────────────────────────────────────────────────────────────────────────────────

    def follow(self) -> None:
        """What follows from one thing that has happened. Spread parts wait in `spreads` for their names; call it again
        after `became`."""
        self._follow()
        if not self.spreads:
            self.at += 1

    def _follow(self) -> None:
        """Until nothing changes."""
        while self._once() and not self.spreads:
            pass
        if self.spreads or self.state != "waiting":
            return
        for parents in self.beaten:
            self._losers(parents)
        self.beaten = []
        if self.broken is None and (lost := self._lost(self.ways)) is not None and not self.asked:
            self.broken = lost
            self._stop(lambda node: not node.handler)
        if any(node.state in LIVE and not (node.handler and node.state == "waiting") for node in self.nodes.values()):
            return
        for node in self.nodes.values():
            if node.state == "waiting":
                node.state = "canceled"
        if self.asked:
            self.state = "canceled"
        elif self.broken is not None:
            self.state = "canceled" if self.broken in self.canceled else "failed"
        else:
            self.state, self.result = "succeeded", self._value(self.ways)

    def _once(self) -> bool:
        changed = False
        for id, node in list(self.nodes.items()):
            if node.state != "waiting" or node.mute:
                continue
            lost = self._lost(node.ways)
            if node.handler:
                if lost is not None:
                    node.state, changed = "ready", True
                    node.args = {node.takes or "": {"job": lost}}
                continue
            if lost is not None:
                self._lose(node, "canceled", lost)
                changed = True
            elif all(said.word == "met" for said in self._groups(id, node.ways)):
                value, changed = self._value(node.ways), True
                self._race(id, node)
                if not node.spread:
                    node.state, node.args = "ready", {node.takes: value} if node.takes else {}
                elif isinstance(value, list):
                    node.state, node.result = "succeeded", [{node.takes: one} for one in value]
                    self.spreads.append((id, len(value)))
                else:
                    self._lose(node, "failed", id)
        if not self.spreads and any(way.race for _, way in self.ways):
            for said, path in self._races(self.ways):
                if said.word == "met" and ("", path) not in self.won:
                    self.won.add(("", path))
                    self.beaten.append([p for p, way in self.ways if way.race and way.path == path])
                    changed = True
        for id, node in list(self.nodes.items()):  # a race may be over before its child can run, or after it has ended
            if not node.handler:
                changed = self._race(id, node) or changed
        return changed

    def _race(self, id: str, node: Node) -> bool:
        changed = False
        for said, path in self._races(node.ways):
            if said.word == "met" and (id, path) not in self.won:
                self.won.add((id, path))
                self.beaten.append([parent for parent, way in node.ways if way.race and way.path == path])
                changed = True
        return changed

    def _races(self, ways: list[tuple[str, Way]]) -> Iterator[tuple[Said, str]]:
        for path in sorted({way.path for _, way in ways if way.race and way.policy is not Policy.CATCH}):
            yield self._first([(p, way) for p, way in ways if way.race and way.path == path]), path

    def _losers(self, parents: list[str]) -> None:
        asked = [parent for parent in parents if self.nodes[parent].state in LIVE]
        found: set[str] = set()
        while asked:
            one = asked.pop()
            if one in found or not all(
                child in found or (way.race and (child, way.path) in self.won) for child, way in self._out(one)
            ):
                continue
            found.add(one)
            for parent, _ in self.nodes[one].ways:
                asked += [parent, *(self.nodes[parent].became or ())]
        for id in found:
            self._drop(self.nodes[id])

    def _out(self, id: str) -> list[tuple[str, Way]]:
        """Ways out that are not decided: of a part that has ended, all are."""
        if self.nodes[id].state not in LIVE:
            return []
        id = self.origin.get(id, id)
        out = [
            (child, way)
            for child, node in self.nodes.items()
            for parent, way in node.ways
            if parent == id and way.policy is not Policy.CATCH
        ]
        return out + [("", way) for parent, way in self.ways if parent == id]

    def _stop(self, which: Any) -> None:
        for node in self.nodes.values():
            if which(node):
                self._drop(node)

    def _drop(self, node: Node) -> None:
        if node.state in LIVE:
            node.mute, node.at = True, self.at
            if node.state == "running":
                node.asked = True
            else:
                node.state = "canceled"

    # ── what one thing that is waited for has come to ────────────────────────────────────────────────────────────

    def _groups(self, id: str, ways: list[tuple[str, Way]]) -> list[Said]:
        return [said for said, _ in self._races(ways)] + [self._one(p, way) for p, way in ways if not way.race]

    def _lost(self, ways: list[tuple[str, Way]]) -> str | None:
        races: dict[str, list[tuple[str, Way]]] = {}
        for parent, way in ways:
            if way.race:
                races.setdefault(way.path, []).append((parent, way))
            elif (said := self._one(parent, way)).word == "lost":
                return said.cause
        for group in races.values():
            if (said := self._first(group)).word == "lost":
                return said.cause
        return None

    def _first(self, group: list[tuple[str, Way]]) -> Said:
        all_said = [self._one(parent, way) for parent, way in group]
        met = next((said for said in all_said if said.word == "met"), None)
        if met is not None:
            return met
        # It is lost by the failure of the last that is in it; who was not needed any more when that came is not.
        nodes = [(self.nodes[parent], said) for (parent, _), said in zip(group, all_said, strict=True)]
        left = [(node, said) for node, said in nodes if not node.mute or node.at == self.at]
        fresh = [said for node, said in left if said.word == "lost" and node.at == self.at]
        return fresh[-1] if fresh and all(said.word == "lost" for _, said in left) else Said("open")

    def _one(self, parent: str, way: Way) -> Said:
        node = self.nodes[parent]
        if node.became is not None:
            each = [self._one(new, way) for new in node.became]
            lost = next((said for said in each if said.word == "lost"), None)
            if lost is not None:
                return lost
            return Said("met", [said.value for said in each]) if all(s.word == "met" for s in each) else Said("open")
        if node.state == "succeeded":
            return Said("open") if node.spread else Said("met", node.result)
        if node.state in LIVE or node.mute:
            return Said("open")
        if way.policy is Policy.CONTINUE:
            return Said("met", {"job": node.cause})
        return Said("lost", cause=node.cause)

    def _value(self, ways: list[tuple[str, Way]]) -> Any:
        """Each at its place."""
        loud = [(parent, way) for parent, way in ways if not way.silent and way.policy is not Policy.CATCH]
        tree: dict[str, Any] = {}
        for parent, way in loud:
            said = self._one(parent, way)
            if said.word != "met" or (way.race and way.path in tree):
                continue
            tree[way.path] = said.value
        if list(tree) == [""]:
            return tree[""]
        return [tree[path] for path in sorted(tree, key=int)] if tree else None


def same(stored: str, expected: Any) -> bool:
    """Whether JSON text is the value that the model expects; of a `Failure` only the job counts."""
    return _same(json.loads(stored), expected)


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, dict) and expected.keys() == {"job"}:
        return isinstance(got, dict) and got.get("job") == expected["job"]
    if isinstance(expected, dict):
        return isinstance(got, dict) and got.keys() == expected.keys() and all(_same(got[k], expected[k]) for k in got)
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(_same, got, expected))
    return bool(got == expected)
