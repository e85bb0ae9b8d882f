"""containerd and a shim are killed: Docker calls a container running for ever that has no process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import SandboxGone
from engine.jobspec.task import HostAccess
from engine.model import names
from engine.runtime.base import Cause, Control, PreparedState
from engine.runtime.docker import pulse
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from tests.support.docker_daemon import (
    BUSYBOX,
    Daemon,
    an_order,
    begin_ready,
    provide,
    run,
    second_daemon_possible,
    seconds_since,
)
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(not second_daemon_possible(), reason="a second dockerd needs root, dockerd and ip"),
    pytest.mark.timeout(240),
]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """Return a daemon of the test's own; its containers are looked at every two seconds."""
    monkeypatch.setattr(pulse, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(pulse, "EVERY_SECONDS", 2.0)
    with Daemon(live_restore=False) as daemon:
        provide((BUSYBOX,), daemon.host)
        yield daemon


@pytest.fixture
def worker(daemon: Daemon, tmp_path: Path) -> DockerRuntime:
    """Return a runtime on that daemon."""
    settings = Settings.from_env({}, data_dir=str(tmp_path / "work"), docker_host=daemon.host)
    return DockerRuntime(settings.runtime, settings.path, "vanished", HostAccess(), shares_files=True)


@pytest.mark.parametrize("is_seen", [True, False], ids=["process seen", "asked by top"])
def test_a_container_without_processes_is_removed_and_its_link_runs_again(
    daemon: Daemon, worker: DockerRuntime, is_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = begin_ready(worker, an_order("vanished", run="echo ready; sleep 600", networks=("none",)))
    wanted = an_order("vanished", run="echo ready; sleep 5; echo done", networks=("none",))
    if not is_seen:
        monkeypatch.setattr(pulse, "is_seen", lambda _: False)
    running, client = begin_ready(worker, wanted), Client(daemon.host)
    # By then the first look has come.
    wait_until(lambda: seconds_since(client, running.prepared.container_id, "StartedAt") > 1, 10)
    daemon.kill_under(running.prepared.container_id)
    assert client.api.inspect_container(running.prepared.container_id)["State"]["Running"]
    with pytest.raises(pulse.Vanished, match="has no process"):
        running.end(90)
    (note,) = running.sink.notes
    assert "the link runs again" in note
    again = worker.prepare(replace(wanted, delivery=2), running.sink, Control())
    assert again.state is PreparedState.CREATED, "the dead one is gone"
    assert worker.go(again, running.sink, Control()).ok
    assert running.sink.text(1) == b"ready\nready\ndone\n"
    assert witness.thread.is_alive(), "the other container goes on"
    witness.control.kill(Cause.CANCELLED)
    assert witness.end(60).cause is Cause.CANCELLED


def test_a_cancel_ends_a_container_without_processes(daemon: Daemon, worker: DockerRuntime) -> None:
    running = begin_ready(worker, an_order("vanished", run="echo ready; sleep 600", networks=("none",)))
    daemon.kill_under(running.prepared.container_id)
    running.control.kill(Cause.CANCELLED)
    assert running.end(90).cause is Cause.CANCELLED
    assert run(worker, an_order("vanished", run="true", networks=("none",))).ok


def test_a_sandbox_without_a_process_counts_as_gone(daemon: Daemon, worker: DockerRuntime) -> None:
    name = names.sandbox("vanished", "n" * 16, 1)
    worker.sandboxes.make(name, "n" * 16)
    daemon.kill_under(Client(daemon.host).api.inspect_container(name)["Id"])
    joining = an_order("vanished", run="true", sandbox=name)
    with pytest.raises(SandboxGone, match="does not run"):
        run(worker, joining)
