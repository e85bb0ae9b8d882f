"""Bound address: the API serves only its own host, however it is started."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from api import create_app
from engine.errors import SettingsError
from engine.settings import Settings
from engine.standalone import ports
from tests.support.api_server import SERVE
from tests.support.fork_server import fork_server


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "192.0.2.1", "::", "example.org", "127.example.org", "unix:/x", "2130706433", ""]
)
def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, host: str) -> None:
    settings = Settings.from_env({}, data_dir=str(tmp_path), host=host)
    with pytest.raises(SettingsError, match="is not an address of loopback"):
        create_app(settings, background=False)


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "unix:{dir}/socket", "127.0.0.1:0,0.0.0.0:0"])
def test_whatever_gunicorn_binds_is_checked(tmp_path: Path, sqlite_url: str, bind: str) -> None:
    settings = Settings.from_env({}, data_dir=str(tmp_path), database_url=sqlite_url)
    environment = {**os.environ, **settings.environment()}
    words = [word for each in bind.format(dir=tmp_path).split(",") for word in ("--bind", each)]
    output = tmp_path / "out"
    server = fork_server().start("gunicorn", (*SERVE, *words), environment, output)
    try:
        assert server.wait(30) != 0
    finally:
        server.kill()
    assert "is not an address of loopback" in output.read_text()


def test_a_name_that_resolves_to_another_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(socket.socket):
        """Socket for which localhost is every address of the host, as a line in /etc/hosts can say."""

        def bind(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            super().bind(("0.0.0.0", address[1]))

    monkeypatch.setattr(ports.socket, "socket", Elsewhere)
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0 is not an address of loopback"):
        ports.listen("localhost", 0)
