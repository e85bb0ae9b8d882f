"""Links that join a sandbox: those of one attempt share its network, two attempts are as separate as without."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import MachineFault, SandboxGone
from engine.model import names
from engine.runtime.base import Cause, Control, Order, Prepared
from engine.runtime.docker import sandbox
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import KeepingSink
from tests.support.waiting import wait_until

Orders = Callable[..., Order]
#: A script that prints its network namespace: two links with the same number share it.
WHERE = "readlink /proc/self/ns/net"


@pytest.fixture
def make_sandbox(runtime: DockerRuntime, installation: str) -> Callable[[], str]:
    """Return a function that makes a sandbox and returns its name."""
    count = iter(range(1, 100))

    def make() -> str:
        name = names.sandbox(installation, "node", next(count))
        runtime.sandboxes.make(name, "node")
        return name

    return make


def output_of(runtime: DockerRuntime, order: Order) -> str:
    """Run the order to its end and return its output."""
    sink = KeepingSink()
    outcome = runtime.go(runtime.prepare(order, sink, Control()), sink, Control())
    assert outcome.ok, outcome
    return b"".join(frame.data for frame in sink.frames).decode()


@pytest.fixture
def running(runtime: DockerRuntime, docker: Client) -> Iterator[Callable[[Order], Prepared]]:
    """Return a function that starts an order without waiting for its end."""

    def start(order: Order) -> Prepared:
        prepared = runtime.prepare(order, KeepingSink(), Control())
        docker.api.start(prepared.container_id)
        return prepared

    yield start


def test_links_of_one_attempt_share_a_namespace_and_others_have_their_own(
    runtime: DockerRuntime, order: Orders, make_sandbox: Callable[[], str]
) -> None:
    first, second = make_sandbox(), make_sandbox()
    mine = [output_of(runtime, order(run=WHERE, index=n, sandbox=first, task_id="a")) for n in range(2)]
    other = output_of(runtime, order(run=WHERE, sandbox=second, task_id="b"))
    plain = output_of(runtime, order(run=WHERE, task_id="c"))
    assert mine[0] == mine[1]
    assert len({mine[0], other, plain}) == 3


SERVE = "echo reached > /tmp/x; httpd -p 127.0.0.1:7777 -h /tmp"
REACH = "wget -q -T 2 -O - http://127.0.0.1:7777/x"


def test_attempts_at_the_same_time_cannot_reach_each_other(
    runtime: DockerRuntime,
    order: Orders,
    make_sandbox: Callable[[], str],
    running: Callable[[Order], Prepared],
    docker: Client,
) -> None:
    first, second = make_sandbox(), make_sandbox()
    served = running(order(run=f"{SERVE}; sleep 300", sandbox=first, task_id="a"))
    mine = order(run=f"until {REACH}; do sleep 0.1; done; hostname -i", sandbox=first, task_id="a", index=1)
    answer, address = output_of(runtime, mine).split()
    assert answer == "reached", "a link of the same attempt reaches it"
    reach = f"{REACH} && echo MET; netstat -tan; echo at $(hostname -i)"
    beside = output_of(runtime, order(run=reach, sandbox=second, task_id="b"))
    assert "MET" not in beside and "7777" not in beside
    assert "at 1" in beside and f"at {address}\n" not in beside
    docker.api.kill(served.container_id)


def test_a_task_cannot_change_the_namespace(
    runtime: DockerRuntime, order: Orders, make_sandbox: Callable[[], str]
) -> None:
    tries = (
        "ip route add 10.9.9.0/24 dev lo",
        "ip link set lo down",
        "ip addr add 10.9.9.9/8 dev lo",
        "ip route flush table main",
    )
    run = (
        "; ".join(f"{command} 2>&1 && echo CHANGED" for command in tries) + "; grep CapEff /proc/self/status"
    )
    output = output_of(runtime, order(run=f"({run}) ; true", sandbox=make_sandbox()))
    assert "CHANGED" not in output
    capabilities = int(output.split("CapEff:")[1], 16)
    assert not capabilities >> 12 & 1, "CAP_NET_ADMIN"
    assert output.count("not permitted") == len(tries)


def test_a_sandbox_has_no_privileges(make_sandbox: Callable[[], str], docker: Client) -> None:
    about = docker.api.inspect_container(make_sandbox())
    host_config = about["HostConfig"]
    assert (
        host_config["CapDrop"] == ["ALL"] and host_config["ReadonlyRootfs"] and not host_config["Privileged"]
    )
    assert (host_config["PidsLimit"], host_config["Memory"], about["Config"]["User"]) == (
        8,
        32 << 20,
        "65534:65534",
    )
    assert about["State"]["Running"] and not about["Mounts"]


@pytest.mark.parametrize("is_removed", [True, False], ids=["removed", "killed"])
def test_a_link_whose_sandbox_is_gone_is_not_started(
    runtime: DockerRuntime, order: Orders, make_sandbox: Callable[[], str], docker: Client, is_removed: bool
) -> None:
    mine = order(run="true", sandbox=make_sandbox())
    prepared = runtime.prepare(mine, KeepingSink(), Control())
    docker.api.kill(mine.sandbox)
    if is_removed:
        docker.api.remove_container(mine.sandbox, force=True)
    with pytest.raises(SandboxGone):
        runtime.go(prepared, KeepingSink(), Control())
    assert docker.api.inspect_container(prepared.container_id)["State"]["Status"] == "created"
    runtime.discard(prepared)
    assert not [resource for resource in runtime.list() if resource.kind == "container"]


def test_a_link_whose_sandbox_was_never_made_is_not_started(runtime: DockerRuntime, order: Orders) -> None:
    mine = order(run="true", sandbox="ferryman-nobody")
    with pytest.raises(SandboxGone):
        runtime.go(runtime.prepare(mine, KeepingSink(), Control()), KeepingSink(), Control())


@pytest.mark.parametrize(("code", "cause"), [(3, Cause.SANDBOX_LOST), (0, Cause.EXITED)])
def test_a_link_that_fails_after_its_sandbox_died_failed_because_of_it(
    runtime: DockerRuntime,
    order: Orders,
    make_sandbox: Callable[[], str],
    docker: Client,
    code: int,
    cause: Cause,
) -> None:
    script = f"trap 'exit {code}' USR1; echo ready; while :; do sleep 0.1; done"
    mine = order(cmd=("sh", "-c", script), sandbox=make_sandbox())
    prepared = runtime.prepare(mine, KeepingSink(), Control())
    docker.api.start(prepared.container_id)
    wait_until(lambda: b"ready" in docker.api.logs(prepared.container_id), 20)
    docker.api.kill(mine.sandbox)
    wait_until(lambda: docker.api.inspect_container(mine.sandbox)["State"]["Status"] == "exited", 20)
    # Triggered by a signal, because Docker 26 can run nothing more in the container.
    docker.api.kill(prepared.container_id, "SIGUSR1")
    wait_until(lambda: docker.api.inspect_container(prepared.container_id)["State"]["Status"] == "exited", 20)
    adopted = runtime.prepare(replace(mine, delivery=2), KeepingSink(), Control())
    outcome = runtime.go(adopted, KeepingSink(), Control())
    assert (outcome.exit_code, outcome.cause) == (code, cause)


def test_a_failure_with_a_running_sandbox_is_the_links_own(
    runtime: DockerRuntime, order: Orders, make_sandbox: Callable[[], str]
) -> None:
    mine = order(run="exit 3", sandbox=make_sandbox())
    outcome = runtime.go(runtime.prepare(mine, KeepingSink(), Control()), KeepingSink(), Control())
    assert (outcome.exit_code, outcome.cause) == (3, Cause.EXITED)


def test_sandboxes_are_listed_and_removed_as_resources(
    runtime: DockerRuntime, make_sandbox: Callable[[], str]
) -> None:
    name = make_sandbox()
    (resource,) = runtime.list()
    assert (resource.kind, resource.name, resource.node, resource.state, resource.run) == (
        "sandbox",
        name,
        "node",
        "running",
        None,
    )
    assert runtime.remove([resource]) == 1
    assert not runtime.list()


def test_a_trial_of_joining_works_and_leaves_nothing(
    runtime: DockerRuntime, make_sandbox: Callable[[], str]
) -> None:
    assert runtime.sandboxes.why_not_joined(make_sandbox(), "node") is None
    assert len(runtime.list()) == 1
    why = runtime.sandboxes.why_not_joined("ferryman-nobody", "node")
    assert why is not None and "ferryman-nobody" in why


def test_the_runtime_is_idle_only_after_a_pause(runtime: DockerRuntime, order: Orders) -> None:
    assert runtime.sandboxes.is_idle(0.05)
    runtime.remove(runtime.list())
    output_of(runtime, order(run="true"))
    assert not runtime.sandboxes.is_idle(600)
    wait_until(lambda: runtime.sandboxes.is_idle(0.05), 10, 0.01)


def test_the_program_pauses_and_does_nothing_else(tmp_path: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
    code = sandbox.program(machine)
    if code is None or sys.platform != "linux":
        pytest.skip("no code for this machine")
    at = tmp_path / "pause"
    at.write_bytes(code)
    at.chmod(0o755)
    process = subprocess.Popen([str(at)])
    try:
        state = Path(f"/proc/{process.pid}/stat")
        wait_until(lambda: state.read_text().split()[2] == "S" and "pause" in state.read_text(), 10)
        ticks = state.read_text().split()[13:15]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        assert state.read_text().split()[13:15] == ticks, "it takes no CPU time"
    finally:
        process.kill()
        process.wait(10)


def test_programs_are_tiny_and_only_for_known_architectures() -> None:
    for architecture, machine in (("amd64", 62), ("arm64", 183)):
        code = sandbox.program(architecture)
        assert code is not None and len(code) < 160
        assert code[:6] == b"\x7fELF\x02\x01" and code[18] == machine
    assert sandbox.program("s390x") is None


def test_a_refused_sandbox_is_reported(runtime: DockerRuntime, installation: str) -> None:
    with pytest.raises(MachineFault, match="refuses to make a sandbox"):
        runtime.sandboxes.make("not a name", "node")


#: A connection to a server in the same namespace, which the server closes first; then the sockets in TIME_WAIT (06).
CONNECT = (
    "echo hi | nc -l -p 8080 & until nc 127.0.0.1 8080 > /dev/null 2>&1; do sleep 0.1; done; wait; "
    "awk '$4 == \"06\"' /proc/net/tcp"
)


def test_a_link_leaves_no_closed_connection_to_the_next(
    runtime: DockerRuntime, order: Orders, make_sandbox: Callable[[], str]
) -> None:
    assert output_of(runtime, order(run=CONNECT)) != "", "a namespace of its own must show the socket"
    sandbox_name = make_sandbox()
    assert output_of(runtime, order(run=CONNECT, sandbox=sandbox_name, index=0)) == ""


def test_a_daemon_that_refuses_sysctls_gets_sandboxes_without(
    runtime: DockerRuntime, order: Orders, make_sandbox: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.sandboxes, "_sysctls", {"net.ipv4.no_such_value": "0"})
    sandboxes = [make_sandbox() for _ in range(3)]
    assert runtime.sandboxes._sysctls == {}, "left out for good"  # type: ignore[attr-defined]
    for name in (*sandboxes, make_sandbox()):
        assert output_of(runtime, order(run="echo joined", sandbox=name)) == "joined\n"


def test_a_refusal_of_a_moment_does_not_take_the_sysctls_away(
    runtime: DockerRuntime, make_sandbox: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = runtime.sandboxes._sysctls  # type: ignore[attr-defined]
    monkeypatch.setattr(runtime.sandboxes, "_sysctls", {"net.ipv4.no_such_value": "0"})
    make_sandbox()
    assert runtime.sandboxes._sysctls != {}  # type: ignore[attr-defined]
    assert wanted
