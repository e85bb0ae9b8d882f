"""Add the holds of nodes, and the refusals of a task's machines."""

from alembic import op
from sqlalchemy import JSON, Column

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("nodes", Column("holds", JSON, nullable=False, server_default="[]"))
    op.add_column("tasks", Column("refusals", JSON, nullable=False, server_default="[]"))
