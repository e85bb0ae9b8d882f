"""Add the course of a job: its phase, its position, what it will end as, and what is to be done in it."""

from alembic import op
from sqlalchemy import Boolean, Column, Integer, String, false

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
