"""The stored result of a flow, JSON, as the types of the tasks that made it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core.flow import Failure, Policy
from ..errors import ResultError

if TYPE_CHECKING:
    from .flownodes import To
    from .handle import Desk

_FAILURE = {"task", "job", "state", "error"}


def read(desk: Desk, ways: Sequence[To], text: str) -> Any:
    """`ways` lead on from the flow's last links. ResultError when it does not fit."""
    loud = [to for to in ways if not to.silent]
    value = json.loads(text)
    if len(loud) == 1 and not loud[0].path and not loud[0].node.spread and loud[0].policy is Policy.CANCEL:
        return desk.decoder(loud[0].node.call.core.task)(text)
    places: dict[str, list[To]] = {}
    for to in loud:
        places.setdefault(to.path, []).append(to)
    for path, leading in places.items():
        read = functools.partial(_decoded if len(leading) == 1 else _raced, desk, *leading)
        value = _placed(value, path.split("/") if path else [], read)
    return value


def _placed(value: Any, path: list[str], decode: Callable[[Any], Any]) -> Any:
    """`value` with what is at `path` decoded."""
    if not path:
        return decode(value)
    place = int(path[0])
    value[place] = _placed(value[place], path[1:], decode)
    return value


def _decoded(desk: Desk, to: To, value: Any) -> Any:
    if to.policy is Policy.CONTINUE and isinstance(value, dict) and value.keys() == _FAILURE:
        return Failure(**value)
    decode = desk.decoder(to.node.call.core.task)
    if to.node.spread:
        return [decode(json.dumps(one)) for one in value]
    return decode(json.dumps(value))


def _raced(desk: Desk, *args: Any) -> Any:
    """What one of several has handed on; nothing says which. As the first whose type keeps all of it (`int` reads "7",
    and would write 7), else as the first that reads it. ResultError when none does."""
    *racers, value = args
    lossy: list[Any] = []
    refused: ResultError | None = None
    for to in sorted(racers, key=lambda to: to.policy is not Policy.CONTINUE):  # (a Failure is none of the types)
        try:
            found = _decoded(desk, to, value)
            if isinstance(found, Failure) or _same(desk.encoder(to.node.call.core.task)(found), value):
                return found
            lossy.append(found)
        except ResultError as error:
            refused = error
    if lossy:
        return lossy[0]
    names = ", ".join(dict.fromkeys(to.node.call.core.task for to in racers))
    raise ResultError(f"the stored result of a race fits none of its tasks ({names}): {refused}") from refused


def _same(text: str, value: Any) -> bool:
    """To the type of each number, which `==` does not tell apart."""
    return json.dumps(json.loads(text), sort_keys=True) == json.dumps(value, sort_keys=True)
