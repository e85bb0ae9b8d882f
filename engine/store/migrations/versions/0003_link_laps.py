"""A link tells how long each of its steps took."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("links", sa.Column("timings", sa.JSON(), nullable=True))
