"""Machines that cannot begin tasks: the tasks are given back without a retry, and the node is held until it can."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.model.records import Hold, Node
from engine.model.states import HoldKind, NodeState, TaskState
from tests.support.docker_daemon import BUSYBOX, Daemon, provide, second_daemon_possible
from tests.support.faulty_docker import FaultyDocker
from tests.support.fleet import Fleet, Worker
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not second_daemon_possible(), reason="a second dockerd needs root, dockerd and ip"),
]

TASK = "name: small\nimage: busybox:1.36\ncmd: [echo, hi]\nretry: {limit: 0}\n"
CHAIN = TASK + "volumes: [/data]\npre:\n  - {name: before, image: 'busybox:1.36', cmd: [echo, before]}\n"

#: The create of a link's container, not of a probe.
CREATE = r"containers/create\?name=ferryman-[^-]+-[0-9a-f]{32}-"


def _holds(fleet: Fleet, worker: Worker) -> tuple[Hold, ...]:
    return _node(fleet, worker).holds


def _node(fleet: Fleet, worker: Worker) -> Node:
    return next(node for node in fleet.nodes() if node.name == worker.name)


def _assert_all_ran(fleet: Fleet, ids: list[str], seconds: float) -> None:
    """Check that all tasks completed in their first attempts, and that no crash was counted."""
    for task in fleet.ended(ids, seconds):
        assert task.state is TaskState.COMPLETED, fleet.story(task.id)
        assert (task.attempt, task.crashes, task.refusals) == (1, 0, ())


def _refusals(fleet: Fleet, ids: list[str]) -> int:
    return sum((event.reason or "").startswith("given back: ") for id in ids for event in fleet.events(id))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Start a daemon of the test's own with the image."""
    with Daemon(live_restore=False) as made:
        provide((BUSYBOX,), made.host)
        yield made


def test_a_daemon_without_its_bridge_costs_no_task(sqlite_fleet: Fleet, daemon: Daemon) -> None:
    fleet = sqlite_fleet
    worker = fleet.worker("-c", "2", FERRYMAN_DOCKER_HOST=daemon.host)
    daemon.remove_bridge()
    ids = fleet.submit(TASK, 6)
    wait_until(lambda: _holds(fleet, worker), 20)
    (hold,) = _holds(fleet, worker)
    assert hold.kind is HoldKind.RUNTIME and "bridge" in hold.reason
    assert _node(fleet, worker).state is NodeState.LIVE
    # Two slots, so at most two were claimed before the hold; the others wait in the queue.
    wait_until(lambda: _refusals(fleet, ids) > 0 and not _running(fleet, ids), 20)
    assert _refusals(fleet, ids) <= 2
    daemon.make_bridge()
    _assert_all_ran(fleet, ids, 60)
    wait_until(lambda: not _holds(fleet, worker), 20)


def _running(fleet: Fleet, ids: list[str]) -> list[str]:
    return [id for id in ids if fleet.task(id).state is TaskState.RUNNING]


@pytest.mark.parametrize("command", ["runc", "docker-init", "containerd-shim-runc-v2"])
def test_a_daemon_without_one_of_its_programs_costs_no_task(
    sqlite_fleet: Fleet, tmp_path: Path, command: str
) -> None:
    fleet, programs = sqlite_fleet, tmp_path / "bin"
    programs.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    with Daemon(live_restore=False, within=("/usr/bin/env", f"PATH={programs}")) as daemon:
        provide((BUSYBOX,), daemon.host)
        worker = fleet.worker("-c", "2", FERRYMAN_DOCKER_HOST=daemon.host)
        kept = (programs / command).readlink()
        (programs / command).unlink()
        ids = fleet.submit(TASK, 3)
        wait_until(lambda: [hold.kind for hold in _holds(fleet, worker)] == [HoldKind.RUNTIME], 20)
        (programs / command).symlink_to(kept)
        _assert_all_ran(fleet, ids, 60)


def test_a_daemon_whose_disk_is_full_costs_no_task(sqlite_fleet: Fleet) -> None:
    fleet, daemon = sqlite_fleet, Daemon(live_restore=False)
    daemon.keep_data_in_memory(60)
    with daemon:
        provide((BUSYBOX,), daemon.host)
        worker = fleet.worker("-c", "2", FERRYMAN_DOCKER_HOST=daemon.host)
        _fill(daemon.data / "ballast")
        ids = fleet.submit(CHAIN, 4)
        wait_until(lambda: any("no space left" in hold.reason for hold in _holds(fleet, worker)), 20)
        (daemon.data / "ballast").unlink()
        _assert_all_ran(fleet, ids, 60)
        wait_until(lambda: not _holds(fleet, worker), 40)


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while file.write(bytes(1 << 12)):
            continue


def test_a_containerd_that_restarts_under_a_queue_fails_no_task(sqlite_fleet: Fleet, daemon: Daemon) -> None:
    fleet = sqlite_fleet
    fleet.worker("-c", "3", FERRYMAN_DOCKER_HOST=daemon.host)
    ids = fleet.submit(TASK, 60)
    wait_until(lambda: sum(fleet.task(id).state.ended for id in ids) >= 5, 60)
    daemon.kill_containerd()
    wait_until(lambda: _refusals(fleet, ids) > 0, 20)
    daemon.start_containerd()
    _assert_all_ran(fleet, ids, 120)


@pytest.mark.parametrize("call", [CREATE, "containers/[^/ ]+/start", "volumes/create"])
def test_a_stray_error_answer_is_not_the_end_of_a_task(
    sqlite_fleet: Fleet, tmp_path: Path, call: str
) -> None:
    fleet, proxy = sqlite_fleet, FaultyDocker(tmp_path)
    worker = fleet.worker("-c", "1", FERRYMAN_DOCKER_HOST=proxy.url)
    proxy.arm(rb"POST /[^ ]*" + call.encode(), "500")
    (id,) = fleet.submit(CHAIN)
    _assert_all_ran(fleet, [id], 60)
    assert (proxy.made, _refusals(fleet, [id])) == (1, 1), fleet.story(id)
    assert "a fault of the daemon" in fleet.story(id)
    wait_until(lambda: not _holds(fleet, worker), 20)
    proxy.close()


def test_a_later_link_that_is_refused_once_keeps_what_came_before(
    sqlite_fleet: Fleet, tmp_path: Path
) -> None:
    fleet, proxy = sqlite_fleet, FaultyDocker(tmp_path)
    fleet.worker("-c", "1", FERRYMAN_DOCKER_HOST=proxy.url)
    (id,) = fleet.submit(CHAIN.replace("cmd: [echo, before]", "run: 'echo ready; sleep 2'"))
    wait_until(lambda: fleet.log(id) == "ready\n", 30)
    proxy.arm(rb"POST /[^ ]*containers/[^/ ]+/start", "500")
    _assert_all_ran(fleet, [id], 60)
    assert (proxy.made, _refusals(fleet, [id])) == (1, 0), fleet.story(id)
    assert {link.origin for link in fleet.links(id)} == {1}, "the chain did not start again"
    proxy.close()


def test_what_no_machine_begins_fails_in_words_and_without_a_retry(
    sqlite_fleet: Fleet, tmp_path: Path
) -> None:
    fleet, proxy = sqlite_fleet, FaultyDocker(tmp_path)
    worker = fleet.worker("-c", "1", FERRYMAN_DOCKER_HOST=proxy.url)
    proxy.arm(rb"POST /[^ ]*" + CREATE.encode(), "500", times=1000)
    (id,) = fleet.submit(TASK.replace("limit: 0", "limit: 3"))
    (task,) = fleet.ended([id], 90)
    assert (task.state, task.attempt) == (TaskState.FAILED, 1), fleet.story(id)
    words = task.error or ""
    assert words.startswith("no machine could begin it (5 times in "), words
    assert f"{worker.name}: Docker refuses the container: a fault of the daemon" in words
    proxy.close()


def test_a_pull_that_docker_failed_is_tried_again(sqlite_fleet: Fleet, tmp_path: Path) -> None:
    fleet, proxy = sqlite_fleet, FaultyDocker(tmp_path)
    fleet.worker("-c", "1", FERRYMAN_DOCKER_HOST=proxy.url)
    proxy.arm(rb"POST /[^ ]*/images/create\?fromImage=127", "500")
    (id,) = fleet.submit(TASK.replace("busybox:1.36", "127.0.0.1:1/nothing:1"))
    (task,) = fleet.ended([id], 60)
    assert (proxy.made, _refusals(fleet, [id])) == (1, 1), fleet.story(id)
    assert "given back: Docker cannot pull 127.0.0.1:1/nothing:1" in fleet.story(id)
    # The second time the registry is asked, and it is the image's fault that none answers.
    assert (task.state, task.attempt) == (TaskState.FAILED, 1)
    assert "no registry answers: connection refused" in (task.error or "")
    proxy.close()


def test_a_worker_that_can_begin_nothing_leaves_its_task_to_another(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    fleet.worker("-c", "1", module="tests.support.unable_worker")
    (id,) = fleet.submit(TASK)
    wait_until(lambda: _refusals(fleet, [id]) > 0, 30)
    assert "given back: planted; due again in 1 s" in fleet.story(id)
    fleet.workers[0].process.terminate()
    fleet.worker("-c", "1")
    _assert_all_ran(fleet, [id], 60)


# The data directory of a worker.


def _make_full(place: Path) -> Callable[[], None]:
    _fill(place / "ballast")
    return (place / "ballast").unlink


def _make_read_only(place: Path) -> Callable[[], None]:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True, timeout=10)
    return lambda: _remount(place)


def _remount(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True, timeout=10)


def _replace(place: Path) -> Callable[[], None]:
    (place / "data").rename(place / "kept")
    (place / "data").write_text("not a directory")

    def repair() -> None:
        (place / "data").unlink()
        (place / "kept").rename(place / "data")

    return repair


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True, timeout=10)
    yield place
    _remount(place)
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)


@pytest.mark.parametrize("spoil", [_make_full, _make_read_only, _replace])
def test_a_worker_that_cannot_use_its_data_directory_leaves_its_tasks_to_another(
    sqlite_fleet: Fleet, small_disk: Path, spoil: Callable[[Path], Callable[[], None]]
) -> None:
    fleet = sqlite_fleet
    sick = fleet.worker("-c", "4", FERRYMAN_DATA_DIR=str(small_disk / "data"))
    _assert_all_ran(fleet, fleet.submit(TASK), 40)
    repair = spoil(small_disk)
    healthy = fleet.worker("-c", "1")
    ids = fleet.submit(TASK, 12)
    _assert_all_ran(fleet, ids, 90)
    # Nothing may have been claimed by the sick worker if the healthy one was faster.
    if _refusals(fleet, ids):
        (hold,) = _holds(fleet, sick)
        assert hold.kind is HoldKind.DATA_DIRECTORY and "the data directory cannot be used" in hold.reason
        assert _node(fleet, sick).state is NodeState.LIVE
    assert _holds(fleet, healthy) == ()
    repair()
    wait_until(lambda: not _holds(fleet, sick), 40)
