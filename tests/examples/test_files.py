"""Report files and settings: small pieces by themselves."""

import contextlib
from pathlib import Path

import pytest

from examples.accounts import reports
from examples.accounts.settings import Settings, SettingsError


def test_a_report_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = reports.path(tmp_path, "job")
    with reports.draft(tmp_path, "job") as write:
        write(1, "one")
        assert not final.exists()
    assert final.read_text().splitlines() == ["row,value", "1,one"]

    with contextlib.suppress(RuntimeError), reports.draft(tmp_path, "job") as write:
        write(1, "another")
        raise RuntimeError
    assert final.read_text().splitlines() == ["row,value", "1,one"]
    assert list(final.parent.iterdir()) == [final]


def test_what_a_killed_worker_left_is_thrown_away(tmp_path: Path) -> None:
    final = reports.path(tmp_path, "job")
    final.parent.mkdir(parents=True)
    final.with_name("job.left.part").write_text("half")
    final.with_name("other.left.part").write_text("not ours")
    with reports.draft(tmp_path, "job"):
        pass
    assert sorted(path.name for path in final.parent.iterdir()) == ["job.csv", "other.left.part"]


def test_every_process_finds_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Settings.read({"ACCOUNTS_DATABASE": "sqlite:///a.db"})
    absolute = Settings.read({"ACCOUNTS_DATABASE": f"sqlite:///{tmp_path / 'a.db'}"})
    assert relative.data_dir == absolute.data_dir == tmp_path / "a.db.files"


def test_a_servers_many_names_lead_to_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    urls = [
        "postgresql://u:geheim@127.0.0.1:5432/shop",
        "postgresql://localhost/shop?sslmode=disable",
        "postgres:///shop",
    ]
    assert {Settings.read({"ACCOUNTS_DATABASE": url}).data_dir for url in urls} == {
        tmp_path / ".local/share/offpath-accounts/shop.files"
    }
    for name in ("..", "%2e%2e", "../../etc", "a%2fb"):
        folder = Settings.read({"ACCOUNTS_DATABASE": f"postgresql://localhost/{name}"}).data_dir
        assert folder.parent == tmp_path / ".local/share/offpath-accounts"
    told = {"ACCOUNTS_DATABASE": urls[0], "ACCOUNTS_DATA_DIR": "/elsewhere"}
    assert Settings.read(told).data_dir == Path("/elsewhere")


NO_DATABASES = [
    "nonsense", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://u:geheim@localhost/x", "postgresql://",
    "postgresql://u:geheim@localhost", "postgresql://u:geheim@localhost/", "postgresql:/x", "postgresql+asyncpg://u:geheim@h/x",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_DATABASES)
@pytest.mark.parametrize("folder", ["", "/elsewhere"])
def test_a_database_we_cannot_use_is_one_sentence(url: str, folder: str) -> None:
    with pytest.raises(SettingsError, match="postgresql://user@host:port/name") as told:
        Settings.read({"ACCOUNTS_DATABASE": url, "ACCOUNTS_DATA_DIR": folder})
    assert "geheim" not in str(told.value)
