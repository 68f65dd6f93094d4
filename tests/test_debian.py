"""How the tests come by a program of Debian's: the machine's own, else one installed, else a reason."""

import os
from pathlib import Path

import pytest

from servers.postgres import Unavailable
from tests import chromium, debian


def test_the_machines_own_browser_is_found_by_any_of_its_names() -> None:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        where = {name: f"/usr/bin/{name}"}
        assert debian.find(chromium.NAMES, where.get) == Path(f"/usr/bin/{name}")
    assert debian.find(chromium.NAMES, lambda name: None) is None


def test_who_may_not_install_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="only root may install"):
        debian.install("no-such-package", ("no-such-program",))


def test_a_failed_installation_says_what_apt_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With an apt-get of our own, which writes down how it was called, and fails."""
    if not Path("/etc/debian_version").exists():
        pytest.skip("no Debian")
    calls = tmp_path / "calls"
    program = tmp_path / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho "E: no such luck" >&2\nexit 100\n')
    program.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(debian, "PLACES", f"{tmp_path}:/bin")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Unavailable, match="E: no such luck"):
        debian.install("no-such-package", ("no-such-program",))
    asked = [line.split() for line in calls.read_text().splitlines()]
    assert ["install" in words for words in asked] == [True, False]
    assert "update" in asked[1]


def test_what_another_process_has_installed_meanwhile_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not Path("/etc/debian_version").exists():
        pytest.skip("no Debian")
    program = tmp_path / "some-browser"
    program.touch(mode=0o755)
    (tmp_path / "apt-get").touch(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "PLACES", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert debian.install("some-package", ("some-browser",)) == program
