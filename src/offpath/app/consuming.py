"""`@jobs.on`: what other applications tell becomes jobs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
    overload,
)

from ..brokers.address import parse
from ..cloudevents import CloudEvent
from ..core import inbox
from ..core.checks import check_name, flag, shown
from ..core.ids import is_id
from ..core.options import OnGiven, TaskOptions, check_names
from ..errors import ArgumentError, ConfigurationError, NotFound
from ..observe import signal
from ..ports import Maker, Received, Store
from ..ports.broker import Shape, Source
from ..ports.inbox import Letter, Taken
from ..tasks import AsyncTask, Context, EventType, Reading, Subscription, SyncTask, Task, found, local_names
from ..tasks.subscription import Format
from . import places
from .acting import recorded
from .desk import Counter

if TYPE_CHECKING:
    from ..engine.clock import Clock
    from ..engine.consumers import Consumers
    from ..engine.inbox import Inbox

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound="Task[Any, Any]")


class OnDecorator(Protocol):
    """What `@jobs.on(…)` is: as `@jobs.task(…)`, and it may stand above one."""

    @overload
    def __call__(self, task: T, /) -> T: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context[Any], P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[Concatenate[Context[Any], P], R], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...


class Consuming:
    """A part of `Offpath`."""

    _desk: Counter

    def on(
        self,
        *types: str | EventType[Any],
        topic: str | None = None,
        queue: str | None = None,
        stream: str | None = None,
        group: str = "",
        ordered: bool = False,
        name: str | None = None,
        version: int = 1,
        **options: Unpack[OnGiven],
    ) -> OnDecorator:
        """`@jobs.on("com.example.order.paid.v1")`: each such event becomes a job of the function below.

        types    of CloudEvents, word for word, or what `jobs.event(…)` gave; the function takes the event as a
                 parameter annotated `CloudEvent[…]`, which says how its data is validated. Without any, the messages
                 are plain JSON, and the members of each object are the function's arguments, as for `enqueue`
        topic    where they are published; or `queue` or `stream`: exactly one of them for plain JSON; for events the
                 declared one's topic, or the application's, if none is said. (The queue of the *jobs* is then the
                 default one, or that of a `@jobs.task(queue=…)` below)
        group    the workers of one group share the messages of a topic or stream (default: the application's)
        ordered  jobs of one key (an event's `partitionkey`, or the message's key) run one after the other, in the order
                 in which the messages came, on however many workers; one that fails holds up its key until it has
                 succeeded or is dead. Of RabbitMQ and Redis one worker of the group reads for all, and another takes
                 over when it is gone; SQS keeps an order in FIFO queues only
        name, version and the options are those of `jobs.task`; above a task there is nothing to be said of them.

        A message is acknowledged once its job is committed, and makes at most one job of each task. What cannot be
        read, or does not fit, is kept as it came: see `raw`. ConfigurationError for what cannot be, at once.
        """
        place = _place(types, topic, queue, stream)
        wanted = tuple(dict.fromkeys(_type(each) for each in types))
        flag(ordered, "ordered")
        if group:
            check_name(group, "group")
        try:
            checked, names = TaskOptions(**options), local_names()
        except TypeError:
            check_names(options, OnGiven, "topic", "queue", "stream", "group", "ordered", "name", "version")
            raise
        said = bool(options) or name is not None or version != 1

        def register(it: Callable[..., Any] | Task[Any, Any]) -> Task[..., Any]:
            if isinstance(it, Task):
                if said:
                    raise ConfigurationError(
                        f"@jobs.on above task {it.name} takes no options of the task: give them to @jobs.task"
                    )
                task: Task[..., Any] = it
            else:
                task = self._desk.register(it, checked, name, version, names)
            parameter, data = _event_of(task) if wanted else _plain(task)
            address, shape = place
            one = Subscription(
                task.name,
                wanted,
                address,
                shape,
                group,
                ordered,
                "cloudevent" if wanted else "json",
                parameter,
                data,
            )
            self._inbox(declare=True)
            self._desk.registry.subscriptions[one] = None
            return task

        return register  # type: ignore[return-value]

    def bring(
        self, task: Task[..., Any], *types: str | EventType[Any], source: Source, ordered: bool = False
    ) -> Reading:
        """Declare what somebody else reads for a task and hands to `take`: FastStream, say. `types` and `ordered` as
        for `on`; plain JSON has no types. Gives what `take` wants to be told. ConfigurationError as for `on`."""
        wanted = tuple(dict.fromkeys(_type(each) for each in types))
        parameter, data = _event_of(task) if wanted else _plain(task)
        format: Format = "cloudevent" if wanted else "json"
        at = source.address, source.shape, source.group
        one = Subscription(task.name, wanted, *at, ordered, format, parameter, data)
        self._inbox(declare=True)
        made = Reading(source, (one,))
        self._desk.registry.brought.append(made)
        return made

    async def take(
        self, kind: str, received: Sequence[Received], reading: Reading | None = None, *, keep: bool = True
    ) -> list[Taken]:
        """For whoever brings messages of their own way (HTTP, FastStream): make jobs of them, in one transaction, and
        say what has become of each. After that they may be acknowledged.

        kind     how they are encoded: "http", "kafka", "rabbitmq", "redis" or "sqs"
        reading  what they were read for; None: they were sent to us, and all that ask for events by type may have them
        keep     one of which no job can be made is kept, as it is, beside a job that is a dead letter

        StoreUnavailable: nothing is known of any of them, take all again.
        """
        return await self._inbox().take(kind, received, reading, keep=keep)

    async def raw(self, id: str) -> Letter:
        """The message, as it came, for which this job stands: one of task `offpath.receive`, a dead letter until
        `jobs.retry` is asked to read it with code that can. NotFound."""
        store, name = self._desk.store, _named(id, await self._args(id))
        return _letter(id, await store.perform(_looked(store, id, name)))

    def raw_sync(self, id: str) -> Letter:
        """The same, blocking."""
        store = self._desk.store
        args = _args(id, self._desk.find(id).result())
        return _letter(id, store.perform(_looked(store, id, _named(id, args))).result())

    def _consumers(self) -> Callable[[Clock], Consumers] | None:
        """What a worker reads beside running jobs; None: nothing is declared, or no broker brings it.
        ConfigurationError for what cannot be read."""
        desk = self._desk
        settings, tasks = desk.settings, sorted({one.task for one in desk.registry.subscriptions})
        if not tasks:
            return None
        if not (url := settings.broker or settings.transport):
            signal("inbox.idle", tasks=",".join(tasks))
            return None
        if parse(url).kind == "http":  # it is for the receiver's routes to take them
            return None
        made = self._inbox()
        made.readings()

        from ..engine.consumers import Consumers

        def consumers(clock: Clock) -> Consumers:
            return Consumers(made, lambda: places.make_broker(settings), desk.store, desk.registry, settings, clock)

        return consumers

    async def _args(self, id: str) -> str | None:
        return _args(id, await self._desk.find(id))

    def _inbox(self, *, declare: bool = False) -> Inbox:
        """`declare`: with the task that reads messages again."""
        from ..engine.inbox import OPTIONS, Inbox

        made = Inbox(self._desk)
        if declare and self._desk.registry.get(inbox.TASK) is None:
            self._desk.register(_rereader(made), OPTIONS, inbox.TASK, 1, {})
        return made


def _rereader(inbox: Inbox) -> Callable[..., Any]:
    async def receive(context: Context, letter: str) -> list[str]:
        return await inbox.reread(context, letter)

    return receive


def _place(types: Sequence[object], topic: str | None, queue: str | None, stream: str | None) -> tuple[str, Shape]:
    """Where to read: ("", "topic") is the application's topic."""
    shapes: tuple[tuple[Shape, str | None], ...] = (("topic", topic), ("queue", queue), ("stream", stream))
    said: list[tuple[Shape, str]] = [(shape, address) for shape, address in shapes if address is not None]
    if len(said) > 1:
        raise ConfigurationError(f"jobs.on reads one place: give {said[0][0]} or {said[1][0]}, not both")
    if said:
        shape, address = said[0]
        return check_name(address, shape), shape
    topics = {each.topic for each in types if isinstance(each, EventType) and each.topic}
    if len(topics) > 1:
        raise ConfigurationError(
            f"these events are of the topics {', '.join(sorted(topics))}: give each topic a jobs.on of its own"
        )
    if not types:
        raise ConfigurationError(
            'jobs.on needs to know what to read: types of events, as in @jobs.on("com.example.order.paid.v1"), or for '
            'plain JSON queue="…", topic="…" or stream="…"'
        )
    return (topics.pop() if topics else ""), "topic"


def _type(said: object) -> str:
    """A type of event, or that of a declared one."""
    if isinstance(said, EventType):
        return said.name
    if callable(said):
        raise ConfigurationError('jobs.on is called with what to consume, as in @jobs.on("com.example.order.paid.v1")')
    if not isinstance(said, str):
        raise ConfigurationError(f"jobs.on takes types of events, or what jobs.event(…) gave, not {shown(said)}")
    try:
        CloudEvent(type=said)
    except ArgumentError as wrong:
        raise ConfigurationError(f"jobs.on: the type of an event {wrong.reason}") from None
    return said


def _event_of(task: Task[..., Any]) -> tuple[str, Any]:
    """The parameter that takes the event, and the annotation of its data."""
    takes = {name: bare for name, (said, _) in task.takes.items() if _is_event(bare := _bare(said))}
    if not takes:
        called = " (its parameter event has no such annotation)" if "event" in task.takes else ""
        raise ConfigurationError(
            f"task {task.name} takes no event{called}: give it a parameter `event: CloudEvent[…]`, with the type of "
            "the event's data"
        )
    if len(takes) > 1:
        raise ConfigurationError(f"task {task.name} takes one event at a time, not {' and '.join(takes)}")
    [(parameter, annotation)] = takes.items()
    _nothing_else(task, {parameter})
    return parameter, next(iter(get_args(annotation)), Any)


def _plain(task: Task[..., Any]) -> tuple[str, Any]:
    for name, (said, _) in task.takes.items():
        if _is_event(_bare(said)):
            raise ConfigurationError(
                f"task {task.name} takes an event ({name}), and jobs.on says of no type which: give the types, as in "
                '@jobs.on("com.example.order.paid.v1")'
            )
    if not task.takes:
        raise ConfigurationError(
            f"task {task.name} has no parameters: of a plain JSON message, the members are its arguments"
        )
    return "", Any


def _nothing_else(task: Task[..., Any], given: set[str]) -> None:
    for name, (_, required) in task.takes.items():
        if required and name not in given:
            raise ConfigurationError(
                f"task {task.name} has a parameter {name!r} that no message gives: give it a default, or have it "
                "provided"
            )


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_event(annotation: Any) -> bool:
    return inspect.isclass(kind := get_origin(annotation) or annotation) and issubclass(kind, CloudEvent)


def _args(id: str, there: Any) -> str | None:
    row = found(id, there)
    one = row.job or row.finished
    return one.args if one is not None and one.task == inbox.TASK else None


def _named(id: str, args: str | None) -> str:
    """The letter that the arguments of such a job name."""
    try:
        letter = "" if args is None else json.loads(args)["letter"]
    except (ValueError, LookupError, TypeError):
        letter = ""
    if not isinstance(letter, str) or not is_id(letter):
        raise NotFound(f"job {id} stands for no message that could not be read")
    return letter


def _looked(store: Store, id: str, letter: str) -> Maker[Letter | None]:
    """Its bytes may be anybody's data: who has looked at them is remembered, if it was somebody."""
    return recorded(
        store, lambda: store.verbs.letter(letter), "job.arguments", id, lambda there: {"raw": True} if there else None
    )


def _letter(id: str, letter: Letter | None) -> Letter:
    if letter is None:
        raise NotFound(f"the message for which job {id} stands has been deleted")
    return letter
