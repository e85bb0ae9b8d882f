"""A log beyond its bound keeps its newest chunks: which chunk a cut takes next."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("log_heads", sa.Column("tail_seq", sa.Integer(), nullable=True))
