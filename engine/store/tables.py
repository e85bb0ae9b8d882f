"""Tables and indexes. Times are milliseconds since 1970 by the database's clock. See docs/protocol.rst."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite gives rowids to INTEGER PRIMARY KEY only.
Serial = BigInteger().with_variant(Integer, "sqlite")
#: Ids are ASCII.
Id = String(64)

#: One row: the installation that owns this database. Every container, message and process carries its id.
installation = Table(
    "installation",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("id", Id, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

#: Jobs, as users submitted them.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("state", String(16), nullable=False),
    Column("tags", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("result", Text),
    Column("error", Text),
    # The course of the job (engine.model.tree.Course): where in its tasks it is, and what it will end as.
    Column("round", Integer, nullable=False, server_default="1"),
    Column("phase", Integer, nullable=False, server_default="0"),
    Column("position", Integer, nullable=False, server_default="1"),
    Column("task_count", Integer, nullable=False, server_default="1"),
    Column("failure_count", Integer, nullable=False, server_default="0"),
    Column("finally_count", Integer, nullable=False, server_default="0"),
    Column("has_output", Boolean, nullable=False, server_default=false()),
    Column("verdict", String(16)),
    Column("is_closed", Boolean, nullable=False, server_default=false()),
    Column("todo", String(16)),
    Column("parent_task", Id),
    Index("ix_jobs_created_at_id", "created_at", "id"),
    Index("ix_jobs_state_created_at", "state", "created_at"),
    # For retention, which looks for the jobs that ended first.
    Index("ix_jobs_ended_at", "ended_at"),
)

#: Units of work: the rows that every guard reads. PENDING rows are the outbox.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("queue", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("timeout_ms", BigInteger),
    # JSON: [[kind, name, image, always], …]: the chain, so that dispatch reads no spec.
    Column("plan", JSON, nullable=False, server_default="[]"),
    Column("not_before", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("delivery", Integer, nullable=False),
    Column("origin", Integer, nullable=False),
    Column("node", Id),
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
    # JSON: [[at, node, link, reason], …]: machines that could not begin a link of this attempt.
    Column("refusals", JSON, nullable=False, server_default="[]"),
    Index("ix_tasks_job_id_position", "job_id", "position"),
    # Partial: only tasks that wait or run are looked up by state, and those are few compared with ended ones.
    Index(
        "ix_tasks_due",
        "state",
        "not_before",
        postgresql_where=text("state IN ('PENDING', 'SCHEDULED', 'RUNNING')"),
        sqlite_where=text("state IN ('PENDING', 'SCHEDULED', 'RUNNING')"),
    ),
    Index(
        "ix_tasks_node",
        "node",
        postgresql_where=text("state = 'RUNNING'"),
        sqlite_where=text("state = 'RUNNING'"),
    ),
)

#: Tries of the whole chain; only the time-out reads them in a guard.
attempts = Table(
    "attempts",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("node", Id),
    # The sandbox whose network namespace the links share; NULL: they run without a sandbox.
    Column("sandbox", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("exit_code", Integer),
    Column("error", Text),
)

#: Containers of a run of the chain: inserted by the claim, never reset. The task's lock covers them.
links = Table(
    "links",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("origin", Integer, primary_key=True, autoincrement=False),
    Column("link", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(8), nullable=False),
    Column("name", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("always", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("container_id", Id),
    Column("confirmed_by", Integer),
    Column("exit_code", Integer),
    Column("error", Text),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    # Milliseconds of each span (engine.runtime.timings), for people; NULL until the link ended.
    Column("timings", JSON(none_as_null=True)),
    # How far the container's log is stored: for each stream, the last frame's stamp and the frames with it.
    Column("stdout_stamp", String(40), nullable=False, server_default=""),
    Column("stdout_frames", Integer, nullable=False, server_default="0"),
    Column("stderr_stamp", String(40), nullable=False, server_default=""),
    Column("stderr_frames", Integer, nullable=False, server_default="0"),
)

#: Worker processes. Never deleted while a RUNNING row names them.
nodes = Table(
    "nodes",
    metadata,
    Column("id", Id, primary_key=True),
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
    # JSON: [[kind, reason, since], …]: why the node claims nothing for now. No guard reads it.
    Column("holds", JSON, nullable=False, server_default="[]"),
    Index("ix_nodes_state", "state"),
)

#: One row: the last lapse number. A counter that is locked, not a sequence, so numbers are in commit order.
lapses = Table(
    "lapses",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)

#: Events. On PostgreSQL they are read up to the oldest open transaction, in the order of (txid, id).
events = Table(
    "events",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    # PostgreSQL: pg_current_xact_id(). SQLite: 0, because transactions write one after the other.
    Column("txid", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("job_id", Id),
    Column("task_id", Id),
    Column("attempt", Integer),
    Column("delivery", Integer),
    Column("kind", String(32), nullable=False),
    Column("from_state", String(16)),
    Column("to_state", String(16)),
    Column("node", Id),
    # The caller of the verb, as `kind:name`.
    Column("author", Text, nullable=False),
    Column("reason", Text),
    Index("ix_events_txid_id", "txid", "id"),
    Index("ix_events_task_id", "task_id", "txid", "id"),
    Index("ix_events_job_id", "job_id", "txid", "id"),
    Index("ix_events_time", "time"),
)

#: Output of a task's links in order: `seq` counts chunks, and a gap in it is the log gap; `first_line` counts the
#: lines before the chunk, missing ones too.
log_chunks = Table(
    "log_chunks",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("origin", Integer, nullable=False),
    Column("link", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("first_line", BigInteger, nullable=False),
    # JSON: [[stream, stamp, text], …]; stream 0 is a line from Ferryman (pull progress).
    Column("frames", Text, nullable=False),
    # Of the texts in the frames.
    Column("bytes", Integer, nullable=False),
)

#: One row for each task: the next chunk's place, the bytes kept and missing, and the chunk that is dropped next
#: (`tail_seq`; NULL until the half that always stays is full).
log_heads = Table(
    "log_heads",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("next_seq", Integer, nullable=False),
    Column("next_line", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("missing_bytes", BigInteger, nullable=False),
    Column("tail_seq", Integer),
)
