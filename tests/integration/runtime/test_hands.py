"""Hands on a link's container: docker stop, kill, restart, pause and update, each told for what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from engine.errors import Gone
from engine.runtime.base import Cause, Control, Order, PreparedState
from engine.runtime.docker import pulse
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import Running, begin_ready, seconds_since
from tests.support.waiting import wait_until

Orders = Callable[..., Order]
OBEDIENT = "trap 'echo asked; exit {code}' TERM; echo ready; while :; do sleep 0.05; done"


def script(text: str) -> tuple[str, ...]:
    """Return a command whose shell gets the signals itself."""
    return ("sh", "-c", text)


def let_run(docker: Client, running: Running) -> None:
    """Wait until the container has run for more than a second: a person is no faster."""
    wait_until(lambda: seconds_since(docker, running.prepared.container_id, "StartedAt") > 1.2, 10)


@pytest.fixture
def restart_in_time(docker: Client) -> Callable[[Running], None]:
    """Return a function that restarts a container after it has run for a second."""

    def restart(running: Running) -> None:
        let_run(docker, running)
        docker.api.restart(running.prepared.container_id, timeout=5)

    return restart


@pytest.mark.parametrize("code", [143, 0, 3])
def test_a_docker_restart_is_told_and_only_the_first_run_is_in_the_log(
    runtime: DockerRuntime,
    order: Orders,
    code: int,
    restart_in_time: Callable[[Running], None],
    docker: Client,
) -> None:
    running = begin_ready(runtime, order(cmd=script(OBEDIENT.format(code=code))))
    restart_in_time(running)
    outcome = running.end()
    assert outcome.cause is Cause.KILLED and outcome.exit_code == (code or 143)
    assert "docker restart" in (outcome.message or ""), outcome
    assert running.sink.text(1) == b"ready\nasked\n"
    assert outcome.result == "ready\nasked\n"
    (note,) = running.sink.notes
    assert "started again" in note
    assert not docker.api.inspect_container(running.prepared.container_id)["State"]["Running"]


def test_a_docker_restart_by_kill_is_told(runtime: DockerRuntime, order: Orders, docker: Client) -> None:
    running = begin_ready(runtime, order(cmd=script("trap '' TERM; echo ready; sleep 60")))
    let_run(docker, running)
    docker.api.restart(running.prepared.container_id, timeout=0)
    outcome = running.end()
    # Docker's answer to a wait may come so late that the code is the second run's: 0, because it runs.
    assert outcome.exit_code in (137, 143) and outcome.cause is Cause.KILLED
    assert "docker restart" in (outcome.message or "")
    assert running.sink.text(1) == b"ready\n"


# Docker tells of the signal up to a second late on a busy machine: then an end with 0 is taken for a good one.
@pytest.mark.parametrize("code", [143, pytest.param(0, marks=pytest.mark.long), 3])
def test_a_docker_stop_is_told_even_if_the_program_ends_well(
    runtime: DockerRuntime, order: Orders, docker: Client, code: int
) -> None:
    running = begin_ready(runtime, order(cmd=script(OBEDIENT.format(code=code))))
    let_run(docker, running)
    docker.api.stop(running.prepared.container_id, timeout=5)
    outcome = running.end()
    assert (outcome.exit_code, outcome.cause) == (code or 143, Cause.KILLED)
    assert outcome.message == "killed from outside by SIGTERM (docker stop)"
    assert running.sink.text(1) == b"ready\nasked\n"


def test_a_signal_for_the_programs_own_use_changes_no_good_end(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    own = "trap 'echo asked; sleep 0.3; exit 0' USR1; echo ready; while :; do sleep 0.05; done"
    running = begin_ready(runtime, order(cmd=script(own)))
    let_run(docker, running)
    docker.api.kill(running.prepared.container_id, "SIGUSR1")
    outcome = running.end()
    assert (outcome.ok, outcome.result) == (True, "ready\nasked\n")


@pytest.mark.parametrize("code", [0, 3])
def test_a_restart_policy_set_by_hand_starts_no_second_run(
    runtime: DockerRuntime, order: Orders, docker: Client, code: int
) -> None:
    running = begin_ready(runtime, order(run=f"echo ready; sleep 1.5; echo a run; exit {code}"))
    docker.api.update_container(running.prepared.container_id, restart_policy={"Name": "always"})
    outcome = running.end()
    assert (outcome.exit_code, outcome.cause) == (code, Cause.EXITED)
    assert running.sink.text(1) == b"ready\na run\n"
    assert any("docker update --restart" in note for note in running.sink.notes)
    about = docker.api.inspect_container(running.prepared.container_id)
    assert about["HostConfig"]["RestartPolicy"]["Name"] == "no"
    # Docker would start it after 0.1 s.
    wait_until(lambda: seconds_since(docker, running.prepared.container_id, "FinishedAt") > 0.5, 10)
    state = docker.api.inspect_container(running.prepared.container_id)["State"]
    assert (state["Running"], state["Restarting"]) == (False, False)


def test_a_restart_policy_is_taken_back_while_the_container_runs(
    runtime: DockerRuntime, order: Orders, docker: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "FIRST_SECONDS", 0.5)
    running = begin_ready(runtime, order(run="echo ready; sleep 3"))
    docker.api.update_container(running.prepared.container_id, restart_policy={"Name": "always"})

    def policy() -> str:
        about = docker.api.inspect_container(running.prepared.container_id)
        return str(about["HostConfig"]["RestartPolicy"]["Name"])

    wait_until(lambda: policy() == "no", 2.5)
    assert running.end().ok


def test_a_container_that_was_restarted_while_nobody_watched_ends_in_words(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    wanted = order(run="echo ready; sleep 60")
    running = begin_ready(runtime, wanted)
    running.control.detach()
    running.thread.join(10)
    docker.api.restart(running.prepared.container_id, timeout=0)
    adopted = runtime.prepare(replace(wanted, delivery=2), running.sink, Control())
    assert adopted.state is PreparedState.RUNNING
    outcome = runtime.go(adopted, running.sink, Control())
    assert outcome.cause is Cause.KILLED and "docker restart" in (outcome.message or "")
    assert running.sink.text(1) == b"ready\n"
    assert not docker.api.inspect_container(adopted.container_id)["State"]["Running"]


@pytest.fixture
def quick_pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look at a container every half second, and ask for its processes after that silence."""
    monkeypatch.setattr(pulse, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(pulse, "EVERY_SECONDS", 0.3)
    yield


@pytest.mark.usefixtures("quick_pulse")
def test_paused_is_not_dead(runtime: DockerRuntime, order: Orders, docker: Client) -> None:
    running = begin_ready(runtime, order(run="echo ready; sleep 1; echo done"))
    docker.api.pause(running.prepared.container_id)
    wait_until(lambda: running.sink.notes, 20)
    # Ten looks more.
    wait_until(lambda: seconds_since(docker, running.prepared.container_id, "StartedAt") > 4, 20)
    docker.api.unpause(running.prepared.container_id)
    outcome = running.end()
    assert (outcome.ok, outcome.result) == (True, "ready\ndone\n")
    (note,) = running.sink.notes
    assert "paused (docker pause)" in note


@pytest.mark.parametrize("cause", [Cause.CANCELLED, Cause.TIMEOUT])
def test_a_paused_container_can_be_ended(
    runtime: DockerRuntime, order: Orders, docker: Client, cause: Cause
) -> None:
    running = begin_ready(runtime, order(run="echo ready; sleep 60"))
    docker.api.pause(running.prepared.container_id)
    running.control.kill(cause)
    assert running.end().cause is cause


@pytest.mark.usefixtures("quick_pulse")
@pytest.mark.parametrize("is_seen", [True, False], ids=["process seen", "asked by top"])
def test_a_silent_container_is_alive(
    runtime: DockerRuntime, order: Orders, is_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_seen:
        monkeypatch.setattr(pulse, "is_seen", lambda _: False)
    running = begin_ready(runtime, order(run="echo ready; sleep 3; echo done"))
    assert running.end().ok


@pytest.mark.usefixtures("quick_pulse")
def test_asking_that_never_works_proves_nothing(
    runtime: DockerRuntime, order: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "is_seen", lambda _: False)
    monkeypatch.setattr(pulse, "has_processes", lambda *_: False)
    running = begin_ready(runtime, order(run="echo ready; sleep 3; echo done"))
    assert running.end().ok


def test_gone_is_an_error_of_its_own() -> None:
    assert issubclass(pulse.Vanished, Gone)
