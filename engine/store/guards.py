"""Guards of compare-and-sets, each under a public key: the verb or transition, a dot, the condition.

Statements are constants, built when their module is imported, so a guard costs nothing afterwards. A test that
asks what a guard prevents builds the module's statements once more inside `weakened`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

#: Keys of all guards in the modules that were imported.
KEYS: set[str] = set()
#: Alternative that drops a guard. `sa.true()` would drop the guard's parameters as well.
ALWAYS: sa.ColumnElement[bool] = sa.literal_column("1 = 1", sa.Boolean())

_alternatives: dict[str, sa.ColumnElement[bool]] = {}


def guard(key: str, *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return the conditions, all of which must hold, as the guard with this key."""
    KEYS.add(key)
    condition = sa.and_(*conditions)
    return sa.or_(condition, _alternatives[key]) if key in _alternatives else condition


@contextlib.contextmanager
def weakened(alternatives: Mapping[str, sa.ColumnElement[bool]]) -> Iterator[None]:
    """Make `guard` accept what fulfils the key's alternative, while a test builds statements. For tests only."""
    _alternatives.update(alternatives)
    try:
        yield
    finally:
        for key in alternatives:
            del _alternatives[key]
