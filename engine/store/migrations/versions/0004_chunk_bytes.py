"""A chunk of a log tells how many bytes of text it holds; of older ones (NULL) the text itself tells."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("log_chunks", sa.Column("bytes", sa.Integer(), nullable=True))
