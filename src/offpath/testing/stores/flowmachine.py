"""Flows: a store and a plain model of the graph go the same way. (`flows.py` has what the model does not know of.)"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ...core import flow as core
from ...core.call import Call
from ...core.flow import Graph, Part, Policy, Way
from ...core.job import Job, State
from ...core.options import CallOptions, TaskOptions
from ...core.outcome import Canceled, Done, Errored, Interrupted, error
from ...errors import Conflict
from ...ports import NewJob, NewOperation, Store
from ...ports.flows import NewFlow
from .fixtures import Databases
from .flowmodel import LIVE, FlowModel, Node, same
from .kit import (
    KEEP,
    TIMEOUT,
    Hand,
    ask,
    change,
    ended,
    live,
    new_job,
    perform,
)

CALL = Call("mail", 1, "{}", TaskOptions(), CallOptions())
FATAL = Errored(error("raised", "Failed", detail="boom"), retryable=False)
MANY = 100


def part(*ways: Way | int, takes: str | None = "x", spread: bool = False) -> Part:
    """A link after those of these numbers; several are handed on as a list."""
    found = [way if isinstance(way, Way) else Way(way, str(n) if len(ways) > 1 else "") for n, way in enumerate(ways)]
    return Part(CALL, tuple(found), takes if found else None, spread)


def graph(*parts: Part) -> Graph:
    """It ends where no other link follows."""
    inner = {way.parent for one in parts for way in one.ways if way.policy is not Policy.CATCH}
    ends = [n for n, one in enumerate(parts) if n not in inner and not one.handler]
    return Graph(parts, tuple(Way(n, str(i) if len(ends) > 1 else "") for i, n in enumerate(ends)))


def new_flow(made: Graph, *, by: str | None = None, **given: Any) -> NewFlow:
    core.check(made)
    operation = NewOperation("acme", by, core.TASK, "") if by else None
    own = new_job(task=core.TASK, operation=operation, **given)
    jobs = [new_job(args=one.call.args) for one in made.parts]
    row, parts, edges = core.rows(made, own.job, [one.job for one in jobs])
    return NewFlow(
        own._replace(job=row), [NewJob(job, one.event, None) for job, one in zip(parts, jobs, strict=True)], edges
    )


def start(store: Store, made: Graph, **given: Any) -> tuple[str, list[str]]:
    """The flow's id, and its parts'."""
    new = new_flow(made, **given)
    said = store.perform(lambda: store.verbs.enqueue_flow(new)).result(TIMEOUT)
    assert said == (new.flow.job.id, False)
    return new.flow.job.id, [one.job.id for one in new.parts]


# ── the machine ──────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    parts: list[Part] = []
    for _ in range(draw(st.integers(1, 6))):
        before = list(range(len(parts)))
        parents = sorted(draw(st.sets(st.sampled_from(before), max_size=3))) if before else []
        flat = not any(parts[n].spread for n in parents)
        races = len(parents) > 1 and flat and draw(st.booleans())
        ways: list[Way] = []
        for at, parent in enumerate(parents):
            policy = Policy.CONTINUE if not races and draw(st.integers(0, 3)) == 0 else Policy.CANCEL
            # (of three in a race, the last may stand beside it)
            apart = races and at == 2 and draw(st.booleans())
            path = "" if len(parents) == 1 else ("1" if apart else "0") if races else str(at)
            ways.append(Way(parent, path, policy, races and not apart))
        takes = "x" if bool(ways) and draw(st.integers(0, 3)) > 0 else None
        parts.append(Part(CALL, tuple(ways), takes, takes is not None and draw(st.integers(0, 3)) == 0))
    made = graph(*parts)
    ends = list(made.ways)
    if len(ends) > 1 and not any(parts[way.parent].spread for way in ends) and draw(st.integers(0, 2)) == 0:
        ends = [Way(way.parent, "", Policy.CANCEL, True) for way in ends]
    handlers = []
    for _ in range(draw(st.integers(0, 2))):
        of = sorted(draw(st.sets(st.integers(0, len(parts) - 1), min_size=1, max_size=2)))
        race = len(of) > 1 and not any(parts[n].spread for n in of) and draw(st.booleans())
        handlers.append(Part(CALL, tuple(Way(n, "", Policy.CATCH, race) for n in of), "failure"))
    return Graph((*parts, *handlers), tuple(ends))


which_one = st.integers(0, 10**6)
results = st.sampled_from([1, [], [1, 2], [[3], []]])


class FlowMachine(RuleBasedStateMachine):
    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.store = self.stack.enter_context(databases())(announce=lambda hints: None, retention=KEEP)
        self.store.open()
        self.hand = Hand(self.store, 600.0)
        self.flows: dict[str, FlowModel] = {}
        self.running: dict[str, Job] = {}
        self.touched: set[str] = set()  # flows that have not been compared since

    def teardown(self) -> None:
        """Whatever has been begun comes to an end."""
        try:
            while sys.exc_info()[0] is None:  # (what has gone wrong is not to be hidden by what follows from it)
                self.claim(10)
                if not self.running:
                    break
                for id in list(self.running):
                    self.settle(id, [7])
                self.both_stand_alike()
            assert sys.exc_info()[0] is not None or all(one.state != "waiting" for one in self.flows.values())
        finally:
            self.hand.close()
            self.store.close()
            self.stack.close()

    @initialize(made=graphs())
    def first(self, made: Graph) -> None:
        self.begin(made)

    @precondition(lambda self: len(self.flows) < 2)
    @rule(made=graphs())
    def begin(self, made: Graph) -> None:
        id, parts = start(self.store, made)
        self.flows[id] = FlowModel(made, parts)

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        for job in self.hand.claim(limit):
            self.running[job.id] = job
            node = self.node(job)
            assert node.state == "ready"
            assert same(job.args, node.args), (job.args, node.args)
            node.state = "running"

    def node(self, job: Job) -> Node:
        return self.flows[str(job.flow)].nodes[job.id]

    @precondition(lambda self: self.running)
    @rule(which=which_one, result=results, fails=st.integers(0, 2))
    def end(self, which: int, result: Any, fails: int) -> None:
        self.settle(self.pick(which), result, fails=not fails)

    @precondition(lambda self: self.running)
    @rule(which=which_one)
    def leave(self, which: int) -> None:
        """The part says itself that it is canceled."""
        id = self.pick(which)
        job = self.running.pop(id)
        self.say([change(self.known(job), Canceled("left"))])
        self.flows[str(job.flow)].end_canceled(id)
        self.follow(str(job.flow))

    @precondition(lambda self: len(self.running) > 1)
    @rule(result=results)
    def end_together(self, result: Any) -> None:
        jobs = [self.known(job) for job in self.running.values()]
        self.say([change(job, Done(json.dumps(result))) for job in jobs])
        for job in jobs:
            del self.running[job.id]
            model = self.flows[str(job.flow)]
            if job.cancel_at is None:
                model.succeed(job.id, result)
            else:
                model.end_canceled(job.id)
        for flow in {str(job.flow) for job in jobs}:
            self.follow(flow)

    @precondition(lambda self: self.running)
    @rule(which=which_one)
    def give_back(self, which: int) -> None:
        id = self.pick(which)
        job = self.known(self.running.pop(id))
        self.say([change(job, Interrupted())])
        model = self.flows[str(job.flow)]
        if job.cancel_at is None:
            model.nodes[id].state = "ready"
        else:
            model.end_canceled(id)
        self.follow(str(job.flow))

    @rule(which=which_one, part=which_one)
    def cancel_part(self, which: int, part: int) -> None:
        flow = sorted(self.flows)[which % len(self.flows)]
        model = self.flows[flow]
        id = sorted(model.nodes)[part % len(model.nodes)]
        if model.nodes[id].handler and model.nodes[id].state == "waiting":
            with pytest.raises(Conflict, match="cancel the flow"):
                perform(self.store, self.store.verbs.cancel(id, "why"))
            return
        perform(self.store, self.store.verbs.cancel(id, "why"))
        model.cancel_part(id)
        self.follow(flow)

    @rule(which=which_one, sure=st.integers(0, 3))
    def cancel_flow(self, which: int, sure: int) -> None:
        if sure:
            return
        flow = sorted(self.flows)[which % len(self.flows)]
        perform(self.store, self.store.verbs.cancel(flow, "why"))
        self.flows[flow].cancel()
        self.follow(flow)

    # ── both sides ───────────────────────────────────────────────────────────────────────────────────────────────

    def pick(self, which: int) -> str:
        return sorted(self.running)[which % len(self.running)]

    def known(self, job: Job) -> Job:
        """The job as its worker knows it once it has heard of a cancel."""
        now_ = live(self.store, job.id)
        return job._replace(cancel_at=now_.cancel_at, cancel_reason=now_.cancel_reason)

    def settle(self, id: str, result: Any, *, fails: bool = False) -> None:
        job = self.known(self.running.pop(id))
        self.say([change(job, FATAL if fails else Done(json.dumps(result)))])
        model = self.flows[str(job.flow)]
        if job.cancel_at is not None:
            model.end_canceled(id)
        elif fails:
            model.fail(id)
        else:
            model.succeed(id, result)
        self.follow(str(job.flow))

    def say(self, changes: list[Any]) -> None:
        assert self.hand.settle(*changes) == ["applied"] * len(changes)

    def follow(self, flow: str) -> None:
        self.touched.add(flow)
        model = self.flows[flow]
        model.follow()
        while model.spreads:
            rows = ask(self.store, self.store.verbs.flow(flow))
            assert rows is not None
            edges = rows.edges
            for id, count in model.spreads:
                children = {edge.child for edge in edges if edge.parent == id and edge.outcome is not None}
                children -= model.nodes.keys() | {flow}
                places = {edge.parent: _suffix(edge.path) for edge in edges if edge.parent in children}
                made = sorted(children, key=places.__getitem__)
                assert len(made) == count
                model.became(id, made)
            model.spreads = []
            model.follow()

    @invariant()
    def both_stand_alike(self) -> None:
        for flow in self.touched:
            model = self.flows[flow]
            rows = ask(self.store, self.store.verbs.flow(flow))
            assert rows is not None
            states = {node.id: State(node.state).name.lower() for node in rows.nodes}
            assert states == {flow: model.state} | {id: node.state for id, node in model.nodes.items()}
            if model.state == "waiting":
                counted = sum(
                    node.state in LIVE and not (node.handler and node.state == "waiting")
                    for node in model.nodes.values()
                )
                assert live(self.store, flow).waits == counted
                for id, node in model.nodes.items():
                    if node.state == "running":
                        assert (live(self.store, id).cancel_at is not None) == node.asked
            elif model.state == "succeeded":
                assert same(ended(self.store, flow).result or "", model.result)
        self.touched.clear()


def _suffix(path: str) -> int:
    return int(path.rpartition("/")[2])


def test_a_flow_and_its_model_go_the_same_way(migrated: Databases, examples: int) -> None:
    class Machine(FlowMachine):
        def __init__(self) -> None:
            super().__init__(migrated)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=max(8, examples // 5),
            stateful_step_count=20,
            deadline=None,
            phases=[phase for phase in Phase if examples >= MANY or phase not in (Phase.shrink, Phase.explain)],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_a_race_for_what_was_canceled_is_over_all_the_same(migrated: Databases) -> None:
    """Its first ends it, and the others are not needed, although nothing is handed on any more."""
    ways = (Way(0, "0", race=True), Way(1, "0", race=True))
    after = Way(2, "", Policy.CONTINUE)
    machine = FlowMachine(migrated)
    try:
        machine.first(graph(Part(CALL, (), None), part(0), Part(CALL, ways, "x"), Part(CALL, (after,), None)))
        (model,) = machine.flows.values()
        first, other, child, _ = ids = list(model.nodes)
        machine.cancel_part(0, sorted(ids).index(child))
        machine.claim(4)
        machine.settle(first, 1)
        machine.both_stand_alike()
        assert model.nodes[other].state == "canceled"
    finally:
        machine.teardown()
