"""Create all tables: jobs and their rows, nodes and lapses, events, logs."""

from alembic import op
from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Text, text

revision = "0001"
down_revision = None

ID = String(64)
SERIAL = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    is_open = text("state IN ('PENDING', 'SCHEDULED', 'RUNNING')")
    is_running = text("state = 'RUNNING'")
    op.create_table(
        "installation",
        Column("one", Integer, primary_key=True, autoincrement=False),
        Column("id", ID, nullable=False),
        Column("created_at", BigInteger, nullable=False),
    )
    op.create_table(
        "lapses",
        Column("one", Integer, primary_key=True, autoincrement=False),
        Column("last", BigInteger, nullable=False),
    )
    op.create_table(
        "nodes",
        Column("id", ID, primary_key=True),
        Column("name", Text, nullable=False),
        Column("host", Text, nullable=False),
        Column("state", String(16), nullable=False),
        Column("beat", BigInteger, nullable=False),
        Column("runtime_ok", Boolean, nullable=False),
        Column("looked", BigInteger, nullable=False),
        Column("lapse_no", BigInteger),
        Column("queues", JSON, nullable=False),
        Column("slots", Integer, nullable=False),
        Column("daemon", Text),
        Column("started_at", BigInteger, nullable=False),
        Column("seen_at", BigInteger, nullable=False),
        Index("ix_nodes_state", "state"),
    )
    op.create_table(
        "events",
        Column("id", SERIAL, primary_key=True),
        Column("txid", BigInteger, nullable=False),
        Column("time", BigInteger, nullable=False),
        Column("job_id", ID),
        Column("task_id", ID),
        Column("attempt", Integer),
        Column("delivery", Integer),
        Column("kind", String(32), nullable=False),
        Column("from_state", String(16)),
        Column("to_state", String(16)),
        Column("node", ID),
        Column("author", Text, nullable=False),
        Column("reason", Text),
        Index("ix_events_job_id", "job_id", "txid", "id"),
        Index("ix_events_task_id", "task_id", "txid", "id"),
        Index("ix_events_time", "time"),
        Index("ix_events_txid_id", "txid", "id"),
    )
    op.create_table(
        "jobs",
        Column("id", ID, primary_key=True),
        Column("name", Text, nullable=False),
        Column("description", Text),
        Column("state", String(16), nullable=False),
        Column("tags", JSON, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("started_at", BigInteger),
        Column("ended_at", BigInteger),
        Column("result", Text),
        Column("error", Text),
        Index("ix_jobs_created_at_id", "created_at", "id"),
        Index("ix_jobs_ended_at", "ended_at"),
        Index("ix_jobs_state_created_at", "state", "created_at"),
    )
    op.create_table(
        "tasks",
        Column("id", ID, primary_key=True),
        Column("job_id", ID, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        Column("position", Integer, nullable=False),
        Column("name", Text, nullable=False),
        Column("queue", ID, nullable=False),
        Column("priority", Integer, nullable=False),
        Column("state", String(16), nullable=False),
        Column("spec", JSON, nullable=False),
        Column("timeout_ms", BigInteger),
        Column("not_before", BigInteger, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("delivery", Integer, nullable=False),
        Column("origin", Integer, nullable=False),
        Column("node", ID),
        Column("held_since", BigInteger),
        Column("crashes", Integer, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("sent_at", BigInteger),
        Column("sends", Integer, nullable=False),
        Column("started_at", BigInteger),
        Column("ended_at", BigInteger),
        Column("exit_code", Integer),
        Column("result", Text),
        Column("error", Text),
        Index("ix_tasks_due", "state", "not_before", postgresql_where=is_open, sqlite_where=is_open),
        Index("ix_tasks_job_id_position", "job_id", "position"),
        Index("ix_tasks_node", "node", postgresql_where=is_running, sqlite_where=is_running),
    )
    op.create_table(
        "attempts",
        Column("task_id", ID, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        Column("attempt", Integer, primary_key=True, autoincrement=False),
        Column("state", String(16), nullable=False),
        Column("node", ID),
        Column("sandbox", Text),
        Column("started_at", BigInteger, nullable=False),
        Column("ended_at", BigInteger),
        Column("exit_code", Integer),
        Column("error", Text),
    )
    op.create_table(
        "links",
        Column("task_id", ID, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        Column("attempt", Integer, primary_key=True, autoincrement=False),
        Column("origin", Integer, primary_key=True, autoincrement=False),
        Column("link", Integer, primary_key=True, autoincrement=False),
        Column("kind", String(8), nullable=False),
        Column("name", Text, nullable=False),
        Column("image", Text, nullable=False),
        Column("always", Boolean, nullable=False),
        Column("state", String(16), nullable=False),
        Column("container_id", ID),
        Column("confirmed_by", Integer),
        Column("exit_code", Integer),
        Column("error", Text),
        Column("started_at", BigInteger),
        Column("ended_at", BigInteger),
        Column("timings", JSON(none_as_null=True)),
        Column("stdout_stamp", String(40), nullable=False, server_default=""),
        Column("stdout_frames", Integer, nullable=False, server_default="0"),
        Column("stderr_stamp", String(40), nullable=False, server_default=""),
        Column("stderr_frames", Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "log_chunks",
        Column("task_id", ID, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        Column("seq", Integer, primary_key=True, autoincrement=False),
        Column("attempt", Integer, nullable=False),
        Column("origin", Integer, nullable=False),
        Column("link", Integer, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("first_line", BigInteger, nullable=False),
        Column("frames", Text, nullable=False),
        Column("bytes", Integer, nullable=False),
    )
    op.create_table(
        "log_heads",
        Column("task_id", ID, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        Column("next_seq", Integer, nullable=False),
        Column("next_line", BigInteger, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("missing_bytes", BigInteger, nullable=False),
        Column("tail_seq", Integer),
    )
