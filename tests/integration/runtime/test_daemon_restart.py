"""Restarts of the daemon under running containers: their end is not taken for the task's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import Gone, RuntimeUnavailable
from engine.jobspec.task import HostAccess
from engine.runtime.base import Control, PreparedState
from engine.runtime.docker import shared_files
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from engine.runtime.docker.troubles import Troubles
from engine.settings import Settings
from tests.support.docker_daemon import (
    BUSYBOX,
    Daemon,
    KeepingSink,
    an_order,
    begin,
    begin_ready,
    provide,
    second_daemon_possible,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not second_daemon_possible(), reason="a second dockerd needs root, dockerd and ip"
)


def worker(daemon: Daemon, path: Path) -> DockerRuntime:
    settings = Settings.from_env({}, data_dir=str(path / "work"), docker_host=daemon.host)
    return DockerRuntime(settings.runtime, settings.path, "restarts", HostAccess(), shares_files=True)


def test_a_container_ended_by_its_daemons_restart_is_gone_not_failed(tmp_path: Path) -> None:
    with Daemon(live_restore=False) as daemon:
        provide((BUSYBOX,), daemon.host)
        runtime = worker(daemon, tmp_path)
        wanted = an_order("restarts", run="echo ready; sleep 300", networks=("none",))
        running = begin_ready(runtime, wanted)
        daemon.stop()
        daemon.start()
        with pytest.raises(Gone, match="Docker restarted"):
            running.end(40)
        again = runtime.prepare(replace(wanted, delivery=2), running.sink, Control())
        assert again.state is PreparedState.CREATED, "the next look must not find it"


def test_a_restart_policy_set_by_hand_does_not_make_a_link_run_twice_over_a_restart(tmp_path: Path) -> None:
    with Daemon(live_restore=False) as daemon:
        provide((BUSYBOX,), daemon.host)
        runtime = worker(daemon, tmp_path)
        wanted = an_order("restarts", run="echo ready; sleep 300", networks=("none",))
        running = begin_ready(runtime, wanted)
        id = running.prepared.container_id
        Client(daemon.host).api.update_container(id, restart_policy={"Name": "always"})
        daemon.stop()
        daemon.start()
        with pytest.raises(Gone, match="Docker restarted"):
            running.end(60)
        assert running.sink.text(1) == b"ready\n", "only the first run's line"
        again = runtime.prepare(replace(wanted, delivery=2), running.sink, Control())
        assert again.state is PreparedState.CREATED, "the next look must not find it"


def test_a_later_worker_also_sees_that_the_daemon_ended_the_container(tmp_path: Path) -> None:
    with Daemon(live_restore=False) as daemon:
        provide((BUSYBOX,), daemon.host)
        runtime = worker(daemon, tmp_path)
        wanted = an_order("restarts", run="echo ready; sleep 300", networks=("none",))
        running = begin_ready(runtime, wanted)
        running.control.detach()
        running.thread.join(5)
        daemon.stop()
        daemon.start()
        prepared = runtime.prepare(replace(wanted, delivery=2), running.sink, Control())
        assert prepared.state is PreparedState.EXITED
        with pytest.raises(Gone, match="Docker restarted"):
            runtime.go(prepared, running.sink, Control())


def test_with_live_restore_a_link_runs_on_and_no_line_is_lost(tmp_path: Path) -> None:
    with Daemon(live_restore=True) as daemon:
        provide((BUSYBOX,), daemon.host)
        runtime = worker(daemon, tmp_path)
        script = "for i in $(seq 60); do echo $i; sleep 0.1; done; exit 7"
        running = begin(runtime, an_order("restarts", run=script, networks=("none",)), KeepingSink())
        wait_until(lambda: b"5\n" in running.sink.text(1), 10)
        daemon.stop()
        daemon.start()
        assert running.end(40).exit_code == 7
        assert running.sink.text(1) == b"".join(b"%d\n" % i for i in range(1, 61))


def test_a_restarted_daemon_is_probed_again_for_shared_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed, probe = [], shared_files.probe

    def counted(client: Client, data_dir: Path, installation: str, troubles: Troubles) -> bool:
        probed.append(probe(client, data_dir, installation, troubles))
        return probed[-1]

    monkeypatch.setattr(shared_files, "probe", counted)
    hide = 'mount -t tmpfs none "$0" && exec "$@"'
    with Daemon(live_restore=False) as daemon:
        settings = Settings.from_env({}, data_dir=str(tmp_path / "work"), docker_host=daemon.host)
        runtime = DockerRuntime(settings.runtime, settings.path, "restarts", HostAccess())
        shared = runtime._host.shared_files
        assert [shared.are_shared() for _ in range(3)] == [True] * 3
        assert probed == [True]
        daemon.stop()
        with pytest.raises(RuntimeUnavailable):
            shared.are_shared()
        # The new daemon sees other files than this process.
        daemon.start(("unshare", "--mount", "sh", "-c", hide, str(settings.path)))
        assert [shared.are_shared() for _ in range(3)] == [False] * 3
        assert probed == [True, False]
