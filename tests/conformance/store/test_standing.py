"""Tasks that nothing moves on, as `ferryman doctor` sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.cli.doctor import check_database
from engine.lifecycle.claim import begin_link
from engine.settings import Settings
from engine.store import standing, tables
from engine.store.database import Database
from tests.support.callers import by
from tests.support.databases import KINDS
from tests.support.verb_world import World

IDLE_MS, LOST_MS = 60_000, 400_000


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Return an empty installation."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ferryman.db"
    else:
        url = request.getfixturevalue("postgres_server").new()
    settings = Settings.from_env({}, data_dir=str(tmp_path / "data"), database_url=url)
    db = Database(settings.store)
    yield World(db, settings, db.open())
    db.close()


def _standing(world: World) -> list[tuple[str, str, int]]:
    with world.db.read() as c:
        found = standing.tasks_without_progress(c, IDLE_MS, LOST_MS)
    return [(task.id, str(task.node_state), task.past_ms // 1000) for task in found]


def _seen(world: World, node: str, past_ms: int) -> None:
    with world.db.begin() as c:
        where = tables.nodes.c.id == node
        c.execute(sa.update(tables.nodes).where(where).values(seen_at=world.now - past_ms))


def test_a_claimed_task_without_a_container_stands_after_a_minute(world: World) -> None:
    idle, runs, new = world.claimed().token, world.confirmed().token, world.claimed().token
    for token in (idle, runs):
        world.set(token.task_id, held_since=world.now - IDLE_MS - 5000)
    world.set(new.task_id, held_since=world.now - IDLE_MS + 5000)
    assert _standing(world) == [(idle.task_id, "LIVE", 65)]


def test_a_task_between_two_links_stands_from_the_end_of_the_first(world: World) -> None:
    found = world.confirmed(post=1)
    world.set(found.token.task_id, held_since=world.now - 10 * IDLE_MS)
    world.end(found)
    assert begin_link(world.installation, by("n1"), found.token, 1) is not None
    assert _standing(world) == []
    with world.db.begin() as c:
        c.execute(sa.update(tables.links).where(tables.links.c.link == 0).values(ended_at=world.now - 70_000))
    assert _standing(world) == [(found.token.task_id, "LIVE", 70)]


def test_a_task_of_a_node_that_ended_long_ago_stands_even_with_a_container(world: World) -> None:
    found = world.confirmed()
    world.lapse("n1")
    _seen(world, "n1", LOST_MS - 5000)
    assert _standing(world) == []
    _seen(world, "n1", LOST_MS + 5000)
    assert _standing(world) == [(found.token.task_id, "LAPSED", 405)]


def test_doctor_names_tasks_that_stand_with_a_remedy(world: World) -> None:
    found = world.claimed()
    world.set(found.token.task_id, held_since=world.now - 125_000)
    settings = world.installation.settings
    (finding,) = [f for f in check_database(settings.store, settings.cluster) if f.check.startswith("task ")]
    assert (finding.status, finding.check) == ("warn", f"task {found.token.task_id[:8]}")
    assert finding.message == "say hello has had no running container for 2m 05s on w@n1, which is LIVE"
    assert "ferryman logs" in finding.remedy
    world.lapse("n1")
    _seen(world, "n1", 24 * 3600 * 1000)
    (finding,) = [f for f in check_database(settings.store, settings.cluster) if f.check.startswith("task ")]
    assert "has stood for 1d 00h on w@n1, which is LAPSED" in finding.message
