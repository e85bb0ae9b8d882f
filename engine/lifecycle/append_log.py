"""append_log: a link's output becomes part of the stored log, under the token."""

from __future__ import annotations

from collections.abc import Sequence

from engine.lifecycle.assignment import Assignment
from engine.lifecycle.installation import Installation
from engine.model.records import LogPosition
from engine.store import logs


def append_log(
    installation: Installation,
    assignment: Assignment,
    pieces: Sequence[logs.Piece],
    position: LogPosition,
    next_seq: int,
) -> int | None:
    """Store pieces of the link's log as chunk `next_seq`, and the position up to which the log was read.

    Return the number of the next chunk; a call that is repeated, because nobody answered, stores nothing twice.
    Return None, with nothing written, when the task is neither RUNNING under this token nor was CANCELLED under it a
    moment ago: another delivery reads the container's log from the stored position.
    """
    order, runtime = assignment.order, installation.settings.runtime
    bounds = logs.Bounds(runtime.log_bytes, installation.last_words_ms)
    with installation.db.begin() as c:
        return logs.append(
            c, assignment.token, order.run.origin, order.index, pieces, position, bounds, next_seq
        )
