"""Leaving of real worker processes: drained, by SIGTERM once and twice, by SIGQUIT, and by Ctrl-C on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.lifecycle import nodes as verbs
from engine.model.states import LinkState, NodeState, TaskState
from tests.support.callers import TESTER
from tests.support.fleet import ROOT, Fleet, Worker
from tests.support.held_task import held_task, release
from tests.support.registry import running_registry
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

CHAIN = """
name: chain
image: busybox:1.36
run: sleep 1; echo main
pre:
  - {name: first, image: "busybox:1.36", run: "sleep 3; echo pre"}
post:
  - {name: last, image: "busybox:1.36", run: "echo post"}
"""
SLEEP = "name: long\nimage: busybox:1.36\ncmd: [sleep, '%d']\n"


def _begins(fleet: Fleet, task_id: str) -> str:
    found = wait_until(
        lambda: [x for x in fleet.links(task_id) if x.state is LinkState.CONFIRMED and x.container_id], 30
    )
    return str(found[0].container_id)


def test_a_drained_worker_ends_its_chain_takes_nothing_new_and_leaves(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    drained = fleet.worker("-c", "1")
    (node,) = fleet.nodes()
    (chain,) = fleet.submit(CHAIN)
    _begins(fleet, chain)
    (waiting,) = fleet.submit(SLEEP % 0)
    assert verbs.drain(fleet.installation, TESTER, node.id)
    assert drained.process.wait(60) == 0, drained.output()
    task = fleet.task(chain)
    assert (task.state, task.crashes, task.attempt, task.delivery) == (TaskState.COMPLETED, 0, 1, 1)
    assert task.node == node.id
    assert [(x.state, x.exit_code) for x in fleet.links(chain)] == [(LinkState.ENDED, 0)] * 3
    assert [n.state for n in fleet.nodes()] == [NodeState.LEFT]
    assert fleet.task(waiting).node is None, "it took nothing new"
    fleet.worker("-c", "1")
    (other,) = fleet.ended([waiting], 60)
    assert (other.state, other.crashes) == (TaskState.COMPLETED, 0)
    assert other.node != node.id


@pytest.mark.long
@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGQUIT,)])
def test_asked_again_or_by_sigquit_it_leaves_at_once_and_its_container_goes_on(
    sqlite_fleet: Fleet, numbers: tuple[signal.Signals, ...]
) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "1", FERRYMAN_DRAIN_TIMEOUT_SECONDS="600")
    (task_id,) = fleet.submit(SLEEP % 15)
    before = _begins(fleet, task_id)
    worker.process.send_signal(numbers[0])
    if len(numbers) > 1:
        wait_until(lambda: fleet.nodes()[0].state is NodeState.LEAVING, 20)
        worker.process.send_signal(numbers[1])
    assert worker.process.wait(30) == 0, worker.output()
    assert [n.state for n in fleet.nodes()] == [NodeState.LEFT]
    fleet.worker("-c", "1")
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.crashes) == (TaskState.COMPLETED, 0), task.error
    assert fleet.links(task_id)[0].container_id == before


def test_what_is_still_being_pulled_is_given_back_and_waits_for_no_grace(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    with running_registry() as registry:
        registry.gate.clear()
        worker = fleet.worker("-c", "1")
        (task_id,) = fleet.submit(f"name: pulled\nimage: {registry.image}\n")
        wait_until(lambda: registry.layers, 30)
        worker.process.terminate()
        assert worker.process.wait(30) == 0, worker.output()
    task = fleet.task(task_id)
    assert task.state in (TaskState.PENDING, TaskState.SCHEDULED), "nobody needs to look for its container"
    assert (task.node, task.attempt, task.delivery, task.crashes) == (None, 1, 2, 0)
    (repair,) = [e for e in fleet.events(task_id) if e.kind == "repair"]
    assert repair.reason == "given back: its worker left before it made a container"
    assert not fleet.left_over()


@contextmanager
def _on_a_terminal(fleet: Fleet, **environment: str) -> Iterator[tuple[Worker, int]]:
    """Start a worker in the foreground of its own terminal; return it, LIVE, with our end of the terminal."""
    ours, theirs = pty.openpty()
    log = fleet.directory / "terminal.log"
    words = [sys.executable, "-m", "celery", "-A", "engine", "worker", "-c", "1"]
    process = subprocess.Popen(
        ["setsid", "--ctty", *words],
        cwd=ROOT,
        env={**os.environ, **fleet.settings.environment(), **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    worker = Worker(process, log, ("default",), "")
    fleet.workers.append(worker)
    reader = threading.Thread(target=_keep, args=(ours, log), daemon=True)
    reader.start()
    try:
        wait_until(lambda: [n for n in fleet.nodes() if n.state is NodeState.LIVE], 60)
        yield worker, ours
    finally:
        if process.poll() is None:
            worker.kill()
        reader.join(10)
        os.close(ours)


def _keep(terminal: int, log: Path) -> None:
    with log.open("wb") as out:
        while True:
            try:
                piece = os.read(terminal, 1 << 16)
            except OSError:  # the other side is closed
                return
            out.write(piece)
            out.flush()


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.long)])
def test_ctrl_c_leaves_in_order_and_a_second_one_at_once(sqlite_fleet: Fleet, times: int) -> None:
    fleet = sqlite_fleet
    drain_timeout = "600" if times == 2 else "0"
    with _on_a_terminal(fleet, FERRYMAN_DRAIN_TIMEOUT_SECONDS=drain_timeout) as (worker, terminal):
        (task_id,) = fleet.submit(SLEEP % 60)
        before = _begins(fleet, task_id)
        os.write(terminal, b"\x03")
        if times == 2:
            wait_until(lambda: fleet.nodes()[0].state is NodeState.LEAVING, 20)
            assert worker.process.poll() is None and fleet.task(task_id).state is TaskState.RUNNING
            os.write(terminal, b"\x03")
        assert worker.process.wait(30) == 0, worker.output()
    assert [n.state for n in fleet.nodes()] == [NodeState.LEFT]
    assert "Traceback" not in worker.output() and "terminat" not in worker.output(), worker.output()
    assert "links let go: 1; their containers go on" in worker.output()
    task = fleet.task(task_id)
    assert (task.state, task.crashes, task.attempt) == (TaskState.RUNNING, 0, 1)
    assert [(thing.id, thing.state) for thing in fleet.left_over()] == [(before, "running")]


@pytest.mark.long
def test_a_terminal_that_is_closed_lets_its_worker_leave_in_order(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    with _on_a_terminal(fleet) as (worker, _):
        (task_id,) = fleet.submit(held_task())
        before = _begins(fleet, task_id)
        # What the kernel does to the foreground of a terminal that is gone.
        os.killpg(worker.process.pid, signal.SIGHUP)
        assert worker.process.wait(30) == 0, worker.output()
    assert [n.state for n in fleet.nodes()] == [NodeState.LEFT]
    assert [(thing.id, thing.state) for thing in fleet.left_over()] == [(before, "running")]


@pytest.mark.long
def test_sighup_without_a_terminal_begins_anew_and_its_containers_go_on(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "2")
    (former,) = fleet.nodes()
    (task_id,) = fleet.submit(held_task())
    before = _begins(fleet, task_id)
    worker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: [n for n in fleet.nodes() if n.state is NodeState.LIVE and n.id != former.id], 60)
    assert worker.process.poll() is None, "the same process"
    wait_until(lambda: fleet.task(task_id).delivery == 2, 30)
    release(before)
    (task,) = fleet.ended([task_id], 60)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 0), task.error
    assert fleet.links(task_id)[0].container_id == before
    assert {n.state for n in fleet.nodes() if n.id == former.id} == {NodeState.LEFT}
