"""confirm: each guard violated once, and the good way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.lifecycle import nodes
from engine.lifecycle.cancel import cancel
from engine.lifecycle.claim import resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.take_over import self_take_over, take_over
from engine.model.records import Token
from engine.model.states import LinkState, NodeState
from tests.support.callers import TESTER, by
from tests.support.verb_world import World, wrong_tokens


def test_a_container_becomes_the_links(world: World) -> None:
    found = world.claimed()
    assert confirm(world.installation, TESTER, found, "c0")
    link = world.links(found.token.task_id)[0]
    assert (link.state, link.container_id, link.confirmed_by) == (LinkState.CONFIRMED, "c0", 1)
    assert link.started_at
    last = world.events(found.token.task_id)[-1]
    assert (last.kind, last.from_state, last.to_state, last.node) == ("link", "WAITING", "CONFIRMED", "n1")


@pytest.mark.parametrize("wrong", sorted(wrong_tokens(Token("", 1, 1))))
def test_no_container_is_confirmed_under_a_wrong_token(world: World, wrong: str) -> None:
    found = world.claimed()
    stale = replace(found, token=wrong_tokens(found.token)[wrong])
    with world.unchanged():
        assert not confirm(world.installation, TESTER, stale, "c0")


@pytest.mark.parametrize("how", [NodeState.LAPSED, NodeState.LEFT])
def test_no_container_is_confirmed_when_its_node_is_gone(world: World, how: NodeState) -> None:
    found = world.claimed()
    _ = world.lapse("n1") if how is NodeState.LAPSED else world.leave("n1")
    with world.unchanged():
        assert not confirm(world.installation, TESTER, found, "c0")


def test_a_leaving_node_still_confirms(world: World) -> None:
    found = world.claimed()
    assert nodes.drain(world.installation, TESTER, "n1")
    assert confirm(world.installation, TESTER, found, "c0")


def test_no_container_is_confirmed_twice_by_one_delivery(world: World) -> None:
    found = world.confirmed()
    with world.unchanged():
        assert not confirm(world.installation, TESTER, found, "c0")
        assert not confirm(world.installation, TESTER, found, "other")


def test_an_older_delivery_does_not_confirm_after_a_newer_one(world: World) -> None:
    old = world.claimed()
    token = self_take_over(world.installation, by("n1"), old.token, "test")
    assert token is not None
    new = resume(world.installation, by("n1"), token)
    assert new is not None and confirm(world.installation, TESTER, new, "c1")
    with world.unchanged():
        assert not confirm(world.installation, TESTER, old, "c0")


def test_a_newer_delivery_confirms_over_an_older_one(world: World) -> None:
    old = world.confirmed()
    world.lapse("n1")
    token = take_over(world.installation, by(world.live("n2")), old.token, "found")
    assert token is not None
    new = resume(world.installation, by("n2"), token)
    assert new is not None and confirm(world.installation, TESTER, new, "c1")
    link = world.links(token.task_id)[0]
    assert (link.container_id, link.confirmed_by) == ("c1", 2)
    last = world.events(token.task_id)[-1]
    assert (last.kind, last.from_state, last.to_state, last.node) == ("link", "CONFIRMED", "CONFIRMED", "n2")


def test_no_container_is_confirmed_for_an_ended_link(world: World) -> None:
    found = world.confirmed(post=1)
    world.end(found)
    newer = self_take_over(world.installation, by("n1"), found.token, "test")
    assert newer is not None
    again = replace(found, token=newer, order=replace(found.order, delivery=2))
    with world.unchanged():
        assert not confirm(world.installation, TESTER, again, "c1")


def test_no_container_is_confirmed_before_the_links_before_it_ended(world: World) -> None:
    found = world.claimed(pre=1)
    later = replace(found, order=replace(found.order, index=1, kind="main"))
    with world.unchanged():
        assert not confirm(world.installation, TESTER, later, "c1")


def test_no_container_is_confirmed_of_a_cancelled_task(world: World) -> None:
    found = world.claimed()
    cancel(world.installation, TESTER, found.token.task_id)
    with world.unchanged():
        assert not confirm(world.installation, TESTER, found, "c0")


def test_no_container_is_confirmed_for_a_skipped_link(world: World) -> None:
    found = world.confirmed(post=2, always=True)
    world.end(found, 1)
    assert [link.state for link in world.links(found.token.task_id)] == ["ENDED", "SKIPPED", "WAITING"]
    skipped = replace(found, order=replace(found.order, index=1, kind="post"))
    with world.unchanged():
        assert not confirm(world.installation, TESTER, skipped, "c1")
