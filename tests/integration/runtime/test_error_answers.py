"""Docker answers one request with an error, or cuts one answer short: the log and the result are whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.errors import ErrorAnswer, RuntimeUnavailable
from engine.runtime.base import Cause, Control, Order, PreparedState
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import KeepingSink, begin
from tests.support.faulty_docker import FaultyDocker

Orders = Callable[..., Order]
WHOLE = b"".join(b"line %d\n" % n for n in range(600))
SCRIPT = "i=0; while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); [ $i = 300 ] && sleep 1; done; true"
FAULTS = pytest.mark.parametrize("fault", ["500", "cut"])
LOG = rb"GET \S+/logs\?"


@pytest.fixture
def through(
    proxy: FaultyDocker, make_runtime: Callable[..., DockerRuntime], runtime: DockerRuntime
) -> DockerRuntime:
    """Return a runtime behind the proxy; `runtime` removes what it makes."""
    return make_runtime(docker_host=proxy.url)


@FAULTS
@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(LOG + rb"\S*follow=1", id="followed log"),
        pytest.param(LOG + rb"\S*tail=64", id="end of the log"),
        pytest.param(LOG, id="any log"),
        pytest.param(rb"POST \S+/wait", id="wait"),
        pytest.param(rb"GET \S+/json", id="inspect"),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_fault_costs_neither_output_nor_result(
    proxy: FaultyDocker, through: DockerRuntime, order: Orders, pattern: bytes, fault: str, times: int
) -> None:
    sink, control = KeepingSink(), Control()
    prepared = through.prepare(order(run=SCRIPT + "; exit 3"), sink, control)
    proxy.arm(pattern, fault, times)
    outcome = through.go(prepared, sink, control)
    assert 1 <= proxy.made <= times, "the fault was there"
    assert (outcome.exit_code, outcome.cause) == (3, Cause.EXITED)
    assert sink.text(1) == WHOLE
    assert outcome.result == WHOLE.decode()


@FAULTS
@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_log_of_a_container_that_ended_at_once_is_read_again(
    proxy: FaultyDocker, through: DockerRuntime, order: Orders, fault: str, times: int
) -> None:
    sink, control = KeepingSink(), Control()
    prepared = through.prepare(order(run="seq 60"), sink, control)
    proxy.arm(LOG, fault, times)
    outcome = through.go(prepared, sink, control)
    assert proxy.made == times
    whole = "".join(f"{n}\n" for n in range(1, 61))
    assert (sink.text(1).decode(), outcome.result) == (whole, whole)


@FAULTS
@pytest.mark.parametrize("shares_files", [False])
def test_the_output_file_is_read_again(
    proxy: FaultyDocker, through: DockerRuntime, order: Orders, fault: str
) -> None:
    sink, control = KeepingSink(), Control()
    prepared = through.prepare(order(run="seq 10000 > $FERRYMAN_OUTPUT"), sink, control)
    proxy.arm(rb"GET \S+/archive\?", fault)
    outcome = through.go(prepared, sink, control)
    assert proxy.made == 1
    assert outcome.result == "".join(f"{n}\n" for n in range(1, 10001))


@FAULTS
def test_the_result_of_a_container_that_was_followed_before_is_read_again(
    proxy: FaultyDocker, through: DockerRuntime, order: Orders, fault: str
) -> None:
    sink, control, wanted = KeepingSink(), Control(), order(run=SCRIPT)
    begin(through, wanted, sink).end()
    prepared = through.prepare(replace(wanted, delivery=2), sink, control)
    assert prepared.state is PreparedState.EXITED
    proxy.arm(LOG + rb"stdout=1&timestamps=1", fault)
    outcome = through.go(prepared, sink, control)
    assert proxy.made == 1
    assert outcome.result == WHOLE.decode()
    assert sink.text(1) == WHOLE


def test_a_container_killed_by_somebody_is_not_blamed_on_a_restart_after_an_error_answer(
    proxy: FaultyDocker, through: DockerRuntime, order: Orders
) -> None:
    sink, control = KeepingSink(), Control()
    prepared = through.prepare(order(run="sleep 1; exit 137"), sink, control)
    proxy.arm(rb"POST \S+/wait", "500")
    assert through.go(prepared, sink, control).exit_code == 137
    assert proxy.made == 1


def test_a_daemon_that_only_answers_with_errors_makes_the_runtime_unavailable(
    proxy: FaultyDocker,
    make_runtime: Callable[..., DockerRuntime],
    runtime: DockerRuntime,
    order: Orders,
) -> None:
    through = make_runtime(docker_host=proxy.url, docker_timeout_seconds=2.0)
    sink, control = KeepingSink(), Control()
    prepared = through.prepare(order(run=SCRIPT), sink, control)
    proxy.arm(LOG, "500", 10_000)
    with pytest.raises(RuntimeUnavailable):
        through.go(prepared, sink, control)
    assert proxy.made > 3, "it was asked again"


@pytest.mark.parametrize(
    ("pattern", "call"),
    [
        (rb"GET \S+/volumes", DockerRuntime.list),
        (rb"GET \S+/containers/json", DockerRuntime.list),
        (rb"GET \S+/info", DockerRuntime.describe),
    ],
)
def test_an_error_answer_is_told_apart_from_silence(
    proxy: FaultyDocker,
    make_runtime: Callable[..., DockerRuntime],
    pattern: bytes,
    call: Callable[[DockerRuntime], object],
) -> None:
    through = make_runtime(docker_host=proxy.url, docker_timeout_seconds=2.0)
    proxy.arm(pattern, "500", 10_000)
    with pytest.raises(ErrorAnswer, match="a fault of the daemon"):
        call(through)
    silent = make_runtime(docker_host="unix:///nobody/listens", docker_timeout_seconds=2.0)
    with pytest.raises(RuntimeUnavailable) as silence:
        call(silent)
    assert not isinstance(silence.value, ErrorAnswer)
