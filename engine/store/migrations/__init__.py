"""Alembic's migrations, applied by `engine.store.schema` in the transaction of whoever comes first."""
