"""Links that another worker started, taken over late or with other settings: a container that exists counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import Unstartable
from engine.jobspec.task import HostAccess, Mount
from engine.runtime.base import Cause, Control, Detached, Order, PreparedState
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import KeepingSink, Running, begin
from tests.support.waiting import wait_until

Orders = Callable[..., Order]


def _left_alone(running: Running) -> None:
    """Detach, as if the worker were gone."""
    running.control.detach()
    running.thread.join(10)
    assert not running.thread.is_alive()


def _too_late() -> Control:
    control = Control()
    control.kill(Cause.TIMEOUT)
    return control


def test_a_container_that_still_runs_is_killed_and_its_log_read_to_the_end(
    runtime: DockerRuntime, order: Orders
) -> None:
    wanted = order(run="trap 'echo last words; exit 3' TERM; echo up; sleep 300 & wait")
    running = begin(runtime, wanted)
    wait_until(lambda: running.sink.text(1) == b"up\n", 20)
    _left_alone(running)
    late, sink = _too_late(), KeepingSink()
    prepared = runtime.prepare(replace(wanted, delivery=2), sink, late)
    assert (prepared.state, prepared.container_id) == (PreparedState.RUNNING, running.prepared.container_id)
    outcome = runtime.go(prepared, sink, late)
    assert outcome.cause is Cause.TIMEOUT and outcome.exit_code
    assert sink.text(1).startswith(b"up\n")


def test_the_end_of_a_container_that_exited_meanwhile_counts(runtime: DockerRuntime, order: Orders) -> None:
    wanted = order(run="echo up; sleep 1; echo done; echo -n kept > $FERRYMAN_OUTPUT")
    running = begin(runtime, wanted)
    wait_until(lambda: running.sink.text(1) == b"up\n", 20)
    _left_alone(running)
    wait_until(lambda: [thing.state for thing in runtime.list()] == ["exited"], 20)
    late, sink = _too_late(), KeepingSink()
    prepared = runtime.prepare(replace(wanted, delivery=2), sink, late)
    assert prepared.state is PreparedState.EXITED
    outcome = runtime.go(prepared, sink, late)
    assert (outcome.ok, outcome.result, sink.text(1)) == (True, "kept", b"up\ndone\n")


@pytest.mark.parametrize("trap", ["", "trap 'exit 0' TERM; "], ids=["dies", "exits with 0"])
def test_a_container_killed_for_its_time_by_a_dead_worker_has_not_succeeded(
    runtime: DockerRuntime, order: Orders, docker: Client, trap: str
) -> None:
    wanted = order(run=f"{trap}echo up; sleep 300 & wait")
    running = begin(runtime, wanted)
    wait_until(lambda: running.sink.text(1) == b"up\n", 20)
    _left_alone(running)
    docker.api.kill(running.prepared.container_id, "SIGTERM")
    wait_until(lambda: [thing.state for thing in runtime.list()] == ["exited"], 20)
    late, sink = _too_late(), KeepingSink()
    outcome = runtime.go(runtime.prepare(replace(wanted, delivery=2), sink, late), sink, late)
    assert (outcome.ok, outcome.cause) == (False, Cause.TIMEOUT)


def test_no_container_is_created_only_to_be_killed(runtime: DockerRuntime, order: Orders) -> None:
    with pytest.raises(Detached):
        runtime.prepare(order(run="true", delivery=2), KeepingSink(), _too_late())
    assert not runtime.list()


def test_a_worker_without_the_host_access_follows_a_link_that_another_worker_started(
    make_runtime: Callable[..., DockerRuntime], order: Orders, tmp_path: Path
) -> None:
    open_door = make_runtime(HostAccess(bind_sources=((str(tmp_path), False),)))
    mount = Mount("bind", "/mnt/it", str(tmp_path), {"mode": "ro"})
    wanted = order(run="echo up; sleep 1; echo done", mounts=(mount,))
    running = begin(open_door, wanted)
    wait_until(lambda: running.sink.text(1) == b"up\n", 20)
    _left_alone(running)
    restricted, sink = make_runtime(), KeepingSink()
    prepared = restricted.prepare(replace(wanted, delivery=2), sink, Control())
    assert restricted.go(prepared, sink, Control()).ok
    assert sink.text(1) == b"up\ndone\n"
    with pytest.raises(Unstartable, match=r"may not be mounted|bind"):
        restricted.prepare(order(run="true", delivery=2, mounts=(mount,)), sink, Control())
