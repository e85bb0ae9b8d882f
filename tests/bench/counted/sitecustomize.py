"""Module that Python imports at its start where the bench says so; counts the statements of each process.

A process writes its count to its own file, so that the bench can read it at any moment.
"""

import atexit
import itertools
import os
from pathlib import Path

import sqlalchemy as sa

_numbers = itertools.count(1)
_file = os.open(Path(os.environ["BENCH_COUNTS"]) / str(os.getpid()), os.O_CREAT | os.O_WRONLY, 0o600)
atexit.register(os.close, _file)


@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def _count(connection: object, cursor: object, statement: str, *_: object) -> None:
    # SQLite's BEGIN comes this way, PostgreSQL's does not.
    if not statement.startswith("BEGIN"):
        os.pwrite(_file, b"%20d" % next(_numbers), 0)
