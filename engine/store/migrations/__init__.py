"""Alembic's migrations, applied by `engine.store.upgrade` in the transaction of whoever comes first."""
