"""Which of the jobs in line may start now, under their limits: a turn for each lane, round and round. Pure.

What runs is counted from the jobs that run: nothing is added at a start and taken away at an end, so nothing can leak
or be given back twice. A rate is one moment per bucket (GCRA's theoretical arrival time), moved with each start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .limits import Rule, buckets_of, rule_name
from .options import SUSPECT

BYTES = 1 << 20  # of arguments in one claim


class InLine(NamedTuple):
    """A job that is ready. `size`: bytes of its arguments; `once`: it must not be repeated."""

    id: str
    size: int
    crashes: int
    once: int = 0


class Line(NamedTuple):
    """The first jobs of a lane, in their order; `more` when others may stand behind them."""

    lane: str
    jobs: Sequence[InLine]
    more: bool


class Books(NamedTuple):
    """What is known of the buckets, at one moment.

    at       that moment (µs)
    running  jobs that run, by lane
    tats     of buckets under a rate, when the next start would be on time if there were no burst (µs)
    rules    by name of the limit
    """

    at: int
    running: Mapping[str, int]
    tats: Mapping[str, int]
    rules: Mapping[str, Rule]


class Admitted(NamedTuple):
    """Who may start.

    ids       in the order in which they were admitted
    tats      of the buckets whose rate they have used, as they shall be
    cursor    the lane whose turn was the last; the next claim goes on behind it. None: nobody's
    again_at  when a rate will let the next one start (µs); None: no rate is in anybody's way
    more      others could start now, if there were room
    starved   others could, if a slot were free
    suspect   one of them is a suspect
    undeclared  limits that stand in lanes and are not known: nobody under them can start
    """

    ids: list[str]
    tats: dict[str, int]
    cursor: str | None
    again_at: int | None
    more: bool
    starved: bool
    suspect: bool
    undeclared: frozenset[str]


def starts_at(rule: Rule, tat: int, now: int) -> int:
    """When the next job under this rate may start: `now`, or later."""
    return now if rule.spacing is None else max(now, tat - (rule.burst - 1) * rule.spacing)


def after_start(rule: Rule, tat: int, now: int) -> int:
    """The bucket's moment once a job has started `now`."""
    return max(tat, now) + (rule.spacing or 0)


def admit(lines: Sequence[Line], books: Books, room: int, *, free: int, suspect: bool, most: int = BYTES) -> Admitted:
    """At most `room` jobs with at most `most` bytes of arguments, one of each lane in turn. (A first one may have more,
    or it could never start.)

    free     so many of them will start at once. The others wait for a slot first: they have their place by then, which
             costs others a moment, but the time of a start is wrong. So nobody does who is under a rate, must not be
             repeated, or may take the worker with him
    suspect  whether one may be among them
    """
    now, tats, moved = books.at, dict(books.tats), dict[str, int]()
    held: dict[str, int] = {}
    for lane, jobs in books.running.items():
        for name in buckets_of(lane):
            held[name] = held.get(name, 0) + jobs
    turns = [_Turn(line, books.rules) for line in lines]

    def opens(turn: _Turn) -> int | None:
        """When the lane's next job may start; None: not before something ends (or is declared)."""
        at = now
        for name, rule in turn.rules:
            if rule is None or (rule.concurrency is not None and held.get(name, 0) >= rule.concurrency):
                return None
            if rule.spacing is not None:
                at = max(at, starts_at(rule, tats.get(name, 0), now))
        return at

    ids: list[str] = []
    sizes, spoken, starved, full, cursor = 0, False, False, False, None
    round_ = turns
    while round_ and not full:
        again: list[_Turn] = []
        for turn in round_:
            jobs_, place = turn.jobs, turn.place
            while place < len(jobs_) and jobs_[place].crashes >= SUSPECT and (spoken or not suspect):
                place += 1  # a worker holds at most one suspect; whoever stands behind it need not wait for that
                turn.passed = True
            turn.place = place
            if place >= len(jobs_) or opens(turn) != now:
                continue
            job = jobs_[place]
            if len(ids) >= free and (turn.timed or job.crashes or job.once):
                starved = turn.passed = True
                turn.place = len(jobs_)
                continue
            if len(ids) >= room or ((ids or most < BYTES) and sizes + job.size > most):
                full = True
                break
            ids.append(job.id)
            cursor, turn.place = turn.lane, place + 1
            sizes += job.size
            spoken = spoken or job.crashes >= SUSPECT
            for name, rule in turn.rules:
                held[name] = held.get(name, 0) + 1
                if rule is not None and rule.spacing is not None:
                    tats[name] = moved[name] = after_start(rule, tats.get(name, 0), now)
            again.append(turn)
        round_ = again
    # Once there is no room, whoever comes next is asked for at once: nobody's moment need be known.
    opening = [] if full else [at for turn in turns if turn.left and (at := opens(turn)) is not None]
    return Admitted(
        ids,
        moved,
        cursor,
        min((at for at in opening if at > now), default=None),
        full or any(at <= now for at in opening),
        starved,
        spoken,
        frozenset(rule_name(name) for turn in turns for name, rule in turn.rules if rule is None),
    )


class _Turn:
    """A lane while jobs are admitted.

    timed   under a rate
    passed  somebody in it was passed by: who else stands there is found when he is gone
    """

    __slots__ = ("jobs", "lane", "more", "passed", "place", "rules", "timed")

    def __init__(self, line: Line, rules: Mapping[str, Rule]) -> None:
        self.lane, self.jobs, self.more = line
        self.place, self.passed = 0, False
        self.rules = [(name, rules.get(rule_name(name))) for name in buckets_of(line.lane)]
        self.timed = any(rule is not None and rule.spacing is not None for _, rule in self.rules)

    @property
    def left(self) -> bool:
        """Whether somebody may still stand here."""
        return self.place < len(self.jobs) or (self.more and not self.passed)
