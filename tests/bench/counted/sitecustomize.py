"""Python reads this at its start where the bench says so: counts what each process asks of its database.

A process writes its count to a file of its own, so that the bench may read it at any moment.
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
