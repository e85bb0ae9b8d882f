"""Alembic's entry: runs the migrations on the connection that `engine.store.upgrade` hands over."""

from alembic import context

from engine.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    # One transaction with the caller's, so that two first comers cannot both fill the database.
    transactional_ddl=False,
)
context.run_migrations()
