"""Chains on real workers: where links run, in which order, and how many at once."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from engine.dispatch.chain import Route
from engine.dispatch.flusher import Publisher, link_titles
from engine.model.records import Link
from engine.model.states import TaskState
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

CHAIN = """
name: chain
image: busybox:1.36
cmd: ["true"]
pre: [{image: "busybox:1.36", cmd: ["true"]}]
post: [{image: "busybox:1.36", cmd: ["true"]}]
"""


def most_at_once(links: Iterable[Link]) -> int:
    """Return the largest number of links whose times overlap."""
    edges = sorted(edge for link in links for edge in ((link.started_at or 0, 1), (link.ended_at or 0, -1)))
    running = most = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return most


def test_all_links_of_a_chain_run_on_the_node_that_took_the_first(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    fleet.worker("-c", "2")
    fleet.worker("-c", "2")
    names = {node.name for node in fleet.nodes()}
    assert len(names) == 2, "two plain workers on one host are two nodes"
    ids = fleet.submit(CHAIN, 8)
    ended = fleet.ended(ids, 90)
    assert {task.state for task in ended} == {TaskState.COMPLETED}
    ran_on = {}
    for id in ids:
        nodes = {event.node for event in fleet.events(id) if event.kind == "link"}
        assert len(nodes) == 1, f"{id} ran on {nodes}"
        ran_on[id] = nodes.pop()
    assert len(set(ran_on.values())) == 2, "both nodes had work"


def test_a_queue_keeps_to_itself_and_to_its_slots(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    default = fleet.worker("-c", "2")
    transcoding = fleet.worker("-Q", "transcoding", "-c", "3")
    ids = fleet.submit('name: t\nqueue: transcoding\nimage: busybox:1.36\ncmd: [sleep, "0.4"]\n', 12)
    others = fleet.submit("name: d\nimage: busybox:1.36\ncmd: ['true']\n", 3)
    ended = fleet.ended(ids + others, 60)
    names = {node.id: node.name for node in fleet.nodes()}
    assert {names[task.node or ""] for task in ended[:12]} == {transcoding.name}
    assert {names[task.node or ""] for task in ended[12:]} == {default.name}
    assert most_at_once(link for id in ids for link in fleet.links(id)) == 3


def test_started_chains_go_before_new_ones_whatever_their_priority(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    ids = fleet.submit(CHAIN, 2) + fleet.submit(CHAIN + "priority: 9\n", 2)
    fleet.worker("-c", "1")
    fleet.ended(ids, 60)
    began = sorted((link.started_at or 0, id) for id in ids for link in fleet.links(id))
    order = [id for _, id in began]
    assert [order[n] for n in range(0, 12, 3)] == [order[n + 2] for n in range(0, 12, 3)], order
    assert set(order[:6]) == set(ids[2:]), "priority 9 first"


def test_a_duplicate_of_each_message_at_each_moment_starts_nothing(sqlite_fleet: Fleet) -> None:
    fleet = sqlite_fleet
    (task_id,) = fleet.submit(
        """
name: once
volumes: [/data]
image: busybox:1.36
run: "echo main >> /data/log; sleep 0.5"
pre: [{image: "busybox:1.36", run: "echo pre >> /data/log; sleep 0.5"}]
post: [{image: "busybox:1.36", run: "echo post >> /data/log; sleep 0.5; cat /data/log"}]
"""
    )
    fleet.worker("-c", "4")
    publisher = Publisher(fleet.settings.broker)

    def doubled() -> bool:
        task = fleet.task(task_id)
        for index in range(3):
            for queue in ("default", f"!{task.node}"):
                publisher.send(task, Route(queue, 0, link_titles(task), alone=True), index)
        return task.state.ended

    wait_until(doubled, 40, 0.1)
    doubled()
    assert fleet.task(task_id).state is TaskState.COMPLETED, fleet.task(task_id).error
    wait_until(lambda: not fleet.left_over(), 15)
    assert fleet.log(task_id) == "pre\nmain\npost\n"


@pytest.mark.parametrize(
    "count", [pytest.param(12, id="12"), pytest.param(500, id="500", marks=pytest.mark.long)]
)
@pytest.mark.timeout(600)
def test_no_claim_is_lost_when_tasks_come_one_after_another(fleet: Fleet, count: int) -> None:
    worker = fleet.worker("-c", "2")
    for _ in range(count):
        (id,) = fleet.submit("name: one\nimage: busybox:1.36\ncmd: ['true']\n")
        (task,) = fleet.ended([id], 30)
        assert task.state is TaskState.COMPLETED
    said = fleet.celery("inspect", "ferryman", "--json")
    assert json.loads(said)[worker.name]["claims_lost"] == 0
