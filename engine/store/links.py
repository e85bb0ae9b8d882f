"""Links: one row for each container of a run of the chain. The task's lock covers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from engine.model.records import Link, LogPosition, RunKey, StreamPosition, Token
from engine.model.states import LinkState
from engine.store.database import now_ms
from engine.store.guards import guard
from engine.store.tables import links

_POSITION = (links.c.stdout_stamp, links.c.stdout_frames, links.c.stderr_stamp, links.c.stderr_frames)

# Built once, as in engine.store.tasks.
_INSERT = links.insert()
_OF_THIS_RUN = sa.and_(
    links.c.task_id == sa.bindparam("the_task"),
    links.c.attempt == sa.bindparam("the_attempt"),
    links.c.origin == sa.bindparam("the_origin"),
)
_OF_RUN = sa.select(links).where(_OF_THIS_RUN).order_by(links.c.link)
_THIS = sa.and_(_OF_THIS_RUN, links.c.link == sa.bindparam("the_link"))
_IS_WAITING = links.c.state == LinkState.WAITING
_IS_CONFIRMED = links.c.state == LinkState.CONFIRMED
_CONTAINER = sa.bindparam("the_container", type_=sa.String())
_DELIVERY = sa.bindparam("the_delivery", type_=sa.Integer())
_BY_OLDER_DELIVERY = links.c.confirmed_by < _DELIVERY
_CONFIRM = (
    links.update()
    .where(
        _THIS,
        guard("confirm.link_open", links.c.state != LinkState.ENDED),
        guard("confirm.newer", sa.or_(links.c.confirmed_by.is_(None), _BY_OLDER_DELIVERY)),
    )
    .values(
        state=LinkState.CONFIRMED,
        container_id=_CONTAINER,
        confirmed_by=_DELIVERY,
        started_at=sa.func.coalesce(links.c.started_at, now_ms()),
    )
)
_ENDED: dict[str, Any] = {
    "state": LinkState.ENDED,
    "ended_at": now_ms(),
    "error": sa.bindparam("the_error"),
}
_HOW: dict[str, Any] = {
    "exit_code": sa.bindparam("the_exit_code"),
    "timings": sa.bindparam("the_timings", type_=links.c.timings.type),
}
_END = (
    links.update()
    .where(
        _THIS,
        guard("finish_link.state", _IS_CONFIRMED),
        guard("finish_link.container", links.c.container_id == _CONTAINER),
    )
    .values(_ENDED | _HOW)
)
_END_WITHOUT_CONTAINER = (
    links.update()
    .where(
        _THIS,
        guard("finish_link.no_container", sa.or_(_IS_WAITING, sa.and_(_IS_CONFIRMED, _BY_OLDER_DELIVERY))),
    )
    .values(_ENDED | _HOW)
)
_RECORD_EXIT = (
    links.update()
    .where(
        _THIS,
        guard("record_exit.once", links.c.state == LinkState.ENDED, links.c.exit_code.is_(None)),
        guard("record_exit.container", links.c.container_id == _CONTAINER),
    )
    .values(_HOW)
)
_ABANDON = links.update().where(_THIS, guard("abandon_link.state", _IS_CONFIRMED)).values(_ENDED)
_SKIP = (
    links.update()
    .where(
        _OF_THIS_RUN,
        links.c.link.in_(sa.bindparam("the_links", expanding=True)),
        guard("skip_link.state", _IS_WAITING),
    )
    .values(state=LinkState.SKIPPED)
)
_IS_OPEN = sa.or_(_IS_WAITING, _IS_CONFIRMED)
_COUNT_CLOSED = sa.select(
    sa.func.coalesce(sa.func.min(sa.case((_IS_OPEN, links.c.link))), sa.func.count())
).where(_OF_THIS_RUN)
_LOG_POSITION = sa.select(*_POSITION).where(_THIS)
_SET_LOG_POSITION = (
    links.update().where(_THIS).values({column: sa.bindparam(f"the_{column.name}") for column in _POSITION})
)
_OF_TASKS = (
    sa.select(links)
    .where(links.c.task_id.in_(sa.bindparam("the_tasks", expanding=True)))
    .order_by(links.c.task_id, links.c.attempt, links.c.origin, links.c.link)
)


def _run(run: RunKey) -> dict[str, Any]:
    """Return the parameters of `_OF_THIS_RUN`."""
    return {"the_task": run.task_id, "the_attempt": run.attempt, "the_origin": run.origin}


def _link(run: RunKey, index: int, **more: Any) -> dict[str, Any]:
    """Return the parameters of `_THIS`, and more from the caller."""
    return {**_run(run), "the_link": index, **more}


def _record(row: sa.Row[Any]) -> Link:
    values = {**row._mapping, "index": row.link, "state": LinkState(row.state)}
    for name in ("link", *(column.name for column in _POSITION)):
        del values[name]
    return Link(**values)


def insert(c: sa.Connection, rows: Sequence[Link]) -> None:
    """Insert the links of a new run. The guards of the task's row keep a second claim from the same origin."""
    c.execute(_INSERT, [{"link" if k == "index" else k: v for k, v in vars(link).items()} for link in rows])


def of_run(c: sa.Connection, run: RunKey) -> list[Link]:
    """Return the links of one run, in the chain's order."""
    return [_record(row) for row in c.execute(_OF_RUN, _run(run))]


def count_closed(c: sa.Connection, run: RunKey) -> int:
    """Return the number of links of the run before the first that runs or waits; all when none does."""
    return int(c.scalar(_COUNT_CLOSED, _run(run)) or 0)


def of_tasks(c: sa.Connection, task_ids: Sequence[str]) -> list[Link]:
    """Return all links of these tasks, sorted by task, run and index."""
    return [_record(row) for row in c.execute(_OF_TASKS, {"the_tasks": list(task_ids)})]


def confirm(c: sa.Connection, token: Token, origin: int, index: int, container_id: str) -> bool:
    """Make the container the link's. Refused when the link ended or this or a newer delivery confirmed it."""
    run = RunKey(token.task_id, token.attempt, origin)
    params = _link(run, index, the_delivery=token.delivery, the_container=container_id)
    return c.execute(_CONFIRM, params).rowcount == 1


def end(
    c: sa.Connection,
    at: tuple[Token, int, int],
    container_id: str | None,
    exit_code: int,
    error: str | None,
    timings: Mapping[str, int] | None = None,
) -> bool:
    """Move the link `at` (token, origin, index) from CONFIRMED to ENDED for this container.

    `container_id` is None when no container could be made under this token. The link then ends from WAITING, or
    from CONFIRMED by an older delivery whose container is gone; what this delivery confirmed is for another
    thread to end.
    """
    token, origin, index = at
    params = _link(RunKey(token.task_id, token.attempt, origin), index, the_error=error)
    params |= {"the_exit_code": exit_code, "the_timings": dict(timings) if timings else None}
    if container_id:
        return c.execute(_END, params | {"the_container": container_id}).rowcount == 1
    return c.execute(_END_WITHOUT_CONTAINER, params | {"the_delivery": token.delivery}).rowcount == 1


def record_exit(
    c: sa.Connection,
    at: tuple[Token, int, int],
    container_id: str,
    exit_code: int,
    timings: Mapping[str, int] | None = None,
) -> bool:
    """Note how the container of a link ended that was abandoned before; the link stays ENDED."""
    token, origin, index = at
    params = _link(RunKey(token.task_id, token.attempt, origin), index, the_container=container_id)
    params |= {"the_exit_code": exit_code, "the_timings": dict(timings) if timings else None}
    return c.execute(_RECORD_EXIT, params).rowcount == 1


def abandon(c: sa.Connection, run: RunKey, index: int, why: str) -> None:
    """Move the link from CONFIRMED to ENDED without an exit code, because its run is over."""
    c.execute(_ABANDON, _link(run, index, the_error=why))


def skip(c: sa.Connection, run: RunKey, indexes: Sequence[int]) -> None:
    """Move these links from WAITING to SKIPPED, because a link before them failed."""
    if indexes:
        c.execute(_SKIP, _run(run) | {"the_links": list(indexes)})


def log_position(c: sa.Connection, run: RunKey, index: int) -> LogPosition:
    """Return how far this link's log is stored; the beginning when the link is unknown."""
    row = c.execute(_LOG_POSITION, _link(run, index)).one_or_none()
    return LogPosition(StreamPosition(*row[:2]), StreamPosition(*row[2:])) if row else LogPosition()


def set_log_position(c: sa.Connection, run: RunKey, index: int, position: LogPosition) -> None:
    """Note how far this link's log is stored."""
    out, err = position.stdout, position.stderr
    params = _link(run, index, the_stdout_stamp=out.stamp, the_stdout_frames=out.frames)
    params |= {"the_stderr_stamp": err.stamp, "the_stderr_frames": err.frames}
    c.execute(_SET_LOG_POSITION, params)
