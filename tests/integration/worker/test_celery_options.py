"""Options of `celery worker` and `celery multi`, and remote control: each honoured, or refused in a sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.dispatch.control import REFUSED
from engine.model.states import NodeState, TaskState
from tests.support.counting_task import assert_ran_once, counting_task, wait_until_counting
from tests.support.fleet import ROOT, Fleet
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

HELLO = "name: say hello\nimage: busybox:1.36\ncmd: [echo, -n, hello]\n"


def _queues(fleet: Fleet, name: str) -> tuple[str, ...]:
    (node,) = [node for node in fleet.nodes() if node.name == name]
    return node.queues


def test_a_remote_shutdown_is_an_orderly_leave(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "2")
    (busy,) = fleet.submit(counting_task(150))
    container = wait_until_counting(fleet, busy)
    began = time.monotonic()
    fleet.celery("control", "-d", worker.name, "shutdown")
    assert worker.process.wait(20) == 0, worker.output()
    print(f"left after {time.monotonic() - began:.1f} s")
    assert [node.state for node in fleet.nodes()] == [NodeState.LEFT]
    assert "links let go: 1" in worker.output()
    fleet.worker("-c", "2")
    (task,) = fleet.ended([busy], 60)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 0)
    assert_ran_once(fleet, busy, 150, container)


def test_a_cancelled_queue_is_not_deafness_and_the_row_names_what_is_consumed(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "1", "-Q", "extra,other")
    fleet.celery("control", "-d", worker.name, "cancel_consumer", "extra")
    wait_until(lambda: _queues(fleet, worker.name) == ("other",), 3)
    # What ends the question that still names the queue.
    fleet.ended(fleet.submit(HELLO + "queue: other\n"), 20)
    (waiting,) = fleet.submit(HELLO + "queue: extra\n")
    fleet.celery("control", "-d", worker.name, "cancel_consumer", "other")
    wait_until(lambda: _queues(fleet, worker.name) == (), 3)
    # Longer than the watchdog waits: the time is under test.
    end = time.monotonic() + 8
    wait_until(lambda: time.monotonic() > end, 10, 0.5)
    assert worker.process.poll() is None and "deaf" not in worker.output(), worker.output()
    assert fleet.task(waiting).state is TaskState.SCHEDULED
    fleet.celery("control", "-d", worker.name, "add_consumer", "extra")
    wait_until(lambda: _queues(fleet, worker.name) == ("extra",), 3)
    assert fleet.ended([waiting], 20)[0].state is TaskState.COMPLETED
    fleet.celery("control", "-d", worker.name, "add_consumer", "no such name")
    wait_until(
        lambda: 'no consumer is added: "no such name" is not a valid queue name' in worker.output(), 10
    )
    assert _queues(fleet, worker.name) == ("extra",)


OPTIONS_REFUSED = {
    ("-P", "solo"): "the pool must be threads",
    ("--autoscale", "3,1"): "--autoscale is not supported: a slot costs nothing",
    ("--time-limit", "60"): "--time-limit is not supported: write timeout in the task",
    ("--soft-time-limit", "60"): "--soft-time-limit is not supported: write timeout in the task",
    ("--max-tasks-per-child", "5"): "--max-tasks-per-child is not supported: a worker has no child processes",
    (
        "--max-memory-per-child",
        "5000",
    ): "--max-memory-per-child is not supported: a worker has no child processes",
    ("--pool-start-method", "spawn"): "--pool-start-method is not supported: a worker has no child processes",
    (
        "--prefetch-multiplier",
        "4",
    ): "--prefetch-multiplier is not supported: a worker takes a message only",
    ("-O", "fair"): "-O is not supported: a worker takes a message only for a free slot",
    ("-B",): "-B is not supported: periodic tasks are not supported yet",
    ("-Q", "extra, other"): '-Q: " other" is not a valid queue name',
    ("-Q", "!0123456789abcdef"): '-Q: "!0123456789abcdef" is not a valid queue name',
    (
        "-f",
        "/nowhere/at/all.log",
    ): "cannot write the log file /nowhere/at/all.log (No such file or directory)",
}


@pytest.mark.parametrize("words", OPTIONS_REFUSED, ids=" ".join)
def test_an_option_that_a_worker_cannot_honour_is_refused(
    sqlite_fleet: Fleet, words: tuple[str, ...]
) -> None:
    worker = sqlite_fleet.worker(*words, wait=False)
    assert worker.process.wait(30) == 78, worker.output()
    assert f"ferryman worker: {OPTIONS_REFUSED[words]}" in worker.output()
    assert "Traceback" not in worker.output()


def test_another_broker_on_celerys_command_line_is_refused(sqlite_fleet: Fleet) -> None:
    worker = sqlite_fleet.worker(wait=False, CELERY_BROKER_URL="redis://:geheim@127.0.0.1:1/0")
    assert worker.process.wait(30) == 78, worker.output()
    assert "-b and CELERY_BROKER_URL are not supported: set FERRYMAN_BROKER_URL" in worker.output()
    assert "geheim" not in worker.output()


def test_options_that_a_worker_honours(sqlite_fleet: Fleet, tmp_path: Path) -> None:
    fleet, pid_file = sqlite_fleet, tmp_path / "w.pid"
    words = ["-n", "mine@%h", "-Q", "default,extra,other", "-X", "other", "-c", "auto", "-P", "prefork", "-E"]
    words += [
        "-f",
        str(tmp_path / "%n.log"),
        "-l",
        "INFO",
        "--pidfile",
        str(pid_file),
        "-S",
        str(tmp_path / "state"),
    ]
    words += ["--disable-prefetch", "--without-gossip", "--without-mingle", "--without-heartbeat", "--purge"]
    worker = fleet.worker(*words)
    assert worker.name.startswith("mine@") and _queues(fleet, worker.name) == ("default", "extra")
    (node,) = fleet.nodes()
    assert node.slots == os.cpu_count()
    assert int(pid_file.read_text()) == worker.process.pid
    ids = fleet.submit(HELLO, 5) + fleet.submit(HELLO + "queue: extra\n")
    assert {task.state for task in fleet.ended(ids, 40)} == {TaskState.COMPLETED}
    log = tmp_path / "mine.log"
    assert "is live" in log.read_text() and "is live" not in worker.output()
    # As logrotate does.
    log.rename(tmp_path / "old.log")
    fleet.celery("control", "add_consumer", "third")
    wait_until(lambda: log.exists() and "serves the queues default, extra, third now" in log.read_text(), 10)
    worker.process.terminate()
    assert worker.process.wait(20) == 0
    assert not pid_file.exists()


COMMANDS = {
    "pool_grow": ["1"], "pool_shrink": ["1"], "pool_restart": [], "autoscale": ["3", "1"],
    "time_limit": ["ferryman.run_link", "1", "2"], "rate_limit": ["ferryman.run_link", "1/m"],
    "terminate": ["KILL", "0123"],
}  # fmt: skip


def test_a_command_that_has_no_meaning_here_is_refused_and_changes_nothing(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "1")
    assert set(COMMANDS) == set(REFUSED)
    for command, words in COMMANDS.items():
        answer = fleet.celery("control", "--json", command, *words)
        assert json.loads(re.search(r"\{.*\}", answer, re.DOTALL)[0]) == {  # type: ignore[index]
            worker.name: {"error": REFUSED[command]}
        }, (command, answer)
    assert fleet.ended(fleet.submit(HELLO, 2), 30)[0].state is TaskState.COMPLETED


def test_multi_starts_stops_and_restarts_workers(sqlite_fleet: Fleet, tmp_path: Path) -> None:
    fleet = sqlite_fleet
    files = [f"--pidfile={tmp_path}/%n.pid", f"--logfile={tmp_path}/%n.log"]
    env = {**os.environ, **fleet.settings.environment()}

    def multi(verb: str, *words: str) -> str:
        command = [sys.executable, "-m", "celery", "multi", verb, "one", "-A", "engine", *files, *words]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    started = ("-c", "1", "-Q", "default", "-l", "INFO")
    multi("start", *started)
    try:
        wait_until(lambda: [n.state for n in fleet.nodes()] == [NodeState.LIVE], 40)
        assert fleet.ended(fleet.submit(HELLO), 30)[0].state is TaskState.COMPLETED
        assert "is live" in (tmp_path / "one.log").read_text()
    finally:
        multi("stopwait")
    assert [node.state for node in fleet.nodes()] == [NodeState.LEFT]
