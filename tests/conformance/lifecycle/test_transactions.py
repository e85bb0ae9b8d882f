"""Cost of a link in the store: claim, confirm and end are one transaction each, and so is a submission."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from engine.lifecycle.claim import claim
from engine.lifecycle.confirm import confirm
from engine.lifecycle.resend import resend
from engine.lifecycle.submit import submit
from engine.model.states import TaskState
from tests.support.callers import TESTER, by
from tests.support.task_rows import spec
from tests.support.verb_world import World


@contextmanager
def _transactions(world: World) -> Iterator[list[None]]:
    """Yield a list that gets one None for each transaction that begins."""
    begun: list[None] = []

    def begins(connection: sa.Connection) -> None:
        begun.append(None)

    engines = {world.db._write, world.db._read}
    for engine in engines:
        sa.event.listen(engine, "begin", begins)
    try:
        yield begun
    finally:
        for engine in engines:
            sa.event.remove(engine, "begin", begins)


def test_a_submission_a_claim_a_confirm_and_an_end_are_one_transaction_each(world: World) -> None:
    world.live("n1")
    with _transactions(world) as begun:
        task = submit(world.installation, TESTER, spec())
        assert len(begun) == 1, "a submission"
        found = claim(world.installation, by("n1"), task.token)
        assert found is not None and len(begun) == 2, "a claim"
        assert confirm(world.installation, TESTER, found, "c0") and len(begun) == 3, "a confirm"
        world.end(found)
        assert len(begun) == 4, "an end"
    assert world.task(task.id).state is TaskState.COMPLETED


def test_a_batch_that_is_sent_again_is_one_transaction(world: World) -> None:
    sent = [world.scheduled() for _ in range(5)]
    with _transactions(world) as begun:
        assert resend(world.installation, TESTER, sent, "test") == 5
    assert len(begun) == 1
