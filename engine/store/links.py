"""Links: one row a container of a run of the chain. They lie under their task's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from engine.model.records import Link, RunKey, Token
from engine.model.states import LinkState
from engine.store.database import now_ms
from engine.store.tables import links

_POSITION = ("stdout_stamp", "stdout_frames", "stderr_stamp", "stderr_frames")

# Built once, as in engine.store.tasks.
_INSERT = links.insert()
_IN_RUN = sa.and_(
    links.c.task_id == sa.bindparam("the_task"),
    links.c.attempt == sa.bindparam("the_attempt"),
    links.c.origin == sa.bindparam("the_origin"),
)
_OF_RUN = sa.select(links).where(_IN_RUN).order_by(links.c.link)
_AT = sa.and_(_IN_RUN, links.c.link == sa.bindparam("the_link"))
_CONFIRM = (
    links.update()
    .where(
        _AT,
        links.c.state != LinkState.ENDED,
        sa.or_(links.c.confirmed_by.is_(None), links.c.confirmed_by < sa.bindparam("the_delivery")),
    )
    .values(state=LinkState.CONFIRMED, started_at=sa.func.coalesce(links.c.started_at, now_ms()))
)
_ENDED = {"state": LinkState.ENDED, "ended_at": now_ms()}
_END = (
    links.update()
    .where(_AT, links.c.state == LinkState.CONFIRMED, links.c.container_id == sa.bindparam("the_container"))
    .values(_ENDED)
)
_END_WITHOUT = (
    links.update()
    .where(
        _AT,
        sa.or_(
            links.c.state == LinkState.WAITING,
            sa.and_(
                links.c.state == LinkState.CONFIRMED, links.c.confirmed_by < sa.bindparam("the_delivery")
            ),
        ),
    )
    .values(_ENDED)
)
_ABANDON = links.update().where(_AT, links.c.state == LinkState.CONFIRMED).values(_ENDED)
_SKIP = (
    links.update()
    .where(
        _IN_RUN,
        links.c.link.in_(sa.bindparam("the_links", expanding=True)),
        links.c.state == LinkState.WAITING,
    )
    .values(state=LinkState.SKIPPED)
)
_OF_TASKS = (
    sa.select(links)
    .where(links.c.task_id.in_(sa.bindparam("the_tasks", expanding=True)))
    .order_by(links.c.task_id, links.c.attempt, links.c.origin, links.c.link)
)


def _by(token: Token, origin: int, index: int) -> dict[str, Any]:
    """The parameters of _AT."""
    run = {"the_task": token.task_id, "the_attempt": token.attempt, "the_origin": origin}
    return run | {"the_link": index}


def _record(row: sa.Row[Any]) -> Link:
    found = {key: value for key, value in row._mapping.items() if key not in _POSITION}
    index = found.pop("link")
    return Link(**{**found, "index": index, "state": LinkState(found["state"])})


def insert(c: sa.Connection, rows: Sequence[Link]) -> None:
    """The links of a new run, all WAITING. A second claim of the same origin cannot be: the task row guards."""
    c.execute(
        _INSERT,
        [
            {
                "task_id": link.task_id,
                "attempt": link.attempt,
                "origin": link.origin,
                "link": link.index,
                "kind": link.kind,
                "name": link.name,
                "image": link.image,
                "always": link.always,
                "state": link.state,
            }
            for link in rows
        ],
    )


def of_run(c: sa.Connection, run: RunKey) -> list[Link]:
    """The links of one run, in their order."""
    key = {"the_task": run.task_id, "the_attempt": run.attempt, "the_origin": run.origin}
    return [_record(row) for row in c.execute(_OF_RUN, key)]


def of_tasks(c: sa.Connection, task_ids: Sequence[str]) -> list[Link]:
    """All links of these tasks, run after run, each in its order."""
    return [_record(row) for row in c.execute(_OF_TASKS, {"the_tasks": list(task_ids)})]


def confirm(c: sa.Connection, token: Token, origin: int, index: int, container_id: str) -> bool:
    """The container is the link's, unless it ended or this or a newer delivery confirmed it already."""
    confirmed = {"container_id": container_id, "confirmed_by": token.delivery}
    guard = _by(token, origin, index) | {"the_delivery": token.delivery}
    return c.execute(_CONFIRM, guard | confirmed).rowcount == 1


def end(
    c: sa.Connection,
    at: tuple[Token, int, int],
    container_id: str | None,
    exit_code: int,
    error: str | None,
    timings: Mapping[str, int] | None = None,
) -> bool:
    """CONFIRMED -> ENDED for this container.

    None: no container could be made under this token; the link ends from WAITING, or from CONFIRMED by an
    older delivery whose container is gone. What this very delivery confirmed is another thread's to end.
    """
    values = _by(*at) | {
        "exit_code": exit_code,
        "error": error,
        "timings": dict(timings) if timings else None,
    }
    if container_id:
        return c.execute(_END, values | {"the_container": container_id}).rowcount == 1
    return c.execute(_END_WITHOUT, values | {"the_delivery": at[0].delivery}).rowcount == 1


def abandon(c: sa.Connection, token: Token, origin: int, index: int, why: str) -> None:
    """CONFIRMED -> ENDED without an exit code: the run is over, and its container's end is nobody's to write."""
    c.execute(_ABANDON, _by(token, origin, index) | {"error": why})


def skip(c: sa.Connection, token: Token, origin: int, indexes: Sequence[int]) -> None:
    """WAITING -> SKIPPED: a link before them failed."""
    if indexes:
        run = {"the_task": token.task_id, "the_attempt": token.attempt, "the_origin": origin}
        c.execute(_SKIP, run | {"the_links": list(indexes)})
