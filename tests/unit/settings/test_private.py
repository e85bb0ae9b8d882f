"""Private places: what another account owns, or can read, is not trusted."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from engine.errors import RuntimeUnavailable, SettingsError
from engine.runtime.docker.client import Client
from engine.settings import Settings, private, run_file
from engine.standalone import broker, datadir
from engine.store.database import Database

#: An account of the host that is neither root nor ours.
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another account")


def given_away(path: Path) -> Path:
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return path


def test_a_directory_is_made_private_or_closed(tmp_path: Path) -> None:
    fresh, open_one = tmp_path / "a" / "b", tmp_path / "c"
    open_one.mkdir(mode=0o755)
    for path in (fresh, open_one):
        private.make_directory(path)
        assert path.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_directory_of_another_account_is_refused_over_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(given_away(tmp_path / "d"))
    for path in (tmp_path / "d", tmp_path / "link"):
        with pytest.raises(SettingsError, match=r"belongs to nobody, expected root: choose another"):
            private.make_directory(path)
        with pytest.raises(SettingsError, match="belongs to nobody"), datadir.locked(path):
            pytest.fail("the directory was locked")


@needs_root
def test_a_run_file_of_another_account_is_refused(tmp_path: Path) -> None:
    datadir.write_run_file(tmp_path, {"broker_url": "redis://127.0.0.1:1/0"})
    assert run_file.read(tmp_path / "run.json")["broker_url"]
    given_away(tmp_path / "run.json")
    with pytest.raises(SettingsError, match="belongs to nobody"):
        Settings.from_env({}, data_dir=str(tmp_path))


@pytest.mark.parametrize("kind", ["link", "fifo", "long", "binary"])
def test_a_run_file_that_is_something_else_is_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "run.json"
    if kind == "link":
        (tmp_path / "other").write_text("{}")
        file.symlink_to(tmp_path / "other")
    elif kind == "fifo":
        os.mkfifo(file, 0o600)
    else:
        file.write_bytes(b"\xff" if kind == "binary" else b" " * ((1 << 20) + 1))
        file.chmod(0o600)
    with pytest.raises(SettingsError):
        run_file.read(file)


@needs_root
def test_the_address_of_another_account_is_not_used_for_the_broker(tmp_path: Path) -> None:
    old = broker.prepare(tmp_path).url
    assert broker.prepare(tmp_path).url == old
    given_away(tmp_path / "broker" / "address.json")
    assert broker.prepare(tmp_path).url != old


@needs_root
def test_a_database_of_another_account_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.db"
    settings = Settings.from_env({}, data_dir=str(tmp_path), database_url=f"sqlite:///{file}")
    file.touch(0o600)
    given_away(file)
    with pytest.raises(SettingsError, match=f"the database {file} belongs to nobody"):
        Database(settings.store).open()


@needs_root
def test_a_docker_socket_of_another_account_is_sent_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        given_away(path)
        with pytest.raises(
            RuntimeUnavailable, match="belongs to nobody, expected root: set FERRYMAN_DOCKER_HOST"
        ):
            _ = Client(f"unix://{path}", 2.0).api
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
