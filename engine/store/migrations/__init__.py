"""Alembic's migrations. The first process to open the database applies them, see `engine.store.upgrade`."""
