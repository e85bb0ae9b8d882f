"""Address of the embedded broker: kept over restarts, private, and changed when another process has the port."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from engine.standalone import broker
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not (shutil.which("redis-server") or shutil.which("valkey-server")), reason="no redis-server"
)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].removesuffix("/0"))


def test_port_and_password_are_those_of_the_last_start(tmp_path: Path) -> None:
    first, second = broker.prepare(tmp_path), broker.prepare(tmp_path)
    assert first.url == second.url and second.moved == ""
    file = tmp_path / "broker" / "address.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"port {port_of(first.url)}\n" in (second.directory / "server.conf").read_text()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"port": 80, "password": "0123456789abcdef"}', '{"port": 7000, "password": "a b\\nc"}'],
)
def test_an_address_that_cannot_be_used_is_replaced(tmp_path: Path, text: str) -> None:
    old = broker.prepare(tmp_path).url
    (tmp_path / "broker" / "address.json").write_text(text)
    new = broker.prepare(tmp_path)
    assert new.url != old and len(new.url.split("@")[0]) > 30


def test_an_address_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    old = broker.prepare(tmp_path).url
    (tmp_path / "broker" / "address.json").chmod(0o644)
    assert broker.prepare(tmp_path).url != old


def test_a_port_that_another_process_has_is_left_to_it(tmp_path: Path) -> None:
    old = broker.prepare(tmp_path).url
    with socket.create_server(("127.0.0.1", port_of(old))):
        new = broker.prepare(tmp_path)
    assert port_of(new.url) != port_of(old)
    assert new.url.split("@")[0] != old.split("@")[0], "whoever has the port may know the old password"
    assert f"port {port_of(old)} of the last start is in use by process {os.getpid()} (" in new.moved
    assert f"the broker takes port {port_of(new.url)}" in new.moved
    assert broker.prepare(tmp_path).url == new.url


def test_a_broker_that_outlives_its_supervisor_is_waited_for(tmp_path: Path) -> None:
    old = broker.prepare(tmp_path)
    with subprocess.Popen(old.command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: broker.is_ready(old.url), 10)
            ending = threading.Timer(0.5, process.terminate)
            ending.start()
            assert broker.prepare(tmp_path).url == old.url
            assert not broker.is_ready(old.url), "it has ended"
            ending.join()
        finally:
            process.kill()


def test_a_broker_that_stays_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "_FORMER_SECONDS", 0.3)
    old = broker.prepare(tmp_path)
    with subprocess.Popen(old.command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: broker.is_ready(old.url), 10)
            with pytest.raises(broker.FormerBrokerRuns, match=rf"process {process.pid} .* end that process"):
                broker.prepare(tmp_path)
        finally:
            process.kill()
