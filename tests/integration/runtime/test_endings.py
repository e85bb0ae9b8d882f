"""Ends of a container, distinguished by cause; a waiting thread obeys kill and detach at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.errors import Gone, Unstartable
from engine.runtime.base import Cause, Control, Detached, Order, PreparedState
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import KeepingSink, begin, begin_ready, run
from tests.support.waiting import wait_until

Orders = Callable[..., Order]
#: A script that ignores TERM, as do its children.
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


def test_out_of_memory_is_distinguished_from_a_failure(runtime: DockerRuntime, order: Orders) -> None:
    hungry = "x=a; while :; do x=$x$x; done"
    # Docker misses some of the kernel's kills on a busy machine: the test needs one that it saw.
    outcomes = (run(runtime, order(run=hungry, memory_bytes=16 << 20)) for _ in range(5))
    outcome = next((ended for ended in outcomes if ended.cause is Cause.OUT_OF_MEMORY), None)
    assert outcome is not None, "five kills were missed in a row"
    assert outcome.exit_code != 0 and outcome.message is not None and "16 MB" in outcome.message


def test_a_task_that_succeeds_does_not_fail_because_a_child_ran_out_of_memory(
    runtime: DockerRuntime, order: Orders
) -> None:
    script = "(x=a; while :; do x=$x$x; done); echo went on"
    outcome = run(runtime, order(run=script, memory_bytes=16 << 20))
    assert (outcome.ok, outcome.result) == (True, "went on\n")


def test_a_kill_from_outside_is_distinguished_from_a_failure(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    running = begin_ready(runtime, order(run="echo ready; sleep 60"))
    docker.api.kill(running.prepared.container_id)
    outcome = running.end()
    assert (outcome.exit_code, outcome.cause) == (137, Cause.KILLED)
    assert outcome.message == "killed from outside by SIGKILL (docker kill)"


def test_a_task_that_kills_itself_was_not_killed_from_outside(runtime: DockerRuntime, order: Orders) -> None:
    outcome = run(runtime, order(run="kill -9 $$", memory_bytes=None))
    assert (outcome.exit_code, outcome.cause) == (137, Cause.EXITED)
    assert outcome.message == "exit code 137: killed by SIGKILL"


def test_a_kill_that_docker_did_not_send_may_have_been_for_memory(
    runtime: DockerRuntime, order: Orders
) -> None:
    outcome = run(runtime, order(run="kill -9 $$", memory_bytes=16 << 20))
    assert (outcome.exit_code, outcome.cause) == (137, Cause.EXITED)
    assert outcome.message == (
        "exit code 137: killed by SIGKILL, perhaps because it ran out of memory: it had 16 MB"
    )


def test_a_container_removed_while_it_runs_is_gone(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    running = begin_ready(runtime, order(run="echo ready; sleep 60"))
    docker.api.remove_container(running.prepared.container_id, force=True)
    with pytest.raises(Gone):
        running.end()


@pytest.mark.parametrize(
    ("values", "code", "text"),
    [
        ({"cmd": ("no-such-command",)}, 127, "'no-such-command' is not in the image"),
        ({"cmd": ("/etc/passwd",)}, 126, "'/etc/passwd' cannot be executed"),
        ({"cmd": ("true",), "user": "nobody-here"}, None, "unable to find user nobody-here"),
    ],
    ids=["missing command", "not executable", "unknown user"],
)
def test_what_cannot_start_says_why(
    runtime: DockerRuntime, order: Orders, values: dict[str, object], code: int | None, text: str
) -> None:
    outcome = run(runtime, order(**values))
    assert outcome.cause is Cause.NOT_STARTED
    assert outcome.exit_code in (125, 126, 127, 128) and code in (None, outcome.exit_code)
    assert outcome.message is not None and text in outcome.message


def test_a_workdir_that_is_a_file_is_refused_with_a_reason(runtime: DockerRuntime, order: Orders) -> None:
    with pytest.raises(Unstartable, match="/etc/passwd is not a directory"):
        run(runtime, order(cmd=("true",), workdir="/etc/passwd"))


def test_a_command_missing_inside_a_script_is_a_failure_like_any_other(
    runtime: DockerRuntime, order: Orders
) -> None:
    outcome = run(runtime, order(cmd=("sh", "-c", "no-such-command")))
    assert (outcome.exit_code, outcome.cause) == (127, Cause.EXITED)


@pytest.mark.parametrize("why", [Cause.TIMEOUT, Cause.CANCELLED])
@pytest.mark.parametrize("script", ["echo ready; sleep 60", STUBBORN], ids=["obedient", "ignores TERM"])
def test_a_kill_ends_a_container_within_two_seconds(
    runtime: DockerRuntime, order: Orders, why: Cause, script: str
) -> None:
    running = begin_ready(runtime, order(run=script))
    began = time.monotonic()
    running.control.kill(why)
    outcome = running.end()
    assert time.monotonic() - began < 2.0
    assert (outcome.cause, outcome.ok) == (why, False)
    assert outcome.exit_code in (137, 143)


def test_a_task_that_exits_with_0_at_our_term_has_not_succeeded(
    runtime: DockerRuntime, order: Orders
) -> None:
    running = begin_ready(runtime, order(run="trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"))
    running.control.kill(Cause.TIMEOUT)
    assert running.end().exit_code == 143


def test_a_kill_before_the_start_starts_nothing(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    control, sink = Control(), KeepingSink()
    prepared = runtime.prepare(order(run="sleep 60"), sink, control)
    control.kill(Cause.CANCELLED)
    outcome = runtime.go(prepared, sink, control)
    assert (outcome.cause, outcome.exit_code) == (Cause.CANCELLED, 137)
    assert docker.api.inspect_container(prepared.container_id)["State"]["Status"] == "created"


def test_a_detached_container_runs_on_and_another_delivery_follows_it(
    runtime: DockerRuntime, order: Orders, docker: Client, make_runtime: Callable[..., DockerRuntime]
) -> None:
    wanted = order(run="for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done; echo done > $FERRYMAN_OUTPUT")
    running = begin(runtime, wanted)
    wait_until(lambda: running.sink.text(1).startswith(b"1\n"), 10)
    began = time.monotonic()
    running.control.detach()
    with pytest.raises(Detached):
        running.end()
    assert time.monotonic() - began < 0.7
    assert docker.api.inspect_container(running.prepared.container_id)["State"]["Running"]

    adopter, sink = make_runtime(), running.sink
    adopted = adopter.prepare(replace(wanted, delivery=2), sink, Control())
    assert (adopted.state, adopted.container_id) == (PreparedState.RUNNING, running.prepared.container_id)
    outcome = adopter.go(adopted, sink, Control())
    assert (outcome.ok, outcome.result) == (True, "done\n")
    assert sink.text(1) == b"1\n2\n3\n4\n5\n6\n"


def test_a_container_that_exited_meanwhile_is_collected_not_started_again(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    wanted = order(run="echo once; echo again >&2; exit 4")
    first = begin(runtime, wanted)
    assert first.end().exit_code == 4
    started = docker.api.inspect_container(first.prepared.container_id)["State"]["StartedAt"]
    sink = KeepingSink()
    prepared = runtime.prepare(replace(wanted, delivery=2), sink, Control())
    assert prepared.state is PreparedState.EXITED
    outcome = runtime.go(prepared, sink, Control())
    assert (outcome.exit_code, sink.text(1), sink.text(2)) == (4, b"once\n", b"again\n")
    assert docker.api.inspect_container(first.prepared.container_id)["State"]["StartedAt"] == started


def test_the_result_of_a_log_stored_before_comes_from_dockers_log(
    runtime: DockerRuntime, order: Orders
) -> None:
    wanted = order(run="seq 30000")
    sink = KeepingSink()
    first = run(runtime, wanted, sink)
    adopted = runtime.prepare(replace(wanted, delivery=2), sink, Control())
    frames = len(sink.frames)
    outcome = runtime.go(adopted, sink, Control())
    assert outcome.result == first.result and len(outcome.result or "") == 65536
    assert len(sink.frames) == frames
