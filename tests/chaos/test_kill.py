"""kill -9 of a worker at each point between two effects: the task ends once, as if nothing had happened."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import docker
import pytest
import sqlalchemy as sa

from engine.lifecycle.cancel import cancel
from engine.model.states import LinkState, NodeState, TaskState
from engine.store.tables import tasks
from tests.support.api_server import running_api
from tests.support.callers import TESTER
from tests.support.counting_task import (
    COUNT_UNTIL_RELEASED,
    assert_ran_once_until_released,
    wait_until_counting,
)
from tests.support.faulty_docker import FaultyDocker
from tests.support.fleet import ROOT, Fleet, Worker
from tests.support.held_task import release
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

CHAIN = """
name: survive
image: busybox:1.36
volumes: [/data]
run: cat /data/pre > $FERRYMAN_OUTPUT
pre:
  - {name: write, image: "busybox:1.36", run: "sleep 0.5; echo -n kept > /data/pre"}
post:
  - {name: check, image: "busybox:1.36", run: "cat /data/pre"}
retry: {limit: 0}
"""
SLOW = CHAIN.replace("sleep 0.5", "sleep 6")
LATE = CHAIN + "timeout: 1s\n"
FAILS = "name: fails\nimage: busybox:1.36\nrun: exit 3\nretry: {limit: 1, initialDelay: 100ms}\n"
ALWAYS = FAILS.replace("limit: 1", "limit: 0") + (
    'post:\n  - {name: tidy, image: "busybox:1.36", always: true, run: "echo tidied"}\n'
)
LONG = "name: long\nimage: busybox:1.36\ncmd: [sleep, '8']\n"

CANCEL = """
import sys
from engine.lifecycle import cancel
from engine.lifecycle.installation import Installation
from engine.model.records import Caller
from engine.settings import Settings
from engine.store.database import Database
settings = Settings.from_env()
installation = Installation(Database(settings.store), settings, "i1")
getattr(cancel, sys.argv[1])(installation, Caller("user", "tester"), sys.argv[2])
"""


def _died(worker: Worker) -> None:
    assert worker.process.wait(60) == -signal.SIGKILL, worker.output()


def _workers(fleet: Fleet, *wanted: tuple[str, str], **environment: str) -> list[Worker]:
    """Start a worker for each queue that dies at the queue's point; all at once, because a start is mostly waiting."""
    before = {node.id for node in fleet.nodes()}
    begun = [
        fleet.worker("-c", "1", "-Q", queue, wait=False, FERRYMAN_FAILPOINT=point, **environment)
        for queue, point in wanted
    ]
    wait_until(lambda: len(_live(fleet) - before) == len(wanted), 90)
    return begun


def _live(fleet: Fleet) -> set[str]:
    return {node.id for node in fleet.nodes() if node.state is NodeState.LIVE}


def _alone(fleet: Fleet, point: str, text: str) -> str:
    doomed = fleet.worker("-c", "1", FERRYMAN_FAILPOINT=point)
    (task_id,) = fleet.submit(text)
    _died(doomed)
    return task_id


def _second(fleet: Fleet, first: str, point: str, text: str, **environment: str) -> str:
    """Let one worker die at `first`, and one of another queue at `point` while it repairs the first death."""
    doomed, repairer = _workers(fleet, ("default", first), ("other", point), **environment)
    (task_id,) = fleet.submit(text)
    _died(doomed)
    _died(repairer)
    return task_id


def _adopting(fleet: Fleet, point: str, text: str) -> str:
    return _second(fleet, "go.started", point, text)


def _restarting(fleet: Fleet, point: str, text: str) -> str:
    return _second(fleet, "claim.committed", point, text, FERRYMAN_GRACE_MIN_SECONDS="0.5")


def _timing_out(fleet: Fleet, point: str, text: str) -> str:
    return _second(fleet, "claim.committed", point, text, FERRYMAN_GRACE_MIN_SECONDS="60")


def _without_a_thread(fleet: Fleet, point: str, text: str) -> str:
    """Let the task's body raise: the row names the node, and none of its threads works on the task."""
    planted = "tests.support.planted_worker"
    doomed = fleet.worker("-c", "1", module=planted, FERRYMAN_FAILPOINT=point)
    (task_id,) = fleet.submit(text.replace("survive", "exit"))
    _died(doomed)
    return task_id


def _joined(fleet: Fleet, point: str, text: str, module: str = "", warm: str = "0") -> str:
    """Run on a worker whose attempts join sandboxes; with none kept ready they are made after the claim."""
    doomed = fleet.worker(
        "-c",
        "1",
        module=module,
        FERRYMAN_SANDBOX="pod",
        FERRYMAN_WARM_SANDBOXES=warm,
        FERRYMAN_FAILPOINT=point,
    )
    wait_until(lambda: "containers can join a sandbox here" in doomed.output(), 40)
    (task_id,) = fleet.submit(text)
    _died(doomed)
    return task_id


def _without_its_sandbox(fleet: Fleet, point: str, text: str) -> str:
    return _joined(fleet, point, text, module="tests.support.sandboxless_worker")


def _without_its_volume(fleet: Fleet, point: str, text: str) -> str:
    """Let the worker die between links; leave, of its containers and volume, only a container that never ran."""
    task_id = _alone(fleet, "finish.committed", text)
    client = docker.from_env(timeout=30)
    (kept,) = [thing for thing in fleet.left_over() if thing.kind == "container"]
    labels = client.containers.get(kept.id).labels
    for thing in sorted(fleet.left_over(), key=lambda one: one.kind):
        if thing.kind == "container":
            client.containers.get(thing.id).remove(force=True)
        else:
            client.volumes.get(thing.name).remove()
    client.containers.create("busybox:1.36", ["true"], name=kept.name, labels=labels)
    client.close()
    _died(fleet.worker("-c", "1", wait=False, FERRYMAN_FAILPOINT=point))
    return task_id


def _refused(fleet: Fleet, point: str, text: str) -> str:
    """Let Docker answer the first create of a link by an error of its own."""
    proxy = FaultyDocker(fleet.directory)
    proxy.arm(rb"POST /[^ ]*containers/create\?name=ferryman-[^-]+-[0-9a-f]{32}-", "500")
    doomed = fleet.worker("-c", "1", FERRYMAN_FAILPOINT=point, FERRYMAN_DOCKER_HOST=proxy.url)
    (task_id,) = fleet.submit(text)
    _died(doomed)
    proxy.close()
    return task_id


def _without_its_message(fleet: Fleet, point: str, text: str) -> str:
    (task_id,) = fleet.submit(text)
    wait_until(lambda: fleet.task(task_id).state is TaskState.SCHEDULED, 20)
    for key in fleet.redis.client.keys(f"{fleet.settings.broker.broker_prefix}default*"):
        fleet.redis.client.delete(key)
    _died(fleet.worker("-c", "1", wait=False, FERRYMAN_FAILPOINT=point))
    return task_id


def _unsent(fleet: Fleet, point: str, text: str) -> str:
    """Let only workers send messages: a due task waits for the first of them."""
    fleet.flusher.stop()
    (task_id,) = fleet.submit(text)
    _died(fleet.worker("-c", "1", wait=False, FERRYMAN_FAILPOINT=point))
    return task_id


def _submitting(fleet: Fleet, point: str, text: str) -> str:
    """Let the API die over a submission; the client submits again when the task is not there."""
    with running_api(fleet.settings.replace(failpoint=point)) as server:
        asked = urllib.request.Request(f"{server.url}/task", text.encode(), {"Content-Type": "text/yaml"})
        with pytest.raises((http.client.HTTPException, ConnectionError, urllib.error.URLError)):
            urllib.request.urlopen(asked, timeout=30)
    with fleet.db.read() as c:
        kept = list(c.scalars(sa.select(tasks.c.id)))
    assert len(kept) == (point == "submit.committed"), "all of it or nothing"
    return kept[0] if kept else fleet.submit(text)[0]


def _runs(fleet: Fleet, task_id: str) -> bool:
    return any(link.state is LinkState.CONFIRMED for link in fleet.links(task_id))


def _cancelling(fleet: Fleet, point: str, text: str) -> str:
    """Let the API's process die over a cancel."""
    fleet.worker("-c", "1")
    (task_id,) = fleet.submit(text)
    wait_until(lambda: _runs(fleet, task_id), 20)
    verb = point.partition(".")[0]
    words = [sys.executable, "-c", CANCEL, verb, task_id if verb == "cancel" else fleet.task(task_id).job_id]
    env = os.environ | fleet.settings.environment() | {"FERRYMAN_FAILPOINT": point}
    done = subprocess.run(words, env=env, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    return task_id


def _cancelled(fleet: Fleet, point: str, text: str) -> str:
    doomed = fleet.worker("-c", "1", FERRYMAN_FAILPOINT=point)
    (task_id,) = fleet.submit(text)
    _cancel_running(fleet, task_id)
    _died(doomed)
    return task_id


def _cancel_running(fleet: Fleet, task_id: str) -> None:
    wait_until(lambda: _runs(fleet, task_id), 40)
    cancel(fleet.installation, TESTER, task_id)


COMPLETED, FAILED, CANCELLED = TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED


@dataclass(frozen=True)
class Case:
    """A point, the way to reach it, the task, its expected end, and the exit codes of its last run's links."""

    point: str
    arrange: Callable[[Fleet, str, str], str] = _alone
    text: str = CHAIN
    state: TaskState = COMPLETED
    attempt: int = 1
    codes: Sequence[int | None] = (0, 0, 0)

    def __str__(self) -> str:
        return f"{self.point}-{self.arrange.__name__.strip('_')}"


AGAIN = {"text": FAILS, "state": FAILED, "attempt": 2, "codes": (3,)}
CASES = [
    Case("submit.rows", _submitting),
    Case("submit.committed", _submitting),
    Case("flush.read", _unsent),
    Case("flush.published", _alone, **AGAIN),
    Case("flush.marked", _alone, **AGAIN),
    Case("sandbox.taken", _joined),
    Case("claim.rows"),
    Case("claim.committed"),
    Case("sandbox.made", _joined),
    Case("prepare.volume"),
    Case("prepare.created"),
    Case("confirm.rows"),
    Case("confirm.committed"),
    Case("go.started"),
    Case("go.followed"),
    Case("go.ended"),
    Case("go.ended", _joined),
    Case("finish.rows"),
    Case("finish.committed"),
    Case("finish.committed", _alone, **AGAIN),
    Case("next.published", _adopting),
    Case("next.published", _alone, ALWAYS, FAILED, codes=(3, 0)),
    Case("remove.container"),
    Case("remove.volume"),
    Case("sandbox.removed", _joined),
    Case("remove.done"),
    Case("lapse.rows", _adopting),
    Case("lapse.committed", _adopting),
    Case("take_over.rows", _adopting),
    Case("take_over.committed", _adopting),
    Case("self_take_over.rows", _without_a_thread),
    Case("self_take_over.committed", _without_a_thread),
    Case("leave_sandbox.rows", _without_its_sandbox),
    Case("leave_sandbox.committed", _without_its_sandbox),
    Case("restart.rows", _restarting),
    Case("restart.committed", _restarting),
    Case("give_back.rows", _without_its_volume),
    Case("give_back.committed", _without_its_volume),
    Case("give_back.rows", _refused),
    Case("give_back.committed", _refused),
    Case("hold.rows", _refused),
    Case("hold.committed", _refused),
    Case("release.rows", _refused),
    Case("release.committed", _refused),
    Case("resend.rows", _without_its_message),
    Case("resend.committed", _without_its_message),
    Case("timeout.rows", _timing_out, LATE, FAILED, codes=(None, None, None)),
    Case("timeout.committed", _timing_out, LATE, FAILED, codes=(None, None, None)),
    Case("cancel.rows", _cancelling, SLOW),
    Case("cancel.committed", _cancelling, SLOW, CANCELLED),
    Case("cancel_job.rows", _cancelling, SLOW),
    Case("cancel_job.committed", _cancelling, SLOW, CANCELLED),
    Case("cancel.seen", _cancelled, LONG, CANCELLED),
]
#: In the short ring one by one, on this store; those of BESIDE come together. The long ring has each on both.
SHORT = {"restart.committed": "postgresql", "resend.committed": "sqlite"}
BESIDE = {
    "sqlite": ["flush.marked", "prepare.created", "go.followed", "remove.container"],
    "postgresql": ["claim.committed", "confirm.committed", "finish.committed", "cancel.seen"],
}


def _assert_ended(fleet: Fleet, task_id: str, case: Case) -> None:
    """Check that the task ended once and as the case says, with the links of its last run."""
    (task,) = fleet.ended([task_id], 90)
    said = fleet.story(task_id)
    assert (task.state, task.attempt) == (case.state, case.attempt), said
    run = [link for link in fleet.links(task_id) if link.run == task.run]
    if case.state is COMPLETED:
        assert task.result == "kept", said
    if case.state is not CANCELLED:
        assert [link.exit_code for link in run] == list(case.codes), said
    assert {link.state for link in run} <= {LinkState.ENDED, LinkState.SKIPPED}, said
    ends = [e for e in fleet.events(task_id) if e.kind == "task" and TaskState(e.to_state or "").ended]
    assert [e.to_state for e in ends] == [case.state], said


@pytest.mark.parametrize(
    ("fleet", "case"),
    [
        pytest.param(
            store,
            case,
            id=f"{case}-{store}",
            marks=() if SHORT.get(case.point) == store else pytest.mark.long,
        )
        for case in CASES
        for store in ("sqlite", "postgresql")
    ],
    indirect=["fleet"],
)
def test_a_task_survives_kill_9_of_its_worker(fleet: Fleet, case: Case) -> None:
    task_id = case.arrange(fleet, case.point, case.text)
    fleet.worker("-c", "1")
    _assert_ended(fleet, task_id, case)
    wait_until(lambda: not fleet.left_over(), 40)


@pytest.mark.parametrize(("fleet", "points"), list(BESIDE.items()), ids=list(BESIDE), indirect=["fleet"])
def test_tasks_survive_kill_9_of_several_workers_of_one_daemon(fleet: Fleet, points: list[str]) -> None:
    chosen = {case.point: case for case in reversed(CASES) if case.point in points}
    cases = [chosen[point] for point in points]
    queues = [point.replace(".", "-") for point in points]
    doomed = _workers(fleet, *zip(queues, points, strict=True))
    ids = []
    for case, queue in zip(cases, queues, strict=True):
        ids += fleet.submit(f"{case.text}queue: {queue}\n")
        if case.state is CANCELLED:
            _cancel_running(fleet, ids[-1])
    for worker in doomed:
        _died(worker)
    fleet.worker("-c", "4", "-Q", ",".join(queues))
    for case, task_id in zip(cases, ids, strict=True):
        _assert_ended(fleet, task_id, case)
    wait_until(lambda: not fleet.left_over(), 40)


def test_two_tasks_survive_kill_9_of_both_their_adopters(sqlite_fleet: Fleet) -> None:
    """Whichever adopter takes over which task, the surviving one takes over from the other."""
    fleet = sqlite_fleet
    first = [("a", "go.started"), ("b", "go.started")]
    doomed = _workers(fleet, *first, ("c", "take_over.committed"), ("d", "next.published"))
    ids = [fleet.submit(f"{CHAIN}queue: {queue}\n")[0] for queue in ("a", "b")]
    for worker in doomed:
        _died(worker)
    fleet.worker("-c", "2", "-Q", "a,b")
    for task_id in ids:
        _assert_ended(fleet, task_id, Case("two adopters"))
    wait_until(lambda: not fleet.left_over(), 40)


one_store = pytest.mark.parametrize(
    "fleet", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)


@one_store
def test_a_running_container_is_adopted_with_its_log_whole(fleet: Fleet) -> None:
    first, second = _workers(fleet, ("default", ""), ("other", ""))
    (task_id,) = fleet.submit(COUNT_UNTIL_RELEASED)
    before = wait_until_counting(fleet, task_id)
    taker = {node.id for node in fleet.nodes() if "other" in node.queues}
    first.kill()
    wait_until(lambda: fleet.task(task_id).delivery == 2, 40)
    release(before)
    (task,) = fleet.ended([task_id], 40)
    assert_ran_once_until_released(fleet, task_id, before)
    assert (task.attempt, task.crashes) == (1, 1)
    (adopted,) = [e for e in fleet.events(task_id) if e.kind == "repair"]
    assert re.match(r"adopted from node \w{8} \(LAPSED\): container \w{12} still runs", adopted.reason or "")
    assert {adopted.node} == taker, "a worker of another queue took it"
    assert second.process.poll() is None
    (dead,) = [node.id for node in fleet.nodes() if node.state is NodeState.LAPSED]
    wait_until(lambda: not _in_broker(fleet, dead), 20)
    assert _in_broker(fleet, adopted.node or ""), "a living node's queue stays"


def _in_broker(fleet: Fleet, node_id: str) -> bool:
    """Return True while the node's queue has a list or a binding in Redis."""
    prefix = fleet.settings.broker.broker_prefix
    bindings = fleet.redis.client.smembers(f"{prefix}_kombu.binding.default")
    return bool(fleet.redis.client.keys(f"{prefix}!{node_id}*")) or any(node_id in text for text in bindings)


@one_store
def test_sigterm_leaves_the_container_to_the_next_worker(fleet: Fleet) -> None:
    first = fleet.worker("-c", "1")
    (task_id,) = fleet.submit(COUNT_UNTIL_RELEASED)
    before = wait_until_counting(fleet, task_id)
    first.process.terminate()
    assert first.process.wait(15) == 0, first.output()
    assert [n.state for n in fleet.nodes()] == [NodeState.LEFT]
    fleet.worker("-c", "1")
    wait_until(lambda: fleet.task(task_id).delivery == 2, 40)
    release(before)
    (task,) = fleet.ended([task_id], 40)
    assert (task.state, task.crashes) == (TaskState.COMPLETED, 0), task.error
    assert_ran_once_until_released(fleet, task_id, before)
