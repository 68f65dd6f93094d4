"""Flows as users write them: values that grow by `then`, `all_of`, `any_of`, `catch`, and are enqueued as one.

    saved = update.call(1, change)
    told = saved.then(notify)                                   # notify is given what update returned
    await all_of(told.then(refresh), told.then(trigger)).catch(report).enqueue()

A value that is used twice is one job that two others wait for. Nothing is written before `enqueue`.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from ..core import flow as graphs
from ..core.checks import shown
from ..core.flow import Failure, Graph, Part, Policy, Way
from ..core.options import UNSET, CallOptions, Unset
from ..core.retry import Seconds
from ..errors import ConfigurationError
from . import flowresult
from .flownodes import Node, To, link, nodes_of

if TYPE_CHECKING:
    from .calling import Using
    from .handle import Desk, Job

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
E = TypeVar("E")
R_co = TypeVar("R_co", covariant=True)


class Linked(ABC, Generic[R_co]):
    """What can be linked: a call, or a flow of them."""

    __slots__ = ()

    @abstractmethod
    def _flow(self) -> Flow[R_co]: ...

    @overload
    def then(self, next: Linked[S], /) -> Flow[S]: ...
    @overload
    def then(self, next: Using[Concatenate[R_co, P], S], /, *args: P.args, **kwargs: P.kwargs) -> Flow[S]: ...
    @overload
    def then(
        self, next: Callable[Concatenate[R_co, P], Coroutine[Any, Any, S]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Flow[S]: ...
    @overload
    def then(self, next: Callable[Concatenate[R_co, P], S], /, *args: P.args, **kwargs: P.kwargs) -> Flow[S]: ...
    def then(self, next: Any, /, *args: Any, **kwargs: Any) -> Flow[Any]:
        """What runs next: `a.call(1).then(b)`, `.then(b, width=3)`, `.then(c.call(2))`.

        A task is given the result as its first parameter (after a Context), and the other arguments as they are here;
        after `all_of` that is the list of all results. A complete call, or a flow of complete calls, is given nothing.
        If what goes before does not succeed, it never runs (but see `settled`).
        """
        flow = self._flow()
        if isinstance(next, Linked):
            if args or kwargs:
                raise ConfigurationError("what is linked is complete: it takes no further arguments here")
            return flow._before(next._flow())
        return flow._linked(link(next, args, kwargs, flow.ways))

    @overload
    def then_each(
        self: Linked[Sequence[E]],
        next: Callable[Concatenate[E, P], Coroutine[Any, Any, S]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Flow[list[S]]: ...
    @overload
    def then_each(
        self: Linked[Sequence[E]], next: Callable[Concatenate[E, P], S], /, *args: P.args, **kwargs: P.kwargs
    ) -> Flow[list[S]]: ...
    def then_each(self, next: Any, /, *args: Any, **kwargs: Any) -> Flow[Any]:
        """A job of this task for each element of the list that goes before: `find.call().then_each(resize, width=3)`.

        How many there are is decided when the list is there; what comes next is given the list of their results.
        """
        flow = self._flow()
        return flow._linked(link(next, args, kwargs, flow.ways, spread=True))

    @overload
    def catch(
        self, handler: Using[Concatenate[Failure, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Flow[R_co]: ...
    @overload
    def catch(
        self, handler: Callable[Concatenate[Failure, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Flow[R_co]: ...
    def catch(self, handler: Any, /, *args: Any, **kwargs: Any) -> Flow[R_co]:
        """A task that runs if any link so far fails, or is canceled by itself; its first parameter is the `Failure`.

        It is told; it changes nothing: the flow ends as the link did, once the handler has ended. (To go on with
        something else instead, see `settled`.) When the flow itself is canceled, no handler runs.
        """
        flow = self._flow()
        ways = tuple(to._replace(policy=Policy.CATCH, silent=False) for to in flow.ways if to.policy is Policy.CANCEL)
        if not ways:
            raise ConfigurationError("catch has nothing to handle: every link so far is settled()")
        return Flow(flow.ways, (*flow.handlers, link(handler, args, kwargs, ways)))

    def settled(self) -> Flow[R_co | Failure]:
        """The same, but what comes next runs in any case, and is given a `Failure` where there is no result.

        For one link or chain; of several, say it of each: `all_of(a.settled(), b.settled())`.
        """
        flow = self._flow()
        if len(flow.ways) != 1 or flow.ways[0].race or flow.ways[0].node.spread:
            raise ConfigurationError("settled() is for one link: say it of each, all_of(a.settled(), b.settled())")
        return Flow((flow.ways[0]._replace(policy=Policy.CONTINUE),), flow.handlers)

    def giving(self, part: Linked[S]) -> Flow[S]:
        """The same flow with the result of one of its links: `told.then(trigger).giving(told)`."""
        flow, other = self._flow(), part._flow()
        known = {node.serial for node in flow._nodes()}
        if not all(to.node.serial in known for to in other.ways):
            raise ConfigurationError("giving() names a link of this flow, and this one is none")
        giving = {to.node.serial for to in other.ways}
        quiet = [to._replace(silent=True) for to in flow.ways if to.node.serial not in giving]
        return Flow((*other.ways, *quiet), flow.handlers)

    async def enqueue(self) -> Job[R_co]:
        """Write all of it in one transaction; returns once it is durable. The job is the flow: its result is that of
        its last link, a list where there are several; `cancel` reaches every part.

        ConfigurationError for what can be no flow; StoreUnavailable when the database cannot take it.
        """
        return await self.using().enqueue()

    def enqueue_sync(self) -> Job[R_co]:
        """The same, blocking."""
        return self.using().enqueue_sync()

    def using(
        self,
        *,
        tx: object | None = None,
        key: str | None = None,
        deadline: datetime | Seconds | None = None,
        owner: str | Unset | None = UNSET,
        tenant: str | None = None,
        reply_to: str | None = None,
        correlation: str | None = None,
    ) -> UsingFlow[R_co]:
        """With options for the whole flow.

        tx        your open transaction: all of it is written there (see `Task.using`)
        key       unique among live flows: while one lives, enqueue gives that one back
        deadline  a moment, or a duration from now, after which no attempt of any part starts; handlers still do
        owner     whose work it is, of every part that does not say itself; `tenant` says which tenant's
        reply_to  a queue of the broker that is told how the flow ends, marked with `correlation` (see `CallOptions`)
        """
        options = CallOptions(key=key, deadline=deadline, owner=owner, tenant=tenant,
                              reply_to=reply_to, correlation=correlation)  # fmt: skip
        return UsingFlow(self._flow(), options, tx)


class Flow(Linked[R_co]):
    """Jobs that wait for jobs, not yet enqueued. `ways` lead on from its last links."""

    __slots__ = ("handlers", "ways")

    def __init__(self, ways: tuple[To, ...], handlers: tuple[Node, ...] = ()) -> None:
        self.ways, self.handlers = ways, handlers

    def __repr__(self) -> str:
        return f"<Flow of {len(self._nodes())} parts>"

    def _flow(self) -> Flow[R_co]:
        return self

    def _nodes(self) -> list[Node]:
        return nodes_of(self.ways, self.handlers)

    def _linked(self, node: Node) -> Flow[Any]:
        return Flow((To(node),), self.handlers)

    def _before(self, other: Flow[S]) -> Flow[S]:
        """`other`, whose first links wait for this one's last."""
        ways = tuple(to._replace(silent=True) for to in self.ways)
        made: dict[int, Node] = {}
        for node in other._nodes():
            before = tuple(to._replace(node=made[to.node.serial]) for to in node.ways) if node.ways else ways
            made[node.serial] = Node(node.call, before, node.takes, spread=node.spread)
        handlers = tuple(made[node.serial] for node in other.handlers)
        return Flow(tuple(to._replace(node=made[to.node.serial]) for to in other.ways), (*self.handlers, *handlers))

    def graph(self) -> Graph:
        """The plain value. ConfigurationError for what can be no flow."""
        nodes = self._nodes()
        numbers = {node.serial: number for number, node in enumerate(nodes)}
        calls: set[int] = set()
        for node in nodes:
            if id(node.call) in calls:
                raise ConfigurationError(
                    f"the same call of {node.call.core.task} is in two places of the flow, and a call is one job: make "
                    "another, task.call(…)"
                )
            calls.add(id(node.call))

        def ways(of: tuple[To, ...]) -> tuple[Way, ...]:
            return tuple(Way(numbers[to.node.serial], to.path, to.policy, to.race, to.silent) for to in of)

        made = Graph(
            tuple(Part(node.call.core, ways(node.ways), node.takes, node.spread) for node in nodes), ways(self.ways)
        )
        graphs.check(made)
        return made

    def desk(self) -> Desk:
        return self.ways[0].node.call.desk

    def read(self, text: str) -> Any:
        """Its stored result, as the types of the tasks that made it. ResultError when it does not fit."""
        return flowresult.read(self.desk(), self.ways, text)


class UsingFlow(Generic[R_co]):
    """A flow with options: what `flow.using(…)` gives."""

    def __init__(self, flow: Flow[R_co], options: CallOptions, tx: object | None) -> None:
        self.flow, self.options, self.tx = flow, options, tx

    async def enqueue(self) -> Job[R_co]:
        """See `Flow.enqueue`."""
        return await self.flow.desk().submit_flow(self.flow, self.options, self.tx)

    def enqueue_sync(self) -> Job[R_co]:
        """The same, blocking."""
        return self.flow.desk().submit_flow_sync(self.flow, self.options, self.tx)


@overload
def all_of(first: Linked[R], /, *more: Linked[R]) -> Flow[list[R]]: ...
@overload
def all_of(parts: Iterable[Linked[R]], /) -> Flow[list[R]]: ...
def all_of(*parts: Any) -> Flow[Any]:
    """All of these, side by side: `all_of(a.call(), b.call())`, `all_of(resize.call(i) for i in images)`.

    What comes next waits for all of them and is given the list of their results, in this order.
    """
    return Flow(*_together(_listed(parts, "all_of"), race=False))


@overload
def any_of(first: Linked[R], /, *more: Linked[R]) -> Flow[R]: ...
@overload
def any_of(parts: Iterable[Linked[R]], /) -> Flow[R]: ...
def any_of(*parts: Any) -> Flow[Any]:
    """The first of these that succeeds: what comes next is given its result. The others are canceled then; it fails
    when all have failed."""
    return Flow(*_together(_listed(parts, "any_of"), race=True))


def _listed(parts: Sequence[Any], what: str) -> list[Flow[Any]]:
    if len(parts) == 1 and not isinstance(parts[0], Linked):
        if isinstance(parts[0], str | bytes) or not isinstance(parts[0], Iterable):
            raise ConfigurationError(f"{what} takes calls and flows, task.call(…), not {shown(parts[0])}")
        parts = list(itertools.islice(parts[0], graphs.MAX_PARTS + 1))
    if not parts:
        raise ConfigurationError(f"{what} needs at least one call")
    if len(parts) > graphs.MAX_PARTS:
        raise ConfigurationError(f"{what} takes at most {graphs.MAX_PARTS:,} parts: let a part do several elements")
    for part in parts:
        if not isinstance(part, Linked):
            raise ConfigurationError(f"{what} takes calls and flows, task.call(…), not {shown(part)}")
    return [part._flow() for part in parts]


def _together(flows: Sequence[Flow[Any]], *, race: bool) -> tuple[tuple[To, ...], tuple[Node, ...]]:
    ways: list[To] = []
    seen: set[int] = set()
    handlers: dict[int, Node] = {}
    for number, flow in enumerate(flows):
        if race and (len(flow.ways) != 1 or flow.ways[0].race or flow.ways[0].node.spread):
            raise ConfigurationError(
                "any_of takes calls and chains: give what ends in several links one more, .then(…)"
            )
        for to in flow.ways:
            if to.node.serial in seen:
                raise ConfigurationError(
                    f"the same call of {to.node.call.core.task} twice: a call is one job; make another, task.call(…)"
                )
            seen.add(to.node.serial)
            path = "" if race else f"{number}/{to.path}" if to.path else str(number)
            ways.append(to._replace(path=path, race=race or to.race))
        handlers |= {node.serial: node for node in flow.handlers}
    return tuple(ways), tuple(handlers.values())
