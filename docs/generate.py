"""Writes the parts of docs/ that are drawn from the code; the text around them is written by hand.

    python docs/generate.py            rewrite what has changed
    python docs/generate.py --check    only say whether something would change (exit 1)
    python docs/generate.py --screenshots    the pictures of how-to/operate.md anew, by a walk in a browser

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`. The state diagram comes from
`core/lifecycle.py` (MOVES); the option tables from the fields and docstrings of `core/options.py` and `core/retry.py`,
and from what `Offpath.task` and `Task.using` take besides; the settings from `settings.py`;
signals and metrics from `observe/`. The test suite compares
what is committed with what this file makes.
"""

import argparse
import dataclasses
import inspect
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from offpath import settings
from offpath.app.facade import Offpath
from offpath.cli.completion import unsaid
from offpath.core.call import Call
from offpath.core.job import TERMINAL, State
from offpath.core.lifecycle import MOVES, new
from offpath.core.limits import Limit
from offpath.core.options import DAY, CallOptions, Queue, TaskOptions, Unset
from offpath.core.policy import Retention, resolve
from offpath.core.retry import Backoff, Retry
from offpath.observe import METRICS, SIGNALS
from offpath.tasks.schedule import Schedule, ScheduleOptions
from offpath.tasks.task import Task

DOCS = Path(__file__).parent
PAGES = (
    "reference/cli.md",
    "reference/lifecycle.md",
    "reference/options.md",
    "reference/settings.md",
    "reference/signals.md",
)
PICTURES = tuple(f"{name}.png" for name in ("overview", "job", "queues", "preview", "webhook", "audit"))
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def diagram() -> str:
    """The picture of MOVES. A job begins in one of the states that no other state leads to, or in `ready`."""
    lines = ["```mermaid", "stateDiagram-v2"]
    begins = [State.SCHEDULED, State.WAITING, State.READY]
    lines += [f"    [*] --> {word(state)}" for state in begins]
    for state, causes in MOVES.items():
        together: dict[State, list[str]] = {}
        for cause, target in causes.items():
            together.setdefault(target, []).append(cause)
        lines += [f"    {word(state)} --> {word(target)}: {', '.join(why)}" for target, why in together.items()]
    lines += [f"    {word(state)} --> [*]" for state in sorted(TERMINAL)]
    return "\n".join([*lines, "```"])


def moves() -> str:
    rows = [(f"`{word(a)}`", f"`{cause}`", f"`{word(b)}`") for a, row in MOVES.items() for cause, b in row.items()]
    return table(("from", "cause", "to"), rows)


def precedence() -> str:
    """Who may say an option, and what holds when nobody does (asked of the code, not copied from it)."""
    policy = resolve(TaskOptions(), None, None, Retention())
    job, _ = new(Call("", 1, "{}", TaskOptions(), CallOptions()), None, 0, "")
    says = [
        {field.name for field in dataclasses.fields(kind)} | set(besides(kind, method))
        for kind, method in ((CallOptions, Task.using), (TaskOptions, Offpath.task), (Queue, None))
    ]
    told: dict[str, Any] = {
        "queue": job.queue,
        "priority": job.priority,
        "timeout": f"{policy.timeout:g} s",
        "keep_result": policy.keep_result,
        "retry": f"{policy.max_attempts} attempts, {backoff(policy.backoff)}",
        "delivery": TaskOptions().delivery,
        "delay": "at once",
        "run_at": "at once",
        "deadline": "none",
        "key": "none",
        "debounce": "none",
        "max_wait": "none",
        "throttle": "none",
        "latest": "no",
        "limit": "none",
        "limits": "none",
        "max_concurrency": "none",
        "callback": "none",
        "reply_to": "nobody is told",
        "correlation": "none",
        "executor": "by the function",
        "memory": "no limit",
        "owner": "the running job's, or nobody's",
        "tenant": "the owner's, or none",
        "retention": "the settings'",
        "tx": "a transaction of its own",
        "name": "the function's",
        "version": 1,
    }
    rows = []
    for name in sorted(says[0] | says[1]):
        marks = ["yes" if name in fields else "" for fields in says]
        if name == "name":
            marks[2] = ""  # a queue has one of its own
        if name == "retry":
            marks[2] = "`max_attempts`, `backoff`"
        rows.append((f"`{name}`", *marks, str(told[name])))
    return table(("option", "call", "task", "queue", "default"), rows)


def options(kind: type, method: Callable[..., Any] | None = None) -> str:
    """One row for each field of a class, with the meaning its docstring gives, after those for what `method` takes
    besides."""
    said = (dict(meanings(method)) if method else {}) | dict(meanings(kind))
    rows = []
    for name, (type_, default) in {**besides(kind, method), **fields_of(kind)}.items():
        if name not in said:
            raise SystemExit(f"{kind.__name__}.{name} has no line in the docstring of {kind.__name__}")
        rows.append((f"`{name}`", f"`{type_}`", shown(default), said.pop(name)))
    if said:
        raise SystemExit(f"the docstring of {kind.__name__} explains what is not there: {', '.join(said)}")
    return table(("option", "type", "default", "meaning"), rows)


def constructors() -> str:
    lines = []
    for name in ("exponential", "linear", "fixed"):
        given = inspect.signature(getattr(Backoff, name)).parameters.values()
        lines.append(f"- `Backoff.{name}({', '.join(f'{p.name}={p.default}' for p in given)})`")
    return "\n".join(lines)


def keys() -> str:
    """One row for each setting. The ranges are where they are checked."""
    said = dict(meanings(settings.Settings))
    rows = []
    for name, (type_, default) in fields_of(settings.Settings).items():
        usual, low_high = f"`{default}`", ""
        if name == "url":
            usual = "none"
        elif name == "renew":
            usual = "a third of `lease`"
        elif name == "processes":
            usual = "the cores of the machine"
        elif name == "recycle_memory":
            low_high = "32 MiB to 1 PiB"
        elif name in settings._KEPT:
            usual = "`None`" if default is None else f"{default / settings.DAY:g} days"
        elif name == "max_body":
            usual = f"{default >> 20} MiB"
        elif type_ == "float":
            usual = f"{default:g} s"
        if name in settings._RANGES:
            low_high = "{:,} to {:,}".format(*settings._RANGES[name])
        variable = "OFFPATH_DATABASE" if name == "url" else f"OFFPATH_{name.upper()}"
        rows.append((f"`{name}`", f"`{variable}`", usual, low_high, said.pop(name)))
    return table(("setting", "variable", "default", "range", "meaning"), rows)


def ticks() -> str:
    """What every kind of schedule takes."""
    said = dict(meanings(Schedule))
    defaults = {field.name: field.default for field in dataclasses.fields(Schedule)}
    rows = [
        (f"`{name}`", f"`{written(type_)}`", shown(defaults[name]), said.pop(name))
        for name, type_ in ScheduleOptions.__annotations__.items()
    ]
    if said:
        raise SystemExit(f"the docstring of Schedule explains what is not there: {', '.join(said)}")
    return table(("option", "type", "default", "meaning"), rows)


def signals() -> str:
    """Every line of the log."""
    rows = [
        (f"`{name}`", logging.getLevelName(sign.level).lower(), ", ".join(f"`{f}`" for f in sign.fields), sign.when)
        for name, sign in SIGNALS.items()
    ]
    return table(("signal", "level", "fields", "when"), rows)


def metrics() -> str:
    """Every figure."""
    rows = [
        (
            f"`{name}`",
            f"{metric.kind}{', ' + metric.unit if metric.unit else ''}",
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.of,
            metric.meaning,
        )
        for name, metric in METRICS.items()
    ]
    return table(("metric", "kind", "labels", "of", "meaning"), rows)


def commands() -> str:
    """Every command with its flags, as its `--help` has them; what all commands take is told once."""
    with unsaid() as parser:
        where = {option for action in parser._actions for option in action.option_strings}
        said = ["## Flags of all commands", "", flags_of(parser, set())]
        for path, command in below(parser, ()):
            said += ["", f"## `offpath {' '.join(path)}`", "", str(command.description or ""), ""]
            names = [action.metavar or action.dest for action in command._actions if not action.option_strings]
            if names:
                said += [f"Takes {', '.join(f'`{name}`' for name in names)}.", ""]
            if rows := flags_of(command, where):
                said += [rows, ""]
            examples = [line.strip() for line in str(command.epilog or "").splitlines()[1:]]
            said += ["```sh", *examples, "```"] if examples else []
    return re.sub(r"\n{3,}", "\n\n", "\n".join(said)).strip()


def below(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[tuple[Any, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                if command.get_default("run"):
                    yield (*path, name), command
                yield from below(command, (*path, name))


def flags_of(command: argparse.ArgumentParser, known: set[str]) -> str:
    rows = []
    for action in command._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        if action.option_strings and not known.intersection(action.option_strings):
            takes = f" {action.metavar or action.dest.upper()}" if action.nargs != 0 else ""
            rows.append((f"`{', '.join(action.option_strings)}{takes}`", str(action.help)))
        elif not action.option_strings:
            rows.append((f"`{action.metavar or action.dest}`", str(action.help)))
    return table(("flag", "meaning"), rows) if rows else ""


def besides(kind: type, method: Callable[..., Any] | None) -> dict[str, tuple[str, Any]]:
    """Name → (type as written, default) of the keywords that `method` takes and `kind` has no field for."""
    taken = inspect.signature(method).parameters.values() if method else ()
    fields = fields_of(kind)
    return {p.name: (str(p.annotation), p.default) for p in taken if p.kind is p.KEYWORD_ONLY and p.name not in fields}


def fields_of(kind: type) -> dict[str, tuple[str, Any]]:
    """Name → (type as written, default) for a dataclass or a NamedTuple."""
    if dataclasses.is_dataclass(kind):
        return {f.name: (written(f.type), f.default) for f in dataclasses.fields(kind)}
    defaults: dict[str, Any] = getattr(kind, "_field_defaults", {})
    return {
        name: (written(type_), defaults.get(name, dataclasses.MISSING)) for name, type_ in kind.__annotations__.items()
    }


def written(type_: Any) -> str:
    """The annotation as the source has it (both kinds of classes keep it as text, or as a reference to text)."""
    return str(getattr(type_, "__forward_arg__", type_))


def meanings(kind: Any) -> Iterator[tuple[str, str]]:
    """The lines `name   what it means` of its docstring; a line that is set further in goes on with the one before."""
    name, meaning = "", ""
    for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
        if begun := re.fullmatch(r"([a-z_]+) {2,}(.+)", line):
            if name:
                yield name, meaning
            name, meaning = begun[1], begun[2]
        elif name and line.startswith("  "):
            meaning += " " + line.strip()
    if name:
        yield name, meaning


def shown(default: Any) -> str:
    if default is dataclasses.MISSING:
        return "required"
    if default is None or isinstance(default, Unset):
        return "not said"
    if isinstance(default, Backoff):
        return backoff(default)
    if isinstance(default, tuple):
        return ", ".join(f"`{kind.__name__}`" for kind in default) or "none"
    if isinstance(default, int) and not isinstance(default, bool) and default >= DAY:
        return f"{default // DAY} days"
    return f"`{default}`"


def backoff(made: Backoff) -> str:
    return f"{made.kind} from {made.first:g} s, factor {made.grow:g}, cap {made.cap:g} s, ±{made.jitter:.0%}"


def word(state: State) -> str:
    return state.name.lower()


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "diagram": diagram,
    "moves": moves,
    "precedence": precedence,
    "task": lambda: options(TaskOptions, Offpath.task),
    "call": lambda: options(CallOptions, Task.using),
    "queue": lambda: options(Queue),
    "limit": lambda: options(Limit),
    "retry": lambda: options(Retry),
    "constructors": constructors,
    "backoff": lambda: options(Backoff),
    "schedule": ticks,
    "retention": lambda: options(Retention),
    "settings": keys,
    "signals": signals,
    "metrics": metrics,
}


def render(page: str) -> str:
    """The page with its generated parts made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{found[3]}", page)


def screenshots() -> int:
    """The pictures that the dashboard's walk takes (a test: it needs Chromium and the development lock)."""
    walk = ["tests/examples/test_break.py::test_the_dashboard_alone_mends_it", "-n", "0", "-q"]
    code = subprocess.run([sys.executable, "-m", "pytest", *walk], cwd=DOCS.parent, check=False).returncode  # noqa: S603
    if code == 0:
        for name in PICTURES:
            shutil.copyfile(DOCS.parent / "build" / "screenshots" / "operate" / name, DOCS / "how-to" / "images" / name)
    return code


def main(args: list[str]) -> int:
    if "--screenshots" in args:
        return screenshots()
    stale = []
    for name in PAGES:
        path = DOCS / name
        page = path.read_text("utf-8")
        made = render(page)
        if made != page:
            stale.append(name)
            if "--check" not in args:
                path.write_text(made, "utf-8")
    for name in stale:
        sys.stderr.write(f"{'stale' if '--check' in args else 'rewritten'}: docs/{name}\n")
    return 1 if stale and "--check" in args else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
