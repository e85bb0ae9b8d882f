"""`ferryman nodes` and `ferryman drain` with a stand-alone: output, refusals, waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.client import Json
from tests.support.docker_daemon import require_docker
from tests.support.held_task import held_task, release
from tests.support.standalone import FERRYMAN, Standalone, ferryman
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

Start = Callable[[str, str], "subprocess.Popen[bytes]"]


@pytest.fixture(scope="session")
def start(server: Standalone) -> Iterator[Start]:
    """Return a function that starts a worker with a name for a queue; all workers end with the test run."""
    workers: list[subprocess.Popen[bytes]] = []

    def start_worker(name: str, queue: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "celery", "-A", "engine", "worker", "-c", "2"]
        with open(os.devnull, "wb") as devnull:
            worker = subprocess.Popen(
                [*words, "-Q", queue, "-n", f"{name}@%h"],
                env=server.env,
                cwd=Path(__file__).resolve().parents[3],
                stdout=devnull,
                stderr=devnull,
                start_new_session=True,
            )
        workers.append(worker)
        return worker

    yield start_worker
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    for worker in workers:
        worker.wait(20)


def live(server: Standalone, prefix: str) -> Json:
    """Wait until the node whose name begins with `prefix` is LIVE; return it."""

    def matches(node: Json) -> bool:
        return str(node["name"]).startswith(prefix) and node["state"] == "LIVE"

    return wait_until(lambda: [node for node in server.client.nodes() if matches(node)], 60, 0.2)[0]


def run(server: Standalone, *words: str) -> subprocess.CompletedProcess[str]:
    done = ferryman(*words, env=server.env)
    assert "\x1b" not in done.stdout + done.stderr and "Traceback" not in done.stderr, done.stderr
    return done


def test_nodes_are_listed_and_an_unknown_or_ambiguous_name_drains_no_node(
    server: Standalone, start: Start
) -> None:
    for name in ("press-1", "press-2"):
        start(name, "press")
    first, second = live(server, "press-1"), live(server, "press-2")
    lines = run(server, "nodes").stdout.splitlines()
    for node in (first, second):
        assert f"{node['id'][:8]}  LIVE       2 slots  {node['name']}  press" in lines
    assert any(line.endswith("  default") and "  4 slots  " in line for line in lines), (
        "the stand-alone's own"
    )
    listed = {node["id"]: node for node in json.loads(run(server, "nodes", "--json").stdout)}
    assert (listed[first["id"]]["state"], listed[first["id"]]["queues"]) == ("LIVE", ["press"])

    unknown = run(server, "drain", "nowhere")
    assert unknown.returncode == 1 and unknown.stdout == ""
    assert unknown.stderr == "ferryman: there is no node 'nowhere'\n"
    several = run(server, "drain", "press-")
    assert several.returncode == 1 and several.stdout == ""
    assert several.stderr == "ferryman: 'press-' matches more than one node: write more of the id\n"
    assert {server.client.node(node["id"])["state"] for node in (first, second)} == {"LIVE"}


def test_drain_prints_running_tasks_and_waits_until_the_node_has_left(
    server: Standalone, start: Start
) -> None:
    worker = start("lathe", "lathe")
    node = live(server, "lathe")
    task = server.client.submit(held_task(queue="lathe").encode())
    wait_until(lambda: server.client.node(node["id"])["running"] == 1 and _container(task), 40, 0.2)

    words = [*FERRYMAN, "drain", "lathe"]
    with subprocess.Popen(words, env=server.env, stdout=-1, stderr=-1, text=True) as draining:
        assert draining.stdout and draining.stderr
        assert draining.stdout.readline() == f"{node['id']}  LEAVING  {node['name']}\n"
        assert draining.stdout.readline() == f"1 task still running: {task['id'][:8]} held\n"
        draining.send_signal(signal.SIGINT)
        assert draining.wait(20) == 130
        assert draining.stderr.read() == "\nThe worker goes on draining. Check it with: ferryman nodes\n"
    again = run(server, "drain", "lathe", "--no-wait")
    assert (again.returncode, again.stdout) == (0, f"{node['id']}  LEAVING  {node['name']}\n"), again.stderr
    assert worker.poll() is None and server.client.task(task["id"])["state"] == "RUNNING"

    with subprocess.Popen(words, env=server.env, stdout=-1, stderr=-1, text=True) as draining:
        assert draining.stdout and draining.stderr
        assert [draining.stdout.readline() for _ in range(2)][1].startswith("1 task still running: ")
        release(_container(task))
        assert draining.wait(60) == 0, draining.stderr.read()
        assert draining.stdout.read().splitlines()[-1] == f"{node['id']}  LEFT"
    assert worker.wait(20) == 0
    ended = server.client.task(task["id"])
    assert (ended["state"], ended["attempt"], ended["crashes"], ended["nodeId"]) == (
        "COMPLETED",
        1,
        0,
        node["id"],
    )
    late = run(server, "drain", node["id"])
    assert late.returncode == 1 and f"node {node['id']} ({node['name']}) is already LEFT" in late.stderr
    assert any(
        line.startswith(f"{node['id'][:8]}  LEFT ") for line in run(server, "nodes").stdout.splitlines()
    )


def _container(task: Json) -> str:
    containers = require_docker().api.containers(filters={"label": f"ferryman.task={task['id']}"})
    return str(containers[0]["Id"]) if containers else ""
