"""Add the course of a job (its phase, its position, what it will end as) and the plan of a task's chain."""

from typing import Any

from alembic import op
from sqlalchemy import JSON, Boolean, Column, Integer, MetaData, String, Table, false, select

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    numbers = {"round": "1", "phase": "0", "position": "1", "task_count": "1"}
    for name, default in (numbers | {"failure_count": "0", "finally_count": "0"}).items():
        op.add_column("jobs", Column(name, Integer, nullable=False, server_default=default))
    for name in ("has_output", "is_closed"):
        op.add_column("jobs", Column(name, Boolean, nullable=False, server_default=false()))
    op.add_column("jobs", Column("verdict", String(16)))
    op.add_column("jobs", Column("todo", String(16)))
    op.add_column("jobs", Column("parent_task", String(64)))
    op.add_column("tasks", Column("plan", JSON, nullable=False, server_default="[]"))
    _fill_plans()


def _fill_plans() -> None:
    """Plan the tasks that have not ended; nothing reads the plan of the others."""
    columns = (
        Column("id", String(64)),
        Column("state", String(16)),
        Column("spec", JSON),
        Column("plan", JSON),
    )
    tasks = Table("tasks", MetaData(), *columns)
    is_open = tasks.c.state.in_(["CREATED", "PENDING", "SCHEDULED", "RUNNING"])
    for row in op.get_bind().execute(select(tasks.c.id, tasks.c.spec).where(is_open)).all():
        op.execute(tasks.update().where(tasks.c.id == row.id).values(plan=_plan(row.spec)))


def _plan(spec: dict[str, Any]) -> list[list[Any]]:
    links = [("pre", link) for link in spec.get("pre", ())]
    links += [("main", {"image": spec.get("image", "")})]
    links += [("post", link) for link in spec.get("post", ())]
    return [
        [kind, link.get("name") or kind, link.get("image", ""), link.get("always", False)]
        for kind, link in links
    ]
