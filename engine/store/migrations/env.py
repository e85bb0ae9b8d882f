"""Entry point of Alembic: runs the migrations on the connection that `engine.store.upgrade` passes."""

from alembic import context

from engine.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    # Part of the caller's transaction, so that two processes cannot both fill the database.
    transactional_ddl=False,
)
context.run_migrations()
