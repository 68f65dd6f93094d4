"""What a shell sees: completion in a real bash, progress, an interrupt in the middle, help of everything."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offpath.cli import bulk, completion, main, printing, progress
from offpath.cli.parser import build

from .conftest import Shop


def commands(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                if command.get_default("run"):
                    yield " ".join((*path, name)), command
                yield from commands(command, (*path, name))


ALL = dict(commands(build()))


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_examples_that_it_understands(name: str) -> None:
    command = ALL[name]
    assert "examples:\n  offpath " in command.format_help()
    for line in str(command.epilog).splitlines()[1:]:
        words = re.sub(r"[|>].*|&&.*", "", line).replace("'a deploy'", "x").replace("'a mistake'", "x")
        given = words.replace("'asked for it'", "x").split()[1:]
        build().parse_args(given)
    if name in ("worker", "dashboard", "metrics"):  # they serve, or print what is shipped
        return
    assert any("--json" in action.option_strings for action in command._actions), "--json"


def script(folder: Path, shell: str) -> Path:
    path = folder / f"offpath.{shell}"
    path.write_text(completion.script(shell))
    (folder / "offpath").write_text(f'#!/bin/sh\nexec {sys.executable} -m offpath "$@"\n')
    (folder / "offpath").chmod(0o755)
    return path


def bash(folder: Path, line: str, **more: str) -> list[str]:
    """What bash offers where the line ends."""
    words = line.split(" ")
    asked = f"""
    source {script(folder, "bash")}
    COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
    _shtab_offpath; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFPATH_")} | more
    environment["PATH"] = f"{folder}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", asked], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_flags_and_names(shop2: Shop) -> None:
    if not shop2.url.startswith("sqlite"):
        pytest.skip("a shell knows nothing of stores")
    shop2.module.send.using(queue="$(touch${IFS}hurt)").enqueue_sync(to="a")
    shop2.module.send.using(queue="mailings").enqueue_sync(to="a")
    folder = shop2.folder
    assert {"jobs", "queues", "tail", "top", "workers"} <= set(bash(folder, "offpath "))
    assert set(bash(folder, "offpath jobs ")) >= {"list", "show", "attempts", "retry"}
    assert "--outstanding" in bash(folder, "offpath jobs list --ou")
    assert set(bash(folder, "offpath queues pause mail", OFFPATH_DATABASE=shop2.url)) == {"mailings"}
    assert not (folder / "hurt").exists(), "a name is not run"
    assert bash(folder, "offpath queues pause mail") == []


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh in PATH")
def test_zsh_reads_its_script(tmp_path: Path) -> None:
    path = script(tmp_path, "zsh")
    done = subprocess.run(["zsh", "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell, "--json"]) == 0
    assert "offpath" in json.loads(capsys.readouterr().out)


def test_an_interrupt_in_the_middle_says_how_far_it_came(shop2: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    send = shop2.module.send
    shop2.module.jobs.enqueue_many_sync([send.call(to="a") for _ in range(1_200)])

    def told(done: int, of: int | None) -> None:
        if done:
            os.kill(os.getpid(), signal.SIGINT)

    class Bar:
        def __enter__(self) -> progress.Show:
            return told

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(bulk.progress, "bar", lambda *_: Bar())
    done = shop2.run("jobs", "cancel", "--queue", "mail", "--yes")
    assert done.returncode == 130
    said = re.fullmatch(r"offpath: interrupted: (\d+) of 1,200 jobs canceled; the same .*\n", done.stderr)
    assert said is not None, done.stderr
    assert shop2.module.jobs.count_sync(state="canceled") == int(said[1])
    assert 0 < int(said[1]) < 1_200


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("erased") as show:
        for n in range(0, 1_001, 50):
            show(n, 1_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "offpath: 1,000 of 1,000 erased (100 %)"
    with progress.bar("erased", quiet=True) as show:
        show(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("evil", ["\x1b]0;x\x07", "\u202egnp", "\x9b31m", "a\nb", "\ud800", "\x7f", "[red]x[/red]"])
def test_nothing_that_is_data_is_obeyed(evil: str, capsys: pytest.CaptureFixture[str]) -> None:
    printing.record({"a": evil}, False)
    printing.table([{"a": evil}], None, "")
    printing.say(evil)
    printing.as_json({"a": evil})
    out, err = capsys.readouterr()
    assert all(c.isprintable() for line in (out + err).split("\n") for c in line)
    assert json.loads(out.splitlines()[-1]) == {"a": evil}
