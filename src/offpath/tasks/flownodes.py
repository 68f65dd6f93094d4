"""What a flow is made of: one node for each link, and what leads from it to the next."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core import call as core
from ..core.checks import shown
from ..core.flow import Policy
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .calling import Call

_serial = itertools.count()


class Node:
    """One link. Later ones know earlier ones and never the other way round, so that there are no cycles."""

    __slots__ = ("call", "serial", "spread", "takes", "ways")

    def __init__(self, call: Call[Any], ways: tuple[To, ...], takes: str | None, *, spread: bool = False) -> None:
        self.call, self.ways, self.takes, self.spread = call, ways, takes, spread
        self.serial = next(_serial)


class To(NamedTuple):
    """What leads from a node to whatever comes next; see `core.flow.Way`."""

    node: Node
    path: str = ""
    policy: Policy = Policy.CANCEL
    race: bool = False
    silent: bool = False


def link(
    next: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], ways: tuple[To, ...], *, spread: bool = False
) -> Node:
    """A node that waits for `ways`. ConfigurationError for what is no task, or takes no such arguments."""
    from .calling import Call, Enqueues

    if not isinstance(next, Enqueues):
        raise ConfigurationError(f"a link is a task, or task.call(…), not {shown(next)}")
    if next._tx is not None:
        raise ConfigurationError("a link belongs to no transaction of its own: flow.using(tx=…)")
    task = next._task
    takes, text = task.bind_rest(args, dict(kwargs))
    plain = core.Call(task.name, task.version, text, task.options, next._options)
    return Node(Call(plain, task.desk), ways, takes, spread=spread)


def nodes_of(ways: Iterable[To], handlers: Iterable[Node]) -> list[Node]:
    """All that lead there, each after those that it waits for."""
    found: dict[int, Node] = {}
    asked = [*(to.node for to in ways), *handlers]
    while asked:
        node = asked.pop()
        if node.serial not in found:
            found[node.serial] = node
            asked += [to.node for to in node.ways]
    return [found[serial] for serial in sorted(found)]
